"""What a hospital adds to a network: where its own radiographs stand, and whether they still stand there."""
