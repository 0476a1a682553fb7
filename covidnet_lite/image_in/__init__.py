"""Picture files in: which formats are read, what decoding them may cost, and their gray levels in 8 bits."""
