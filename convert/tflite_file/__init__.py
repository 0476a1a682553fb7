"""A ``.tflite`` as a file: read, edited and described."""
