"""Whether a node does its work, as a monitoring system asks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..logs import utc
from ..metrics import Gauges

REMEMBERED = 30.0  # seconds for which a destination is not asked again

Objections = Mapping[str, str | None]  # destination -> what keeps it from taking results, if anything does


@dataclass(frozen=True)
class Health:
    """The state of a node at one time.

    Attributes:
        counts: radiographs in each part of the queue.
        oldest: seconds for which the one that has waited longest has waited; ``None`` where none waits.
        destinations: which of them answer.
        answered: when the last radiograph was answered, in Unix time; ``None`` where none was since the start.
        objection: why the queue takes no radiograph; ``None`` where it does.
        patience: seconds that a radiograph may wait.
        troubles: what else keeps a part of the node from its work.
    """

    counts: Mapping[str, int]
    oldest: float | None
    destinations: Objections
    answered: float | None = None
    objection: str | None = None
    patience: float = 3600.0
    troubles: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What somebody should look after, in words; none where all is well."""
        away = [f"{name} {why}" for name, why in self.destinations.items() if why]
        full = [f"the queue takes no radiograph: {self.objection}"] if self.objection else []
        late = [f"a radiograph has waited for {(self.oldest or 0) / 60:.0f} minutes"] if self._is_late else []
        return (*full, *self.troubles, *late, *away)

    @property
    def _is_late(self) -> bool:
        return self.oldest is not None and self.oldest > self.patience

    def to_dict(self) -> dict[str, Any]:
        """Plain types; no patient data."""
        return {
            "status": "failing" if self.problems else "ok",
            "problems": list(self.problems),
            "queue": dict(self.counts),
            "oldest_waiting_seconds": None if self.oldest is None else round(self.oldest, 1),
            "destinations": {name: why is None for name, why in self.destinations.items()},
            "last_answer": None if self.answered is None else utc(self.answered),
            "version": __version__,
        }

    def gauges(self) -> Gauges:
        """For Prometheus."""
        return {
            "healthy": ("Whether /health answers 200.", float(not self.problems)),
            "queue": ("Radiographs by their place in the queue.", {("place", k): n for k, n in self.counts.items()}),
            "oldest_waiting_seconds": (
                "How long the radiograph has waited that has waited longest.",
                self.oldest or 0.0,
            ),
            "destination_up": (
                "Whether a destination takes results.",
                {("destination", name): float(why is None) for name, why in self.destinations.items()},
            ),
            "last_answer_time_seconds": ("When a radiograph was last answered, Unix time.", self.answered or 0.0),
        }


class Remembered:
    """Asks destinations when somebody wants to know, and at most every half minute; for many threads."""

    def __init__(self, ask: Callable[[], Objections]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._asked = float("-inf")
        self._objections: Objections = {}

    def __call__(self) -> Objections:
        """What they answered last."""
        with self._lock:
            if time.monotonic() - self._asked > REMEMBERED:
                self._objections, self._asked = self._ask(), time.monotonic()
            return self._objections

    def forget(self) -> None:
        """They are others now."""
        with self._lock:
            self._asked = float("-inf")
