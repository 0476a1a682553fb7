"""TensorFlow's interpreter, with Pillow."""

import tensorflow as tf
from protocol import arguments, serve
from snippets import pillow, tflite

model, logits, threads = arguments()
serve(tflite(tf.lite.Interpreter(model_path=model, num_threads=threads), logits, pillow))
