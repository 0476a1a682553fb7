"""What is learnt from: radiographs, their boxes and labels, and how they are varied."""
