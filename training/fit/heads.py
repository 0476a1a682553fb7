"""The end of a network: features -> evidence map -> logits, so that the map is the reason for the answer.

The evidence map has a stride of 16 pixels (14 x 14 places for 224 pixels). Coarser features, which see more of the
lungs, are enlarged and join those of the map's own stride, as in a feature pyramid (Lin et al., CVPR 2017). The logits
are a linear function of six numbers: the mean of each class's evidence, and the mean over the four quadrants of its
strongest place, so that a small opacity is not averaged away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from covidnet_lite.errors import ModelError

FEATURES = 128
STRIDE = 16


def with_evidence(network: keras.Model, taps: Sequence[str], labels: Sequence[str], dropout: float) -> keras.Model:
    """The whole classifier: one output ``evidence`` ``(n, h, w, classes)``, ``logits`` ``(n, classes)`` and
    ``embedding`` ``(n, features)``, the mean features at the taps, for the guard.

    Args:
        network: a backbone.
        taps: names of its layers that the head sees; the first has the stride of the evidence map.
        labels: the classes.
        dropout: of whole feature maps before the evidence, while it is trained.

    Raises:
        ModelError: there is no such layer, or their grids do not divide one another.
    """
    outputs = {layer.name: layer.output for layer in network.layers}
    if missing := [name for name in taps if name not in outputs]:
        raise ModelError(f"taps: {network.name} has no layer {missing[0]!r}; some are {', '.join(list(outputs)[::12])}")
    maps = [outputs[name] for name in taps]
    cells = maps[0].shape[1]
    if cells % 2 or any(cells % values.shape[1] for values in maps):
        grids = ", ".join(str(values.shape[1]) for values in maps)
        raise ModelError(f"taps: grids of {grids} do not divide one another; change side")
    joined: Any = None
    for name, values in zip(taps, maps):
        x = layers.Conv2D(FEATURES, 1, name=f"{name}_lateral")(values)
        if values.shape[1] != cells:
            x = layers.UpSampling2D(cells // values.shape[1], interpolation="bilinear", name=f"{name}_enlarged")(x)
        joined = x if joined is None else layers.Add(name=f"{name}_joined")([joined, x])
    x = layers.ReLU(6.0, name="joined_relu")(joined)
    x = layers.DepthwiseConv2D(3, padding="same", name="around")(x)
    x = layers.ReLU(6.0, name="around_relu")(layers.Conv2D(FEATURES, 1, name="mixed")(x))
    x = layers.SpatialDropout2D(dropout, name="dropout")(x)
    evidence = layers.Conv2D(len(labels), 1, name="evidence")(x)
    strongest = layers.GlobalAveragePooling2D(name="strongest")(
        layers.MaxPooling2D(cells // 2, name="quadrants")(evidence)
    )
    pooled = layers.Concatenate(name="pooled")([layers.GlobalAveragePooling2D(name="mean")(evidence), strongest])
    half = np.concatenate([np.eye(len(labels)) / 2] * 2).astype(np.float32)
    logits = layers.Dense(len(labels), name="logits", kernel_initializer=keras.initializers.Constant(half))(pooled)
    if len(maps) > 1:
        means = [layers.GlobalAveragePooling2D(name=f"{name}_mean")(values) for name, values in zip(taps, maps)]
        embedding = layers.Concatenate(name="embedding")(means)
    else:
        embedding = layers.GlobalAveragePooling2D(name="embedding")(maps[0])
    return keras.Model(
        network.inputs[0], {"logits": logits, "evidence": evidence, "embedding": embedding}, name=network.name
    )
