"""Bias correction: rounding weights shifts the mean of what a layer puts out; the bias takes the shift back.

The shift of an output is the sum over its inputs of (rounded weight - weight) x mean input, so the mean of each channel
is all that is needed, no image (Nagel et al., Data-Free Quantization, ICCV 2019, section 4.2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantisation.activations import Activations
from convert.quantisation.equalise import CONVOLUTIONS
from convert.tflite_file.editor import Editor


def correct_biases(quantised: bytes, tflite: bytes, activations: Activations) -> bytes:
    """The quantised flatbuffer with corrected biases.

    Args:
        quantised: int8 or int16, as :func:`convert.quantisation.scheme.quantise` makes it of ``tflite``.
        tflite: the float flatbuffer.
        activations: by tensor, with the mean of each channel.
    """
    editor, original = Editor(quantised), Editor(tflite)
    writers = {original.name(int(o.outputs[0])): o for o in original.operators if original.kind(o) in CONVOLUTIONS}
    for operator in editor.operators:
        source = writers.get(editor.name(int(operator.outputs[0])))
        if source is None or editor.kind(operator) not in CONVOLUTIONS or len(operator.inputs) < 3:
            continue
        image = activations.get(original.name(int(source.inputs[0])))
        weights, bias = int(operator.inputs[1]), int(operator.inputs[2])
        if image is None or not image.is_full or bias < 0 or not original.is_constant(int(source.inputs[1])):
            continue
        if original.kind(source) == "FULLY_CONNECTED" and original.shape(int(source.inputs[1]))[-1] != len(image.means):
            continue  # it flattens a map, of whose places no mean is known
        error = _dequantised(editor, operator) - original.constant(int(source.inputs[1])).astype(np.float64)
        shift = _shift(error, image.means.astype(np.float64), editor.kind(operator))
        step = editor.scales(int(operator.inputs[0]))[0] * editor.scales(weights)
        limits = np.iinfo(editor.constant(bias).dtype)
        corrected = editor.constant(bias) - np.rint(shift / step)
        editor.set_constant(bias, np.clip(corrected, limits.min, limits.max))
    return editor.finish()


def _dequantised(editor: Editor, operator: Any) -> npt.NDArray[np.float64]:
    weights = editor.constant(int(operator.inputs[1])).astype(np.float64)
    scales = editor.scales(int(operator.inputs[1]))
    if editor.kind(operator) == "DEPTHWISE_CONV_2D":
        return np.asarray(weights * scales)
    return np.asarray(weights * scales.reshape(-1, *[1] * (weights.ndim - 1)))


def _shift(error: npt.NDArray[np.float64], means: npt.NDArray[np.float64], kind: str) -> npt.NDArray[np.float64]:
    if kind == "DEPTHWISE_CONV_2D":
        return np.asarray(error.sum(axis=(0, 1, 2)) * np.repeat(means, error.shape[-1] // len(means)))
    columns = error.reshape(len(error), -1, error.shape[-1]).sum(axis=1)
    groups = means.reshape(-1, error.shape[-1])  # one but for a grouped convolution, whose outputs read a part each
    return np.asarray((columns * np.repeat(groups, len(error) // len(groups), axis=0)).sum(axis=1))
