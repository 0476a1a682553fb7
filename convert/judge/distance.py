"""How far a quantised network's answers are from float's on the representative images."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convert.judge.network_outputs import outputs
from convert.metrics import lead_moved, typical_change
from convert.source.network import FloatNetwork
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify

SHIFT = 1 / 12  # of the side of an image


def distance_on(images: npt.NDArray[np.uint8], network: FloatNetwork, manifest: Manifest) -> Callable[[bytes], float]:
    """A function of a quantised flatbuffer: how far its answers are from float's on copies of the images.

    It is the geometric mean of what decides classes, :func:`convert.metrics.lead_moved`, and what decides
    probabilities, :func:`convert.metrics.typical_change`.

    Args:
        images: fitted, ``(n, height, width)`` uint8, or with three channels.
        network: in float.
        manifest: of its labels, input and outputs.
    """
    shown = copies(images)

    def logits(graph: bytes) -> npt.NDArray[np.float32]:
        return outputs(verify(seal(graph, manifest), Path(manifest.name)), shown)["logits"]

    floats: list[npt.NDArray[np.float32]] = []  # run when they are first needed

    def distance(graph: bytes) -> float:
        if not floats:
            floats.append(logits(network.tflite))
        others = logits(graph)
        return math.sqrt(lead_moved(floats[0], others) * typical_change(floats[0], others))

    return distance


def copies(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The images mirrored, and the images shifted: no range of an activation was chosen by these."""
    height, width = (max(1, round(SHIFT * side)) for side in images.shape[1:3])
    room = [(0, 0), (0, height), (0, width), (0, 0)][: images.ndim]
    shifted = np.pad(images, room, mode="edge")[:, height:, width:]
    return np.concatenate([images[:, :, ::-1], shifted])
