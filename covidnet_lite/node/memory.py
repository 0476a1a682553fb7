"""Which radiographs a queue remembers: the folder ``sent``.

What is remembered grows older only while a node runs, and by the monotonic clock: nothing is forgotten because the
wall clock is set, or was wrong when a file was made.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .layout import CLOCK, Folders, age, on_disk

HOUR = 3600.0  # seconds


class Memory:
    """Gives each file of ``sent`` the time of the queue, which a file keeps as its own time from run to run."""

    def __init__(self, folders: Folders, days: float) -> None:
        """Goes on from the time at which the last run ended, within an hour.

        Args:
            folders: of a queue that this process has for itself.
            days: for which a radiograph is remembered.

        Raises:
            OutputError: the time cannot be kept.
        """
        self._folders, self.days = folders, days
        self._clock = folders.root / CLOCK
        self._forget_from = self._start = time.monotonic()
        on_disk(self._clock, lambda: self._clock.touch() if not self._clock.exists() else None)
        self._before = on_disk(self._clock, lambda: self._clock.stat().st_mtime)

    @property
    def now(self) -> float:
        """The time of the queue, in seconds."""
        return self._before + time.monotonic() - self._start

    def add(self, key: str) -> None:
        """Notes that a file has come into ``sent`` now."""
        self._set(self._folders.sent / f"{key}.json")

    def forget(self) -> None:
        """Removes what is too old, at most once an hour, for it looks at each file.

        Raises:
            OutputError: the folder cannot be read, a file cannot be removed, or the time cannot be kept.
        """
        if time.monotonic() < self._forget_from:
            return
        self._set(self._clock)
        on_disk(self._folders.sent, self._remove_old)
        self._forget_from = time.monotonic() + HOUR

    def _remove_old(self) -> None:
        oldest = self.now - self.days * 86400
        with os.scandir(self._folders.sent) as entries:  # one by one: there may be a hundred thousand
            for path in map(Path, entries):
                if path.suffix == ".json" and age(path)[0] < oldest * 1e9:
                    on_disk(path, path.unlink)

    def _set(self, path: Path) -> None:
        on_disk(path, lambda: os.utime(path, (self.now, self.now)))
