"""The results of a site's radiographs at the fit, as a reference for later days; numbers only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The kinds of results: the answer that a radiograph is negative, any other answer, no answer, or a refusal.
KINDS = ("negative", "positive", "unsure", "refused")
MAX_DISTANCES = 200  # of more, so many quantiles are kept, which then count as so many radiographs


@dataclass(frozen=True)
class Reference:
    """The results that a day is compared with.

    Attributes:
        of: ``usual``, radiographs of ordinary days, ill and well; or ``normals``, whose answers and distances cannot be
            compared with a day's, which has ill patients.
        answers: kind -> number of radiographs.
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
        if len(self.distances) > MAX_DISTANCES or not all(number(d) and d >= 0 for d in self.distances):
            raise ValueError(f"reference.distances must be {MAX_DISTANCES} numbers of 0 or more at most")
        if list(self.distances) != sorted(self.distances):
            raise ValueError("reference.distances must rise")

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {"of": self.of, "answers": dict(self.answers), "distances": list(self.distances)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Reference:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError, TypeError: a field is unknown, missing or out of range.
        """
        return cls(**{**fields, "distances": tuple(fields["distances"])})


def reference(of: str, kinds: Sequence[str], distances: Sequence[float]) -> Reference:
    """A reference from the kind of each radiograph's result, and the distance of each that has one."""
    counts, ordered = Counter(kinds), np.sort(np.asarray(distances, float))
    if len(ordered) > MAX_DISTANCES:
        ordered = np.quantile(ordered, (np.arange(MAX_DISTANCES) + 0.5) / MAX_DISTANCES)
    rounded = tuple(round(float(d), 3) for d in ordered)
    return Reference(of, {kind: counts[kind] for kind in KINDS}, rounded)


def number(value: object) -> bool:
    """Whether a value is a finite number, and not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
