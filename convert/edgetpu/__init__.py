"""The Edge TPU: what it takes, and its compiler."""
