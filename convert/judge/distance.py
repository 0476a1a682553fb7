"""How far a quantised network's answers are from float's on the representative images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convert.judge.network_outputs import outputs
from convert.metrics import lead_moved
from convert.source.network import FloatNetwork
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify


def distance_on(images: npt.NDArray[np.uint8], network: FloatNetwork, manifest: Manifest) -> Callable[[bytes], float]:
    """A function of a quantised flatbuffer: how far it moves the leads of the classes from float's.

    See :func:`convert.metrics.lead_moved`. The images are also shown mirrored: these did not choose any range.

    Args:
        images: fitted, ``(n, height, width)`` uint8, or with three channels.
        network: in float.
        manifest: of its labels, input and outputs.
    """
    shown = np.concatenate([images, images[:, :, ::-1]])

    def logits(graph: bytes) -> npt.NDArray[np.float32]:
        return outputs(verify(seal(graph, manifest), Path(manifest.name)), shown)["logits"]

    floats: list[npt.NDArray[np.float32]] = []  # run when they are first needed

    def distance(graph: bytes) -> float:
        if not floats:
            floats.append(logits(network.tflite))
        return lead_moved(floats[0], logits(graph))

    return distance
