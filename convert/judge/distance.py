"""How far a quantised network's answers are from float's on the representative images.

The divergence of the probabilities is precise on few images, but hardly sees that two classes tie; the expected
disagreement sees nothing else, and is noisy. The distance is their geometric mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.judge.network_outputs import outputs
from convert.metrics import divergence, expected_disagreement
from convert.source.network import FloatNetwork
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify


def distance_on(images: npt.NDArray[np.uint8], network: FloatNetwork, manifest: Manifest) -> Callable[[bytes], float]:
    """A function of a quantised flatbuffer: how far it is from float, 0 or more.

    Args:
        images: fitted, ``(n, height, width)`` uint8, or with three channels.
        network: in float.
        manifest: of its labels, input and outputs.
    """

    def logits(graph: bytes) -> npt.NDArray[np.float32]:
        return outputs(verify(seal(graph, manifest), Path(manifest.name)), images)["logits"]

    floats: list[npt.NDArray[np.float32]] = []  # run when they are first needed

    def distance(graph: bytes) -> float:
        if not floats:
            floats.append(logits(network.tflite))
        return between(floats[0], logits(graph))

    return distance


def between(logits: npt.NDArray[Any], others: npt.NDArray[Any]) -> float:
    """The distance of other logits from float's, both ``(n, classes)``."""
    disagreement = expected_disagreement(logits, others) + 1 / len(logits)  # of images, fewer than one cannot be told
    return math.sqrt(max(divergence(logits, others), 0.0) * disagreement)
