"""What two machines made of the same images, side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Answers:
    """What :mod:`inside` kept of one machine.

    Attributes:
        answers: ``network/picture`` -> status, label, most likely label, confidence.
        about: versions, runtime and machine.
        outputs: ``network/picture/turn/position`` -> what a network gave, integers as stored.
    """

    answers: dict[str, dict[str, Any]]
    about: dict[str, str]
    outputs: dict[str, npt.NDArray[Any]]

    @classmethod
    def load(cls, path: Path) -> Answers:
        """From the file that :mod:`inside` wrote."""
        with np.load(path) as archive:
            answers = json.loads(str(archive["told"]))
            skipped = [key for key in archive.files if key == "told" or key.endswith("/input")]
            outputs = {key: archive[key] for key in archive.files if key not in skipped}
        return cls(answers, answers.pop("about"), outputs)


@dataclass(frozen=True)
class Agreement:
    """How two machines' answers compare.

    Attributes:
        answers: how many there are.
        classified: how many of them were not refused, so that every network ran.
        differing: those that differ in status or label, and runs that only one machine made.
        borderline: those that one machine answered and the other was unsure of, with confidences a little apart.
        values: outputs compared.
        equal: the share of them that is the same.
        furthest: the largest difference, in steps of int8; of floating-point outputs, rounded up.
        drift: the largest difference of a confidence.
    """

    answers: int
    classified: int
    differing: tuple[str, ...]
    borderline: tuple[str, ...]
    values: int
    equal: float
    furthest: int
    drift: float

    def complaints(self, steps: int, drift: float) -> list[str]:
        """What is wrong, where no output may be further off than ``steps`` and no confidence than ``drift``."""
        faults = list(self.differing)
        if not self.values:
            faults.append("no outputs to compare")
        if not self.classified:
            faults.append("no picture was classified to the end: all were refused")
        if self.furthest > steps:
            faults.append(f"an output is {self.furthest} steps of int8 off; allowed: {steps}")
        if self.drift > drift:
            faults.append(f"a confidence is {self.drift:.3f} off; allowed: {drift}")
        return faults


def compare(ours: Answers, theirs: Answers, slack: float = 0.0) -> Agreement:
    """Outputs were computed from ``theirs`` inputs on both machines; answers from the image, all the way.

    Args:
        slack: how far confidences may be apart for an answer on the other side of the threshold to be borderline.
    """
    differing: list[str] = []
    borderline: list[str] = []
    drifts = [0.0]
    for key in sorted({*ours.answers, *theirs.answers}):
        a, b = ours.answers.get(key), theirs.answers.get(key)
        if a is None or b is None:
            differing.append(f"{key}: answered on one machine only")
            continue
        drift_ = (
            abs((a["confidence"] or 0.0) - (b["confidence"] or 0.0)) if a["confidence"] and b["confidence"] else 0.0
        )
        drifts.append(drift_)
        if (a["status"], a["label"]) != (b["status"], b["label"]):
            same_side = a["most_likely"] is not None and a["most_likely"] == b["most_likely"]
            line = f"{key}: {_described(a)}, not {_described(b)}"
            (borderline if same_side and 0 < drift_ <= slack else differing).append(line)
    differing += [f"{key}: computed on one machine only" for key in sorted({*ours.outputs} ^ {*theirs.outputs})]
    steps = [
        np.abs(np.subtract(ours.outputs[key], theirs.outputs[key], dtype=np.float64)).ravel()
        for key in sorted({*ours.outputs} & {*theirs.outputs})
    ]
    all_steps = np.concatenate(steps) if steps else np.zeros(0)
    return Agreement(
        len(theirs.answers),
        sum(answer["status"] != "refused" for answer in ours.answers.values()),
        tuple(differing),
        tuple(borderline),
        all_steps.size,
        float((all_steps == 0).mean()) if all_steps.size else 0.0,
        int(np.ceil(all_steps.max(initial=0))),
        max(drifts),
    )


def _described(answer: dict[str, Any]) -> str:
    confidence = f" at {answer['confidence']:.1%}" if answer["confidence"] else ""
    return f"{answer['status']} {answer['most_likely'] or ''}".strip() + confidence
