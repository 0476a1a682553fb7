"""Cross-layer equalisation: the same function with activations that int8 can hold better.

int8 has one scale for a whole activation tensor, so a channel with a small range
next to one with a large range is stored coarsely. Where a convolution feeds
convolutions, a channel can be multiplied by any positive factor and the weights
that read it divided by the same factor: the network stays what it is (Nagel et
al., Data-Free Quantization, ICCV 2019). This holds through a ReLU6 as long as the
channel stays below 6, and through additions when all their inputs are scaled
alike.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)
LARGEST = 16.0  # factor; rarely active channels would get any
HEADROOM = 0.8  # of the ReLU6's ceiling, so that unseen images do not reach it


def equalise_channels(model: keras.Model, calibration: npt.NDArray[np.float32]) -> None:
    """Rescales the channels of a batch-norm-free model in place; ``calibration`` shows their ranges."""
    groups = [group for group in _groups(model) if _may_be_scaled(group)]
    if not groups:
        return
    peaks = _peaks(model, [layer for group in groups for layer in group], calibration)
    for group in groups:
        peak = np.maximum.reduce([peaks[layer.name] for layer in group])
        ceiling = max((float(layer.max_value) for layer in group if isinstance(layer, layers.ReLU)), default=None)
        factor = np.clip((ceiling * HEADROOM if ceiling else peak.max()) / np.maximum(peak, 1e-6), 1.0, LARGEST)
        for layer in group:
            if isinstance(layer, CONVOLUTIONS):
                _scale_outputs(layer, factor)
            for reader in consumers(layer):
                if isinstance(reader, CONVOLUTIONS):
                    _scale_inputs(reader, 1.0 / factor)


def consumers(layer: layers.Layer) -> list[layers.Layer]:
    """The layers that read a layer's output."""
    return [node.operation for node in layer._outbound_nodes]


def _groups(model: keras.Model) -> list[list[layers.Layer]]:
    """Layers whose channels must be scaled alike: a convolution and its ReLU, and all that is added together."""
    parent: dict[str, str] = {}
    joining, joined = (layers.ReLU, layers.Add), (*CONVOLUTIONS, layers.ReLU, layers.Add)

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for layer in model.layers:
        for reader in consumers(layer):
            if isinstance(reader, joining) and isinstance(layer, joined):
                parent[root(layer.name)] = root(reader.name)
    members: dict[str, list[layers.Layer]] = defaultdict(list)
    for layer in model.layers:
        if isinstance(layer, joined):
            members[root(layer.name)].append(layer)
    return list(members.values())


def _may_be_scaled(group: list[layers.Layer]) -> bool:
    """Whether every factor can be undone: all come from convolutions, and only convolutions read the result."""
    made_of = {layer.name for layer in group}
    relus = [layer for layer in group if isinstance(layer, layers.ReLU)]
    if relus and (len(group) != 2 or relus[0].max_value is None):
        return False
    for layer in group:
        readers = consumers(layer)
        if not readers or not all(isinstance(r, CONVOLUTIONS) or r.name in made_of for r in readers):
            return False
    return all(
        source.name in made_of or isinstance(layer, CONVOLUTIONS)
        for layer in group
        for source in (node.operation for node in _origins(layer))
    )


def _origins(layer: layers.Layer) -> list[Any]:
    return [tensor._keras_history for node in layer._inbound_nodes for tensor in node.input_tensors]


def _peaks(
    model: keras.Model, wanted: list[layers.Layer], calibration: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float64]]:
    """The largest absolute value of each channel, by layer; a convolution before a ReLU counts what passes."""
    probe = keras.Model(model.input, {layer.name: layer.output for layer in wanted})
    peaks: dict[str, npt.NDArray[np.float64]] = {}
    for start in range(0, len(calibration), 16):
        for name, values in probe(calibration[start : start + 16], training=False).items():
            peak = np.abs(np.asarray(values)).max(axis=(0, 1, 2)).astype(np.float64)
            peaks[name] = np.maximum(peaks.get(name, peak), peak)
    for layer in wanted:
        readers = consumers(layer)
        if isinstance(layer, CONVOLUTIONS) and len(readers) == 1 and isinstance(readers[0], layers.ReLU):
            peaks[layer.name] = peaks[readers[0].name]
    return peaks


def _scale_outputs(conv: layers.Layer, factor: npt.NDArray[np.float64]) -> None:
    depthwise = isinstance(conv, layers.DepthwiseConv2D)
    conv.kernel.assign(conv.kernel * (factor[:, None] if depthwise else factor))
    if conv.use_bias:
        conv.bias.assign(conv.bias * factor)


def _scale_inputs(conv: layers.Layer, factor: npt.NDArray[np.float64]) -> None:
    # Kernels are (h, w, in, out), depthwise ones (h, w, in, 1).
    conv.kernel.assign(conv.kernel * factor[:, None])
