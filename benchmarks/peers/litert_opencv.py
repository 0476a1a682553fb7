"""LiteRT with OpenCV's gray decode."""

from ai_edge_litert.interpreter import Interpreter
from protocol import arguments, serve
from snippets import opencv, tflite

model, logits, threads = arguments()
serve(tflite(Interpreter(model_path=model, num_threads=threads), logits, opencv))
