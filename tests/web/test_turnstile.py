from __future__ import annotations

import asyncio

import pytest

from covidnet_lite.web.turnstile import Crowded, Turnstile

from .conftest import awaited


async def settled() -> None:
    """Lets every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Visitor:
    """Somebody who comes in, stays until told to go, and then leaves."""

    def __init__(self, turnstile: Turnstile, size: int) -> None:
        self.inside, self._go = False, asyncio.Event()
        self.task = asyncio.create_task(self._visit(turnstile, size))

    async def _visit(self, turnstile: Turnstile, size: int) -> None:
        async with turnstile.admit(size):
            self.inside = True
            await self._go.wait()
        self.inside = False

    async def leave(self) -> None:
        self._go.set()
        await self.task
        await settled()


def test_no_more_bytes_are_inside_than_there_is_room_for() -> None:
    async def scene() -> None:
        turnstile = Turnstile(100, waiting=10)
        first, second, third = (Visitor(turnstile, size) for size in (60, 40, 30))
        await settled()
        assert [v.inside for v in (first, second, third)] == [True, True, False]
        assert (turnstile.inside, turnstile.queued) == (100, 1)
        await second.leave()
        assert third.inside
        await first.leave()
        await third.leave()
        assert (turnstile.inside, turnstile.queued) == (0, 0)

    awaited(scene)


def test_first_come_first_served_so_that_the_large_are_not_passed_by() -> None:
    async def scene() -> None:
        turnstile = Turnstile(100, waiting=10)
        first, large, small = (Visitor(turnstile, size) for size in (60, 90, 10))
        await settled()
        assert (large.inside, small.inside) == (False, False)  # small would fit, but is not first
        await first.leave()
        assert (large.inside, small.inside) == (True, True)
        await large.leave()
        await small.leave()

    awaited(scene)


def test_no_more_wait_than_may() -> None:
    async def scene() -> None:
        turnstile = Turnstile(100, waiting=1)
        first, second = Visitor(turnstile, 100), Visitor(turnstile, 1)
        await settled()
        with pytest.raises(Crowded):
            async with turnstile.admit(1):
                pass
        assert turnstile.queued == 1
        await first.leave()
        await second.leave()

    awaited(scene)


def test_what_is_larger_than_all_the_room_comes_in_alone() -> None:
    async def scene() -> None:
        turnstile = Turnstile(100, waiting=1)
        large, small = Visitor(turnstile, 500), Visitor(turnstile, 1)
        await settled()
        assert (large.inside, small.inside) == (True, False)
        await large.leave()
        assert small.inside
        await small.leave()

    awaited(scene)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_whoever_gives_up_holds_nobody_up_and_leaves_no_trace(which: int) -> None:
    async def scene() -> None:
        turnstile = Turnstile(100, waiting=10)
        visitors = [Visitor(turnstile, size) for size in (60, 90, 40)]
        await settled()
        visitors[which].task.cancel()
        await settled()
        others = [visitor for visitor in visitors if not visitor.task.done()]
        assert len(others) == 2
        for visitor in others:
            await visitor.leave()
        assert (turnstile.inside, turnstile.queued) == (0, 0)

    awaited(scene)


def test_whoever_gives_up_in_the_moment_of_being_let_in_gives_the_room_back() -> None:
    async def scene() -> None:
        turnstile = Turnstile(100, waiting=10)
        first, second = Visitor(turnstile, 100), Visitor(turnstile, 100)
        await settled()
        first._go.set()
        while turnstile.queued:  # until it is let in, though it has not yet run
            await asyncio.sleep(0)
        second.task.cancel()
        await settled()
        assert not second.inside
        assert turnstile.inside == 0

    awaited(scene)
