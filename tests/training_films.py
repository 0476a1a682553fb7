"""Made-up training films: every second one is opaque on its left half."""

from __future__ import annotations

import numpy as np
from conftest import drawn_chest

from covidnet_lite.box import WHOLE
from training.data.supervision import Lesson
from training.fit.batches import Radiographs


def lesson(count: int = 12, ranked: int = 0) -> Lesson:
    allowed = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    severity = np.full(count, -1, np.float32)
    severity[count - ranked :] = 2
    first, second = np.arange(0, count - ranked, 2), np.arange(1, count - ranked, 2)
    pools = [(first, 2), (second, 1)] + ([(np.arange(count - ranked, count), 1)] if ranked else [])
    boxes = [((0.0, 0.0, 0.5, 1.0),) if i % 2 else () for i in range(count)]
    return Lesson(allowed, boxes, np.ones(count, np.float32), severity, tuple(pools))


def films(count: int = 12, ranked: int = 0) -> Radiographs:
    images = [np.asarray(drawn_chest(i, opaque=bool(i % 2), side=96)) for i in range(count)]
    return Radiographs(images, [WHOLE] * count, lesson(count, ranked))
