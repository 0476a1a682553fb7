"""The last uploads of the page, in memory: it requests their images and reviews by hash, without another upload."""

from __future__ import annotations

import time
from collections import OrderedDict

MAX_AGE = 900.0  # seconds


class Recent:
    """Uploads by SHA-256, the most recently used last. For one event loop.

    Attributes:
        capacity: bytes; beyond it, the oldest uploads are discarded.
        size: bytes that are stored now.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.size = capacity, 0
        self._uploads: OrderedDict[str, tuple[float, str, bytes]] = OrderedDict()

    def add(self, digest: str, name: str, data: bytes) -> None:
        """Stores an upload, unless it is larger than the capacity."""
        self._drop(digest)
        if len(data) <= self.capacity:
            self._uploads[digest] = (time.monotonic(), name, data)
            self.size += len(data)
        self._discard_old()

    def get(self, digest: str) -> tuple[str, bytes] | None:
        """Name and bytes of an upload, or ``None`` where it is no longer stored."""
        self._discard_old()
        if digest not in self._uploads:
            return None
        _, name, data = self._uploads.pop(digest)
        self._uploads[digest] = (time.monotonic(), name, data)
        return name, data

    def _discard_old(self) -> None:
        oldest = time.monotonic() - MAX_AGE
        while self._uploads and (self.size > self.capacity or next(iter(self._uploads.values()))[0] < oldest):
            self._drop(next(iter(self._uploads)))

    def _drop(self, digest: str) -> None:
        if digest in self._uploads:
            self.size -= len(self._uploads.pop(digest)[2])
