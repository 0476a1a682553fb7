"""LiteRT with the snippet that is copied: Pillow, RGB, float."""

from ai_edge_litert.interpreter import Interpreter
from protocol import arguments, serve
from snippets import pillow_rgb, tflite

model, logits, threads = arguments()
serve(tflite(Interpreter(model_path=model, num_threads=threads), logits, pillow_rgb))
