"""Who may come in: uploads are not read before there is room for them, so a crowd cannot fill the memory.

Room is counted by what has arrived, not by what is announced: whoever announces much and sends little takes little.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

START = 64 << 10  # bytes of room to come in with
SHORT = 8 << 20  # bytes; an upload so far no longer may use the room that is kept for short ones
KEPT = 4  # a quarter of all the room


class Crowded(Exception):
    """As many are waiting as may."""


class Ticket:
    """The room that one upload has.

    Attributes:
        room: bytes.
    """

    def __init__(self, turnstile: Turnstile, room: int) -> None:
        self._turnstile, self.room, self._used = turnstile, room, 0

    async def take(self, size: int) -> None:
        """Waits until so many bytes more have room."""
        self._used += size
        if self._used > self.room:
            await self._turnstile._grow(self, self._used - self.room)


Turn = tuple[Ticket, int, "asyncio.Future[None]"]


class Turnstile:
    """So many bytes at once, first come, first served; whoever is not in yet is not read from.

    Of those inside, the one that came first always gets what it needs, even beyond the capacity: otherwise all might
    wait for each other. One that waits for more does not hold up those whose need is less. For one event loop.

    Attributes:
        capacity: bytes that may be inside at once, besides those of the first.
        waiting: how many may wait outside.
    """

    def __init__(self, capacity: int, waiting: int) -> None:
        self.capacity, self.waiting = capacity, waiting
        self._free = capacity
        self._inside: list[Ticket] = []
        self._growing: deque[Turn] = deque()
        self._queue: deque[Turn] = deque()

    @property
    def inside(self) -> int:
        """Bytes that are let in now."""
        return self.capacity - self._free

    @property
    def queued(self) -> int:
        """How many wait outside now."""
        return len(self._queue)

    @asynccontextmanager
    async def admit(self, size: int = START) -> AsyncIterator[Ticket]:
        """Waits until ``size`` bytes have room, and holds it, and what is taken beyond.

        Raises:
            Crowded: too many are waiting already.
        """
        ticket = Ticket(self, 0)
        size = min(size, self.capacity)
        if not self._queue and self._fits(ticket, size):
            self._give(ticket, size)
        elif len(self._queue) >= self.waiting:
            raise Crowded
        else:
            await self._wait(self._queue, ticket, size)
        try:
            yield ticket
        finally:
            self._leave(ticket)

    async def _grow(self, ticket: Ticket, size: int) -> None:
        if self._fits(ticket, size):
            self._give(ticket, size)
        else:
            await self._wait(self._growing, ticket, size)

    async def _wait(self, line: deque[Turn], ticket: Ticket, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (ticket, size, turn)
        line.append(place)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            with suppress(ValueError):  # passed over already, by one who left in the same moment
                line.remove(place)
            if line is self._queue:  # let in and called off in the same moment, perhaps
                self._leave(ticket)
            else:
                self._serve()  # whoever stood behind may fit
            raise

    def _fits(self, ticket: Ticket, size: int) -> bool:
        if self._inside and ticket is self._inside[0]:
            return True
        kept = 0 if ticket.room + size <= SHORT else self.capacity // KEPT
        return size <= self._free - kept or self._free == self.capacity

    def _give(self, ticket: Ticket, size: int) -> None:
        if ticket not in self._inside:
            self._inside.append(ticket)
        self._free -= size
        ticket.room += size

    def _leave(self, ticket: Ticket) -> None:
        self._free += ticket.room
        ticket.room = 0
        with suppress(ValueError):
            self._inside.remove(ticket)
        self._serve()

    def _serve(self) -> None:
        """Gives room to those inside who wait for more, each that fits; then to those outside, in their order."""
        for place in list(self._growing):
            if place[2].done():
                self._growing.remove(place)
            elif self._fits(place[0], place[1]):
                self._growing.remove(place)
                self._let(place)
        while self._queue and (self._queue[0][2].done() or self._fits(*self._queue[0][:2])):
            self._let(self._queue.popleft())

    def _let(self, place: Turn) -> None:
        ticket, size, turn = place
        if not turn.done():
            self._give(ticket, size)
            turn.set_result(None)
