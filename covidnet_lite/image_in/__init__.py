"""Image files in: how they are opened, what decoding them costs, and their gray levels in 8 bits."""
