"""What is learnt from: films, their boxes and labels, and how they are varied."""
