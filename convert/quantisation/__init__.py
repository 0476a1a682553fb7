"""From float to int8: schemes, the material that they are calibrated with, and fallbacks."""
