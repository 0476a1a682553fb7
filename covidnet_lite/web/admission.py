"""Admission control: an upload is not read before memory is reserved for it, so that many cannot fill the memory.

A reservation grows with the bytes that have arrived, not with the announced length: a client that announces much and
sends little takes little.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

INITIAL_SIZE = 64 << 10  # bytes of a new reservation
SHORT_UPLOAD = 8 << 20  # bytes; an upload that is no larger so far may use the memory set aside for short ones
RESERVED = 4  # a quarter of the capacity is set aside


class Overloaded(Exception):
    """Too many uploads are waiting."""


class Reservation:
    """The memory of one upload.

    Attributes:
        size: bytes that are reserved.
    """

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission, self.size, self._used = admission, size, 0

    async def reserve(self, size: int) -> None:
        """Waits until memory for so many more bytes is reserved."""
        self._used += size
        if self._used > self.size:
            await self._admission._extend(self, self._used - self.size)


@dataclass(frozen=True, eq=False)
class _Waiter:
    """A reservation that waits for ``size`` more bytes; ``granted`` is done when it has them."""

    reservation: Reservation
    size: int
    granted: asyncio.Future[None]


class Admission:
    """Reserves memory for uploads, first come, first served; an upload that waits for admission is not read.

    Of the admitted uploads, the first always gets what it needs, even beyond the capacity: otherwise all might wait for
    each other. One that waits for more does not block others that need less. For one event loop.

    Attributes:
        capacity: bytes that may be reserved at once, besides those of the first upload.
        waiting: number of uploads that may wait for admission.
    """

    def __init__(self, capacity: int, waiting: int) -> None:
        self.capacity, self.waiting = capacity, waiting
        self._free = capacity
        self._reservations: list[Reservation] = []
        self._extending: deque[_Waiter] = deque()
        self._queue: deque[_Waiter] = deque()

    @property
    def admitted(self) -> int:
        """Bytes that are reserved now."""
        return self.capacity - self._free

    @property
    def queued(self) -> int:
        """The number of uploads that wait for admission."""
        return len(self._queue)

    @asynccontextmanager
    async def admit(self, size: int = INITIAL_SIZE) -> AsyncIterator[Reservation]:
        """Waits until ``size`` bytes are reserved; releases them, and those reserved later, at the end.

        Raises:
            Overloaded: too many uploads are waiting already.
        """
        reservation = Reservation(self, 0)
        size = min(size, self.capacity)
        if not self._queue and self._fits(reservation, size):
            self._grant(reservation, size)
        elif len(self._queue) >= self.waiting:
            raise Overloaded
        else:
            await self._wait(self._queue, reservation, size)
        try:
            yield reservation
        finally:
            self._release(reservation)

    async def _extend(self, reservation: Reservation, size: int) -> None:
        if self._fits(reservation, size):
            self._grant(reservation, size)
        else:
            await self._wait(self._extending, reservation, size)

    async def _wait(self, queue: deque[_Waiter], reservation: Reservation, size: int) -> None:
        waiter = _Waiter(reservation, size, asyncio.get_running_loop().create_future())
        queue.append(waiter)
        self._admit_waiting()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            with suppress(ValueError):  # removed already, by a release in the same moment
                queue.remove(waiter)
            if queue is self._queue:  # perhaps granted and cancelled in the same moment
                self._release(reservation)
            else:
                self._admit_waiting()  # those behind it may fit now
            raise

    def _fits(self, reservation: Reservation, size: int) -> bool:
        if self._reservations and reservation is self._reservations[0]:
            return True
        set_aside = 0 if reservation.size + size <= SHORT_UPLOAD else self.capacity // RESERVED
        return size <= self._free - set_aside or self._free == self.capacity

    def _grant(self, reservation: Reservation, size: int) -> None:
        if reservation not in self._reservations:
            self._reservations.append(reservation)
        self._free -= size
        reservation.size += size

    def _release(self, reservation: Reservation) -> None:
        self._free += reservation.size
        reservation.size = 0
        with suppress(ValueError):
            self._reservations.remove(reservation)
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Extends the admitted uploads that wait for more, each that fits; then admits the others, in their order."""
        for waiter in list(self._extending):
            if self._is_ready(waiter):
                self._extending.remove(waiter)
                self._resume(waiter)
        while self._queue and self._is_ready(self._queue[0]):
            self._resume(self._queue.popleft())

    def _is_ready(self, waiter: _Waiter) -> bool:
        return waiter.granted.done() or self._fits(waiter.reservation, waiter.size)

    def _resume(self, waiter: _Waiter) -> None:
        if not waiter.granted.done():  # else cancelled
            self._grant(waiter.reservation, waiter.size)
            waiter.granted.set_result(None)
