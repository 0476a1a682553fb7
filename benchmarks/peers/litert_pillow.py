"""LiteRT's label_image.py, with Pillow."""

from ai_edge_litert.interpreter import Interpreter
from protocol import arguments, serve
from snippets import pillow, tflite

model, logits, threads = arguments()
serve(tflite(Interpreter(model_path=model, num_threads=threads), logits, pillow))
