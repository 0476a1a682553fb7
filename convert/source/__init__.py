"""Trained networks in, whoever wrote them: each becomes a float ``.tflite``."""
