"""What keeps parts of a service from their work: reported when it begins and when it is over, not at each attempt."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from .errors import CovidNetLiteError


@dataclass(frozen=True)
class _Trouble:
    error: CovidNetLiteError
    times: int

    @property
    def cause(self) -> object:
        return getattr(self.error.__cause__, "errno", None) or self.error.code


class Troubles:
    """The trouble that each part of a service has, if any; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, _Trouble] = {}

    def note(self, part: str, error: CovidNetLiteError) -> bool:
        """Notes that an attempt of a part has failed; whether this is news, and not another of the same kind."""
        with self._lock:
            before = self._now.get(part)
            self._now[part] = now = _Trouble(error, before.times + 1 if before else 1)
        return before is None or before.cause != now.cause

    def over(self, part: str) -> int:
        """Notes that a part works; how many attempts before had failed."""
        if part not in self._now:
            return 0
        with self._lock:
            trouble = self._now.pop(part, None)
        return trouble.times if trouble else 0

    @property
    def errors(self) -> tuple[CovidNetLiteError, ...]:
        """The last of each part that has trouble."""
        with self._lock:
            return tuple(trouble.error for trouble in self._now.values())
