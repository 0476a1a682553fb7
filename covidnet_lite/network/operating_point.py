"""The thresholds that decide whether a network answers with one label, with several, or not at all.

Each threshold is the lowest at which a stated error stays within a stated bound on validation radiographs: risk
control, as in conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024) and Learn then Test
(Angelopoulos, Bates, Candes, Jordan and Lei, Annals of Applied Statistics 2025). The errors differ, so the thresholds
do: to call an ill patient's radiograph normal costs more than to leave the kind of illness open. An answer of several
labels is the prediction set of conformal classification, used only where the radiograph is surely not negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evidence.place import INSIDE_FROM
from ..percent import percent

NEVER = 1.01  # a threshold above 1: no probability reaches it


@dataclass(frozen=True)
class OperatingPoint:
    """The thresholds of a network's answers.

    Attributes:
        negative: the label that means "no finding".
        negative_from: probability of ``negative`` from which it is the answer, above 0; above 1 for never.
        positive_from: ``1 - P(negative)`` from which the radiograph is surely not negative, above 0; above 1 for never.
            At least ``1 - negative_from``, or a radiograph could be both.
        alone_from: label -> share ``P(label) / (1 - P(negative))`` from which this label alone is given, for every
            label but ``negative``. Where it is the only other label, it is always given alone.
        inside_from: share of the positive evidence that must lie in the lung box; with less, a positive answer is
            withheld.
        risks: plain facts for people: for which error each number was chosen, and on which radiographs.
        accuracy: plain facts for people, all optional: ``answered``, the share of radiographs that get an answer of one
            label or several; ``right``, the share of these answers that are right; ``by_answer``, the same for each
            answer (labels joined by " or "); ``data``, on which radiographs.
    """

    negative: str
    negative_from: float
    positive_from: float
    alone_from: dict[str, float]
    inside_from: float = INSIDE_FROM
    risks: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("alone_from", "risks", "accuracy"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} must map names to values, not {getattr(self, name)!r}")
        by_answer = self.accuracy.get("by_answer", {})
        if not isinstance(by_answer, dict) or not isinstance(self.accuracy.get("data", ""), str):
            raise ValueError("accuracy must map by_answer to shares and data to text")
        if not (_number(self.inside_from) and 0 <= self.inside_from <= 1):
            raise ValueError(f"inside_from must be between 0 and 1, not {self.inside_from!r}")
        for name in ("negative_from", "positive_from"):
            _check(name, getattr(self, name), NEVER)
        for label, share in self.alone_from.items():
            _check(f"alone_from of {label}", share, NEVER)
        rates = {name: self.accuracy[name] for name in ("answered", "right") if name in self.accuracy}
        for name, share in {**rates, **by_answer}.items():
            if not (_number(share) and 0 <= share <= 1):
                raise ValueError(f"accuracy of {name} must be between 0 and 1, not {share!r}")
        if self.negative_from + self.positive_from < 1 - 1e-9:  # 0.95 and 0.05 are meant to fit
            raise ValueError(
                f"positive_from must be at least 1 - negative_from ({1 - self.negative_from:g}), "
                f"not {self.positive_from:g}: a radiograph could be both negative and positive"
            )

    def check(self, labels: Sequence[str]) -> None:
        """Checks that the operating point covers exactly these labels.

        Raises:
            ValueError: it does not.
        """
        if self.negative not in labels:
            raise ValueError(f"the operating point's negative, {self.negative!r}, is none of {', '.join(labels)}")
        others = {label for label in labels if label != self.negative}
        if set(self.alone_from) != others:
            raise ValueError(f"alone_from must have one share for each of {', '.join(sorted(others))} and no other")

    def answer(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Label -> probability, in the order of the network's labels -> the answer.

        Returns:
            One label; all labels but ``negative`` where only their kind is open; none where nothing is sure.
        """
        negative = probabilities[self.negative]
        if negative >= self.negative_from:
            return (self.negative,)
        if not 1 - negative >= self.positive_from:
            return ()
        shares = {label: p / (1 - negative) for label, p in probabilities.items() if label != self.negative}
        alone = [label for label, share in shares.items() if share >= self.alone_from[label] or len(shares) == 1]
        return (max(alone, key=shares.__getitem__),) if alone else tuple(shares)

    def track_record(self, labels: Sequence[str]) -> str | None:
        """How often such an answer was right and how often there is none, in one line; ``None`` where unknown."""
        facts = self.accuracy
        right = facts.get("by_answer", {}).get(" or ".join(labels), facts.get("right"))
        sentences = [
            *([f"such an answer was right on {percent(right, 0)} of radiographs"] if right is not None else []),
            *([f"{percent(1 - facts['answered'], 0)} of radiographs get no answer"] if "answered" in facts else []),
        ]
        return "; ".join(sentences) + (f" ({facts['data']})" if "data" in facts else "") if sentences else None

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def least_threshold(scores: npt.NDArray[Any], risk: float) -> float:
    """The lowest threshold that at most ``risk`` of radiographs like these are expected to reach.

    Conformal risk control with the loss "reaches the threshold": ``(count + 1) / (n + 1) <= risk``.
    """
    n = len(scores)
    rank = int(np.floor(risk * (n + 1) - 1))
    if rank < 0:
        return NEVER
    if rank >= n:
        return 1e-6
    return float(np.nextafter(np.sort(scores)[n - 1 - rank], 1.0))


def _check(name: str, value: object, upper: float) -> None:
    if not (_number(value) and 0 < value <= upper):  # type: ignore[operator]  # NaN is none of them
        raise ValueError(f"{name} must be above 0 and at most {upper:g}, not {value!r}")


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
