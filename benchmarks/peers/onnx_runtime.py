"""ONNX Runtime with Pillow, as its tutorials read pictures."""

import numpy as np
import onnxruntime
from protocol import arguments, serve
from snippets import pillow

model, logits, threads = arguments()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
_, height, width, _ = given.shape
output = session.get_outputs()[logits].name


def classify(path):
    gray = pillow(path, width, height)
    values = (gray.astype(np.int16) - 128).astype(np.int8)[None, ..., None]
    return np.argmax(session.run([output], {given.name: values})[0][0])


serve(classify)
