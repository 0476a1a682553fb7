"""A network: its file and manifest, the bytes it takes, the runtime or Edge TPU that runs it."""
