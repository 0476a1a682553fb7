"""In which order things have come, and how long each has waited, whatever becomes of the wall clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable


class Seniority:
    """For many threads. What the first look finds has waited since it was made; what comes later, since it was seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: dict[str, float] | None = None  # of the monotonic clock, the oldest first

    def order(self, names: Iterable[str], made: Callable[[str], float]) -> list[str]:
        """Names in their order, the oldest first; those that are missing are forgotten.

        Args:
            names: all that there are now.
            made: when one was made, by the wall clock in seconds; asked once.
        """
        present = set(names)
        with self._lock:
            known = self._since or {}
            new = sorted((made(name), name) for name in present - known.keys())
            now, wall, is_first = time.monotonic(), time.time(), self._since is None
            self._since = {name: since for name, since in known.items() if name in present}
            self._since |= {name: now - max(0.0, wall - when) if is_first else now for when, name in new}
            return list(self._since)

    @property
    def longest(self) -> float | None:
        """Seconds for which the oldest of the last look has waited; ``None`` where there is none."""
        with self._lock:
            return time.monotonic() - next(iter(self._since.values())) if self._since else None
