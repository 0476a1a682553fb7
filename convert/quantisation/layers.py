"""Layer by layer: how far quantised activations are from float ones, and which ranges they had to fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.float_input import normalise
from convert.progress import track
from convert.quantisation import activations
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor

Range = tuple[float, float]

EXACT = 50.0  # decibels of 8 bits at their best


@dataclass(frozen=True)
class Layer:
    """One activation of the quantised network against the float one's.

    Attributes:
        name: the Keras layer, see :func:`convert.quantisation.activations.layers_of`.
        tensor: the tensor's name in the float graph.
        operation: what computes it, such as ``CONV_2D``.
        snr: signal to noise in decibels, ``10 log10(E f^2 / E (f - q)^2)``, errors of earlier layers included.
        range: of the activation in float.
        weights: range of the layer's weights; ``None`` where it has none.
        channels: smallest and largest range of the weights of one output channel.
        lost: decibels lost in the layer itself, against the worst of what it reads; below 0 where it evens errors out.
    """

    name: str
    tensor: str
    operation: str
    snr: float
    range: Range
    weights: Range | None = None
    channels: Range | None = None
    lost: float = 0.0


def compare(network: FloatNetwork, quantised: bytes, images: npt.NDArray[np.uint8]) -> list[Layer]:
    """Every activation that both graphs have, the noisiest first.

    Args:
        network: the float network.
        quantised: a flatbuffer made of ``network.tflite``.
        images: fitted, ``(n, height, width)`` uint8; some thirty are enough.
    """
    tensors = activations.tensors_of(network.tflite)
    quantised_tensors = activations.tensors_of(quantised)
    shared = [name for name in tensors if name in quantised_tensors]
    float_interpreter = activations.all_tensors(network.tflite)
    quantised_interpreter = activations.all_tensors(quantised)
    signal, noise = dict.fromkeys(shared, 0.0), dict.fromkeys(shared, 0.0)
    ends = dict.fromkeys(shared, (math.inf, -math.inf))
    for image in track(images, len(images), "comparing layers"):
        values = normalise(image[None], network.spec)
        activations.run(float_interpreter, values)
        activations.run(quantised_interpreter, _stored(quantised_interpreter, values))
        for name in shared:
            f = float_interpreter.get_tensor(tensors[name]).astype(np.float64)
            q = _real(quantised_interpreter, quantised_tensors[name])
            signal[name] += float((f**2).sum())
            noise[name] += float(((f - q) ** 2).sum())
            ends[name] = (min(ends[name][0], float(f.min())), max(ends[name][1], float(f.max())))
    layer_of = activations.layers_of(list(tensors), network)
    snr = {name: 10 * math.log10(max(signal[name], 1e-30) / max(noise[name], 1e-30)) for name in shared}
    editor = Editor(network.tflite)
    writers = {editor.name(int(t)): o for o in editor.operators for t in o.outputs}
    layers = [
        Layer(
            layer_of[name],
            name,
            editor.kind(writers[name]) if name in writers else "INPUT",
            snr[name],
            ends[name],
            *_weights(editor, writers.get(name)),
            _worst_input(editor, writers.get(name), snr) - snr[name],
        )
        for name in shared
    ]
    return sorted(layers, key=lambda layer: layer.snr)


def _worst_input(editor: Editor, writer: Any, snr: dict[str, float]) -> float:
    """In decibels; no better than 8 bits can be, or an exact image would make the first layer the worst."""
    inputs = [] if writer is None else [editor.name(int(t)) for t in writer.inputs if t >= 0]
    return min([snr[name] for name in inputs if name in snr] + [EXACT])


def _stored(interpreter: Any, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Real values -> what the input stores."""
    details = interpreter.get_input_details()[0]
    kind = np.dtype(details["dtype"])
    if kind.kind == "f":
        return values
    scale, zero_point = details["quantization"]
    limits = np.iinfo(kind)
    return np.asarray(np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max), kind)


def _real(interpreter: Any, index: int) -> npt.NDArray[np.float64]:
    """A tensor's real values."""
    values = interpreter.get_tensor(index)
    scale, zero_point = interpreter._get_tensor_details(index, 0)["quantization"]
    if values.dtype.kind == "f" or scale == 0:
        return np.asarray(values, np.float64)
    return np.asarray((values.astype(np.float64) - zero_point) * scale)


def _weights(editor: Editor, writer: Any) -> tuple[Range | None, Range | None]:
    if writer is None or len(writer.inputs) < 2 or not editor.is_constant(int(writer.inputs[1])):
        return None, None
    weights = editor.constant(int(writer.inputs[1]))
    if weights.dtype != np.float32 or weights.ndim < 2:
        return None, None
    whole = (float(weights.min()), float(weights.max()))
    axis = -1 if editor.kind(writer) == "DEPTHWISE_CONV_2D" else 0
    widths = np.abs(np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)).max(axis=1)
    return whole, (float(widths.min()), float(widths.max()))
