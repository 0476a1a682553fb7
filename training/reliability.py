"""Whether a network is as sure as it is right: calibration, and what its silence buys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from covidnet_lite import metrics
from training.evaluate import Answers
from training.figure import Array, Figure, number, share_of

BINS = 10


def calibration(answers: Answers, temperature: float) -> dict[str, Figure]:
    """Expected calibration error before and after the temperature, and the area under the risk-coverage curve."""
    raw = replace(answers, probabilities=untempered(answers.probabilities, temperature))
    return {
        "calibration error at temperature 1": number(_error(raw)),
        "calibration error as shipped": number(_error(answers)),
        "temperature": number(temperature),
        "area under risk against coverage": number(risk_area(answers)),
    }


def _error(answers: Answers) -> float:
    return metrics.expected_calibration_error(answers.targets, answers.probabilities, BINS)


def untempered(probabilities: Array, temperature: float) -> Array:
    """Probabilities after a temperature -> those before it."""
    return metrics.softmax(np.log(np.maximum(probabilities, 1e-300)) * temperature)


def threshold(answers: Answers) -> dict[str, Figure]:
    """What is left once the network abstains below its threshold; the guard is not asked."""
    answered = answers.answered
    lines = {"share answered": share_of(answered), "accuracy when answered": share_of(answers.correct, answered)}
    kept = answers.of(answered)
    said = kept.probabilities.argmax(axis=1)
    for k, label in enumerate(answers.labels):
        positive = kept.targets == k
        lines[f"{label}: sensitivity when answered"] = share_of(said == k, positive)
        lines[f"{label}: specificity when answered"] = share_of(said != k, ~positive)
    return lines


def bins(answers: Answers) -> list[dict[str, Any]]:
    """Equal widths of confidence: how many images, how sure the network is, how often it is right."""
    confidence = answers.probabilities.max(axis=1)
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {"confidence": float(confidence[index == b].mean()), **share_of(answers.correct, index == b)}
        for b, n in enumerate(np.bincount(index, minlength=BINS))
        if n
    ]


def risk_coverage(answers: Answers) -> list[tuple[float, float]]:
    """The share answered and the share of these that is wrong, for every threshold that makes a difference."""
    confidence = answers.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = ~answers.correct[order]
    answered = np.arange(1, len(order) + 1)
    # Images of one confidence are answered together.
    last = np.append(confidence[order][1:] < confidence[order][:-1], True)
    return [(float(n / len(order)), float(w / n)) for n, w in zip(answered[last], np.cumsum(wrong)[last], strict=True)]


def risk_area(answers: Answers) -> float:
    """Mean share of wrong answers over all coverages (Geifman and El-Yaniv, NeurIPS 2017); 0 is best."""
    coverage, risk = np.array(risk_coverage(answers)).T
    return float((risk * np.diff(coverage, prepend=0)).sum())
