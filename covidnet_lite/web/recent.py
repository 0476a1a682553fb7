"""The last uploads of the page, in memory: their pictures and reviews are asked for by hash, not uploaded again."""

from __future__ import annotations

import time
from collections import OrderedDict

LONGEST = 900.0  # seconds


class Recent:
    """Uploads by SHA-256, those asked for last at the end. For one event loop.

    Attributes:
        most: bytes; the oldest make room.
    """

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self._kept: OrderedDict[str, tuple[float, str, bytes]] = OrderedDict()

    def put(self, digest: str, name: str, data: bytes) -> None:
        """Keeps an upload, unless it is too large to be kept at all."""
        self._drop(digest)
        if len(data) <= self.most:
            self._kept[digest] = (time.monotonic(), name, data)
            self.size += len(data)
        self._make_room()

    def get(self, digest: str) -> tuple[str, bytes] | None:
        """Name and bytes of an upload, or ``None`` where it is no longer there."""
        self._make_room()
        if digest not in self._kept:
            return None
        _, name, data = self._kept.pop(digest)
        self._kept[digest] = (time.monotonic(), name, data)
        return name, data

    def _make_room(self) -> None:
        old = time.monotonic() - LONGEST
        while self._kept and (self.size > self.most or next(iter(self._kept.values()))[0] < old):
            self._drop(next(iter(self._kept)))

    def _drop(self, digest: str) -> None:
        if digest in self._kept:
            self.size -= len(self._kept.pop(digest)[2])
