"""Made-up answers and networks, for the tests of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covidnet_lite.cases import Case
from covidnet_lite.fit import InputSpec
from training.evaluate import Answers
from training.network import Network

LABELS = ("normal", "pneumonia", "covid")


def answers(cases: Sequence[Case], probabilities: Any, threshold: float = 0.0, **outputs: Any) -> Answers:
    """Answers to cases, all of which have one of the three labels."""
    targets = np.array([LABELS.index(case.label) for case in cases], int)
    return Answers("made up", LABELS, list(cases), targets, np.array(probabilities, float), threshold, outputs)


def cases(label: str, count: int, source: str = "here", **fields: str) -> list[Case]:
    """So many cases, each of a patient of its own."""
    return [
        Case(Path(f"{source}-{label}-{i}.png"), label, f"{source}-{label}-{i}", source, "test", fields)
        for i in range(count)
    ]


def sure(label: str, count: int, confidence: float = 0.9) -> list[list[float]]:
    """Probabilities that name a label so many times."""
    rest = (1 - confidence) / 2
    return [[confidence if name == label else rest for name in LABELS]] * count


def sided_network(labels: tuple[str, ...] = LABELS, side: int = 32) -> Network:
    """A network that is the surer of its last label, the brighter the right lower lung is than the left."""

    def run(pictures: Any) -> dict[str, Any]:
        fields = pictures.reshape(len(pictures), 4, side // 4, 4, side // 4).mean(axis=(2, 4)) / 255
        brighter = fields[:, 2, 2] + fields[:, 2, 3] - fields[:, 2, 0] - fields[:, 2, 1]
        logits = np.zeros((len(pictures), len(labels)), np.float32)
        logits[:, -1] = 20 * (brighter - 0.1)
        evidence = np.zeros((*fields.shape, len(labels)), np.float32)
        evidence[..., -1] = fields
        return {"logits": logits, "evidence": evidence, "embedding": fields.reshape(len(pictures), -1)}

    return Network("sided", "0" * 64, labels, InputSpec(side, side), run, threshold=0.6)
