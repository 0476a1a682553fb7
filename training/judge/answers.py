"""What radiographs are answered, how often no answer is given, and how often an answer is right."""

from __future__ import annotations

import numpy as np

from covidnet_lite.prediction import STATUSES
from training.judge.contrasts import COVID
from training.judge.figure import Figure, missing, rate
from training.judge.reading import Reading


def answer_rates(reading: Reading) -> dict[str, Figure]:
    """How often radiographs are called normal, covid alone, and anything that is not normal."""
    answers, patients = reading.decision, reading.patients
    labels = reading.manifest.labels
    covid: Figure = missing("the network has no label covid")
    if COVID in labels:
        covid = rate(answers[:, labels.index(COVID)] & (answers.sum(axis=1) == 1), patients)
    return {
        "called normal": rate(reading.called_normal, patients),
        "called covid": covid,
        "called not normal": rate(answers.any(axis=1) & ~reading.called_normal, patients),
    }


def status_rates(reading: Reading) -> dict[str, Figure]:
    """The share of each status, and of right ones among the answers: of all, and of each status."""
    patients = reading.patients
    row: dict[str, Figure] = {name: rate(reading.statuses == name, patients) for name in STATUSES if name != "failed"}
    row["answered or narrowed"] = rate(reading.answered, patients)
    for title, selection in (
        ("right when answered or narrowed", reading.answered),
        ("right when answered", reading.statuses == "answered"),
        ("right when narrowed", reading.statuses == "narrowed"),
    ):
        row[title] = (
            rate(reading.correct[selection], patients[selection]) if selection.any() else missing("no such answer")
        )
    return row


def operating_curve(reading: Reading, points: int = 101) -> list[list[float]]:
    """The shares of normal and of ill radiographs with P(normal) at or above each threshold: threshold, normal, ill."""
    normal = 1 - reading.ill
    well, ill = normal[~reading.is_ill], normal[reading.is_ill]
    thresholds = np.linspace(0, 1, points)
    return [[round(float(t), 4), float((well >= t).mean()), float((ill >= t).mean())] for t in thresholds]
