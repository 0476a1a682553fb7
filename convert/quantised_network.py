"""A quantised graph with its manifest and what was fitted to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convert.judge.judgement import Judgement
from covidnet_lite.network.manifest import Manifest


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """A quantised graph with its manifest and what was fitted to it, before it is described and sealed.

    Attributes:
        logits: of the held-out images, ``(n, classes)``; empty where there are none.
    """

    scheme: str
    graph: bytes
    logits: npt.NDArray[np.float32]
    manifest: Manifest
    judgement: Judgement
