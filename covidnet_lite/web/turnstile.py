"""Who may come in: uploads are not read before there is room for them, so a crowd cannot fill the memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Crowded(Exception):
    """As many are waiting as may."""


class Turnstile:
    """So many bytes at once, first come, first served; whoever is not in yet is not read from.

    For one event loop.

    Attributes:
        capacity: bytes that may be inside at once.
        waiting: how many may wait outside.
    """

    def __init__(self, capacity: int, waiting: int) -> None:
        self.capacity, self.waiting = capacity, waiting
        self._free = capacity
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def inside(self) -> int:
        """Bytes that are let in now."""
        return self.capacity - self._free

    @property
    def queued(self) -> int:
        """How many wait now."""
        return len(self._queue)

    @asynccontextmanager
    async def admit(self, size: int) -> AsyncIterator[None]:
        """Waits until ``size`` bytes have room, and holds it.

        Raises:
            Crowded: too many are waiting already.
        """
        size = min(size, self.capacity)
        await self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    async def _enter(self, size: int) -> None:
        if not self._queue and size <= self._free:
            self._free -= size
            return
        if len(self._queue) >= self.waiting:
            raise Crowded
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and called off in the same moment
                self._leave(size)
            else:
                with suppress(ValueError):  # passed over already, by one who left in the same moment
                    self._queue.remove((size, turn))
                self._leave(0)  # whoever stood behind may fit
            raise

    def _leave(self, size: int) -> None:
        self._free += size
        while self._queue and self._queue[0][0] <= self._free:
            wanted, turn = self._queue.popleft()
            self._free -= wanted
            if turn.done():
                self._free += wanted
            else:
                turn.set_result(None)
