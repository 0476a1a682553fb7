"""Cross-layer equalisation of a float ``.tflite``: the same function with channels that int8 can hold better.

int8 has one scale for a whole activation, so a channel with a small range beside one with a large range is stored
coarsely. Where an activation is written and read by convolutions alone, a channel may be multiplied by any positive
factor and the weights that read it divided by the same (Nagel et al., Data-Free Quantization, ICCV 2019, section 4.1).
Additions, pooling and padding in between pass factors on. A ReLU6 allows it as long as a channel stays below 6.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantisation.activations import Activations
from convert.tflite_file.editor import Editor

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
PASSING = ("ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RELU", "RELU6", "MEAN")  # f(s x) = s f(x), ReLU6 below 6
LARGEST = 16.0  # factor; rarely active channels would get any
CEILING = 0.8 * 6  # of a ReLU6: unseen images must not reach 6 either

Array = npt.NDArray[np.float64]


def equalise(tflite: bytes, activations: Activations) -> tuple[bytes, Activations]:
    """Rescales the channels of a float flatbuffer; returns it and what its activations become.

    Args:
        tflite: the flatbuffer.
        activations: by tensor, with the range of each channel.
    """
    editor = Editor(tflite)
    scaled = dict(activations)
    for group in _groups(editor):
        members = [activations[editor.name(t)] for t in group if editor.name(t) in activations]
        if len(members) < len(group) or not all(a.is_full for a in members):
            continue
        factor = _factor(editor, group, activations)
        for tensor in group:
            writer = editor.producer(tensor)
            if writer is not None and editor.kind(writer) in CONVOLUTIONS:
                _scale_outputs(editor, writer, factor)
            for reader in editor.readers(tensor):
                if editor.kind(reader) in CONVOLUTIONS:
                    _scale_inputs(editor, reader, 1 / factor)
            name = editor.name(tensor)
            scaled[name] = scaled[name].scaled(factor.astype(np.float32))
    return editor.finish(), scaled


def _groups(editor: Editor) -> list[list[int]]:
    """Activations whose channels must be scaled alike, and may be."""
    parent: dict[int, int] = {}

    def root(tensor: int) -> int:
        while parent.setdefault(tensor, tensor) != tensor:
            tensor = parent[tensor]
        return tensor

    fixed = {*editor.inputs, *editor.outputs}
    for operator in editor.operators:
        kind, computed = editor.kind(operator), _computed(editor, operator)
        if kind in CONVOLUTIONS:
            fixed.update(_fixed_by_convolution(editor, operator))
        elif kind in PASSING and _passes(editor, operator):
            for tensor in computed:
                parent[root(tensor)] = root(computed[0])
        else:
            fixed.update(computed)
    members: dict[int, list[int]] = defaultdict(list)
    for operator in editor.operators:
        for tensor in (int(t) for t in operator.outputs):
            members[root(tensor)].append(tensor)
    fixed = {root(t) for t in fixed}
    return [group for top, group in members.items() if top not in fixed]


def _computed(editor: Editor, operator: Any) -> list[int]:
    """The activations that an operation reads and writes."""
    return [int(t) for t in (*operator.inputs, *operator.outputs) if t >= 0 and not editor.is_constant(int(t))]


def _fixed_by_convolution(editor: Editor, operator: Any) -> Iterable[int]:
    """What must stay as it is although a convolution reads or writes it."""
    if not _has_own_weights(editor, operator):
        return _computed(editor, operator)
    if editor.activation(operator) not in ("NONE", "RELU", "RELU6"):
        return [int(operator.outputs[0])]
    return []


def _has_own_weights(editor: Editor, operator: Any) -> bool:
    """Whether nothing else reads a convolution's weights, and each of their columns reads one channel of its input."""
    image, weights = int(operator.inputs[0]), int(operator.inputs[1])
    if not editor.is_constant(weights) or len(editor.readers(weights)) > 1:
        return False
    if any(t >= 0 and not editor.is_constant(int(t)) for t in operator.inputs[2:]):
        return False
    columns, channels = editor.shape(weights)[-1], (editor.shape(image) or (0,))[-1]
    return columns == channels or (editor.kind(operator) == "DEPTHWISE_CONV_2D" and columns % channels == 0)


