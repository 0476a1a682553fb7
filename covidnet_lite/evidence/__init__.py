"""Evidence maps: extent and place of the opacity that a network sees, and the heat map."""
