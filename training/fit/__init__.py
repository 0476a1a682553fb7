"""Learning: backbones, heads, losses, batches, checkpoints and recipes."""
