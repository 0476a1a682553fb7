"""Whether a network is as sure as it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics
from training.judge.figure import Figure, missing, number, rate
from training.judge.reading import Reading

BINS = 10


def calibration(reading: Reading) -> dict[str, Figure]:
    """Expected calibration error of "normal or not", and of the classes on radiographs whose label is one of them."""
    sure = reading.right.sum(axis=1) == 1
    classes: Figure = missing("fewer than two classes")
    if len(np.unique(reading.right[sure].argmax(axis=1))) > 1:
        part = reading.of(sure)
        classes = number(_error, part.right.argmax(axis=1), part.probabilities, groups=part.patients)
    return {
        "normal or not": number(_error, *normal_or_not(reading), groups=reading.patients),
        "which class": classes,
    }


def normal_or_not(reading: Reading) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The truth ``(n,)``, 1 for not normal, and the probabilities ``(n, 2)``."""
    return reading.is_ill.astype(int), np.stack([1 - reading.ill, reading.ill], axis=1)


def bins(reading: Reading) -> list[dict[str, Any]]:
    """Equal widths of the probability of "not normal": its mean, and the share that is not normal."""
    index = np.minimum((reading.ill * BINS).astype(int), BINS - 1)
    rows = []
    for b in np.unique(index):
        part = reading.of(index == b)
        rows.append({"probability": float(part.ill.mean()), **rate(part.is_ill, part.patients)})
    return rows


def _error(targets: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> float:
    return metrics.expected_calibration_error(targets, probabilities, BINS)
