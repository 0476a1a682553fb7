"""tflite-runtime's label_image.py, with Pillow."""

from protocol import arguments, serve
from snippets import pillow, tflite
from tflite_runtime.interpreter import Interpreter

model, logits, threads = arguments()
serve(tflite(Interpreter(model_path=model, num_threads=threads), logits, pillow))
