"""How steady an answer is under changes that mean nothing to a reader of radiographs."""

from __future__ import annotations

import numpy as np

from training.evaluate import Answers
from training.figure import Figure, mean, share_of
from training.lungs import Ask
from training.perturb import INVARIANCES


def invariances(ask: Ask, untouched: Answers) -> dict[str, Figure]:
    """For each change: accuracy, the share of images with the same answer, and by how much its probability moves."""
    lines = {"untouched: accuracy": share_of(untouched.correct)}
    named = untouched.probabilities.argmax(axis=1)
    rows = np.arange(len(named))
    for name, change in INVARIANCES.items():
        seen = ask(untouched.cases, change)
        same = seen.probabilities.argmax(axis=1) == named
        moved = np.abs(seen.probabilities[rows, named] - untouched.probabilities[rows, named])
        lines |= {
            f"{name}: accuracy": share_of(seen.correct),
            f"{name}: same answer": share_of(same),
            f"{name}: mean move of its probability": mean(moved, untouched.patients),
        }
    return lines
