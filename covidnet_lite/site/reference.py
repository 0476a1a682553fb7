"""What a site's radiographs were like when its file was fitted, for days to be compared with; numbers only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# What a radiograph may come to: the answer that it is negative, any other answer, none, or that it is refused.
KINDS = ("negative", "positive", "unsure", "refused")
MOST = 200  # distances that are kept: of more, so many quantiles, which are then taken for as few radiographs


@dataclass(frozen=True)
class Reference:
    """What a day is compared with.

    Attributes:
        of: ``usual``, radiographs of ordinary days, ill and well; or ``normals``, of which the answers and the
            distances say nothing of a day with ill patients.
        answers: kind -> how many radiographs came to it.
        distances: by rising value; about 1 is ordinary.
    """

    of: str
    answers: Mapping[str, int] = field(default_factory=dict)
    distances: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.of not in ("normals", "usual"):
            raise ValueError(f"reference.of must be normals or usual, not {self.of!r}")
        if set(self.answers) != set(KINDS) or not all(type(n) is int and n >= 0 for n in self.answers.values()):
            raise ValueError(f"reference.answers must count {', '.join(KINDS)}, not {dict(self.answers)!r}")
        if len(self.distances) > MOST or not all(number(d) and d >= 0 for d in self.distances):
            raise ValueError(f"reference.distances must be {MOST} numbers of 0 or more at most")
        if list(self.distances) != sorted(self.distances):
            raise ValueError("reference.distances must rise")

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {"of": self.of, "answers": dict(self.answers), "distances": list(self.distances)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Reference:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError, TypeError: they are none.
        """
        return cls(**{**fields, "distances": tuple(fields["distances"])})


def reference(of: str, kinds: Sequence[str], distances: Sequence[float]) -> Reference:
    """From what each radiograph came to, and the distance of each that has one."""
    counts, sorted_ = Counter(kinds), np.sort(np.asarray(distances, float))
    if len(sorted_) > MOST:
        sorted_ = np.quantile(sorted_, (np.arange(MOST) + 0.5) / MOST)
    told = tuple(round(float(d), 3) for d in sorted_)
    return Reference(of, {kind: counts[kind] for kind in KINDS}, told)


def number(value: object) -> bool:
    """Whether it is a finite number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