def _passes(editor: Editor, operator: Any) -> bool:
    shapes = [editor.shape(t) for t in _computed(editor, operator)]
    if len({shape[-1] if shape else 0 for shape in shapes}) != 1:
        return False
    if editor.kind(operator) == "MEAN":
        axes = int(operator.inputs[1])
        return editor.is_constant(axes) and len(shapes[0]) - 1 not in editor.constant(axes).ravel() % len(shapes[0])
    constants = [int(t) for t in operator.inputs if t >= 0 and editor.is_constant(int(t))]
    fused = editor.activation(operator) in ("NONE", "RELU", "RELU6")
    return fused and (editor.kind(operator) == "PAD" or not constants)


def _factor(editor: Editor, group: list[int], activations: Activations) -> Array:
    """One factor a channel: as precise an activation as its readers' weights can bear."""
    members = [activations[editor.name(t)] for t in group]
    peaks = [np.maximum(np.abs(a.lows), np.abs(a.highs)).astype(np.float64) for a in members]
    peak = np.maximum(np.maximum.reduce(peaks), 1e-9)
    columns = [
        _columns(editor, reader)
        for tensor in group
        for reader in editor.readers(tensor)
        if editor.kind(reader) in CONVOLUTIONS
    ]
    if not columns:
        return np.ones_like(peak)
    weight = np.maximum(np.maximum.reduce(columns), 1e-9)
    factor = np.sqrt(weight / weight.max() / (peak / peak.max()))
    factor = np.clip(factor / (factor * peak).max() * peak.max(), 1 / LARGEST, LARGEST)
    for tensor, own_peak in zip(group, peaks):
        writer = editor.producer(tensor)
        if writer is not None and (editor.activation(writer) == "RELU6" or editor.kind(writer) == "RELU6"):
            # Scaling down would lower the ceiling of 6 below where it cuts.
            factor = np.maximum(np.minimum(factor, CEILING / np.maximum(own_peak, 1e-9)), 1.0)
    return np.asarray(factor)


def _columns(editor: Editor, reader: Any) -> Array:
    """The largest weight that reads each input channel."""
    weights = np.abs(editor.constant(int(reader.inputs[1]))).astype(np.float64)
    if editor.kind(reader) != "DEPTHWISE_CONV_2D":
        return np.asarray(weights.reshape(-1, weights.shape[-1]).max(axis=0))
    channels = editor.shape(int(reader.inputs[0]))[-1]
    return np.asarray(weights.max(axis=(0, 1, 2)).reshape(channels, -1).max(axis=1))


def _scale_outputs(editor: Editor, writer: Any, factor: Array) -> None:
    weights = editor.constant(int(writer.inputs[1]))
    depthwise = editor.kind(writer) == "DEPTHWISE_CONV_2D"
    shape = (-1,) if depthwise else (-1, *[1] * (weights.ndim - 1))  # (1, h, w, out) and (out, ...)
    editor.set_constant(int(writer.inputs[1]), weights * factor.reshape(shape))
    if len(writer.inputs) > 2 and writer.inputs[2] >= 0:
        bias = editor.own_constant(writer, 2)
        editor.set_constant(bias, editor.constant(bias) * factor)


def _scale_inputs(editor: Editor, reader: Any, factor: Array) -> None:
    weights = editor.constant(int(reader.inputs[1]))
    if editor.kind(reader) == "DEPTHWISE_CONV_2D":  # each input channel makes shape[-1] / channels outputs
        factor = np.repeat(factor, weights.shape[-1] // len(factor))
    editor.set_constant(int(reader.inputs[1]), weights * factor)
