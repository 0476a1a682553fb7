"""OpenVINO with OpenCV, as its notebook "Hello Image Classification" writes it."""

import numpy as np
import openvino as ov
from protocol import arguments, serve
from snippets import opencv

model, logits, threads = arguments()
compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads})
_, height, width, _ = compiled.input(0).shape
output = compiled.output(logits)


def classify(path):
    gray = opencv(path, width, height)
    values = (gray.astype(np.int16) - 128).astype(np.int8)[None, ..., None]
    return np.argmax(compiled([values])[output][0])


serve(classify)
