"""The machine: what it is, whether all that is needed is there, and how fast it is."""
