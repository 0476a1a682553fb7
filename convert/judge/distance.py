"""How far a quantised network's answers are from float's on the representative images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convert.judge.network_outputs import outputs
from convert.metrics import typical_change
from convert.source.network import FloatNetwork
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify


def distance_on(images: npt.NDArray[np.uint8], network: FloatNetwork, manifest: Manifest) -> Callable[[bytes], float]:
    """A function of a quantised flatbuffer: the share of its probability that the typical image moves from float.

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
        return typical_change(floats[0], logits(graph))

    return distance
