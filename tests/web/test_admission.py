from __future__ import annotations

import asyncio

import pytest

from covidnet_lite.web.admission import INITIAL_SIZE, Admission, Overloaded

from .conftest import awaited


async def settled() -> None:
    """Lets every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Visitor:
    """Somebody who comes in, stays until told to go, and then leaves."""

    def __init__(self, admission: Admission, size: int) -> None:
        self.admitted, self._go = False, asyncio.Event()
        self.task = asyncio.create_task(self._visit(admission, size))

    async def _visit(self, admission: Admission, size: int) -> None:
        async with admission.admit(size):
            self.admitted = True
            await self._go.wait()
        self.admitted = False

    async def leave(self) -> None:
        self._go.set()
        await self.task
        await settled()


def test_no_more_bytes_are_inside_than_there_is_room_for() -> None:
    async def scene() -> None:
        admission = Admission(100, waiting=10)
        first, second, third = (Visitor(admission, size) for size in (60, 40, 30))
        await settled()
        assert [v.admitted for v in (first, second, third)] == [True, True, False]
        assert (admission.admitted, admission.queued) == (100, 1)
        await second.leave()
        assert third.admitted
        await first.leave()
        await third.leave()
        assert (admission.admitted, admission.queued) == (0, 0)

    awaited(scene)


def test_first_come_first_served_so_that_the_large_are_not_passed_by() -> None:
    async def scene() -> None:
        admission = Admission(100, waiting=10)
        first, large, small = (Visitor(admission, size) for size in (60, 90, 10))
        await settled()
        assert (large.admitted, small.admitted) == (False, False)  # small would fit, but is not first
        await first.leave()
        assert (large.admitted, small.admitted) == (True, True)
        await large.leave()
        await small.leave()

    awaited(scene)


def test_no_more_wait_than_may() -> None:
    async def scene() -> None:
        admission = Admission(100, waiting=1)
        first, second = Visitor(admission, 100), Visitor(admission, 1)
        await settled()
        with pytest.raises(Overloaded):
            async with admission.admit(1):
                pass
        assert admission.queued == 1
        await first.leave()
        await second.leave()

    awaited(scene)


def test_what_is_larger_than_all_the_room_comes_in_alone() -> None:
    async def scene() -> None:
        admission = Admission(100, waiting=1)
        large, small = Visitor(admission, 500), Visitor(admission, 1)
        await settled()
        assert (large.admitted, small.admitted) == (True, False)
        await large.leave()
        assert small.admitted
        await small.leave()

    awaited(scene)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_whoever_gives_up_holds_nobody_up_and_leaves_no_trace(which: int) -> None:
    async def scene() -> None:
        admission = Admission(100, waiting=10)
        visitors = [Visitor(admission, size) for size in (60, 90, 40)]
        await settled()
        visitors[which].task.cancel()
        await settled()
        others = [visitor for visitor in visitors if not visitor.task.done()]
        assert len(others) == 2
        for visitor in others:
            await visitor.leave()
        assert (admission.admitted, admission.queued) == (0, 0)

    awaited(scene)


def test_whoever_gives_up_in_the_moment_of_being_let_in_gives_the_room_back() -> None:
    async def scene() -> None:
        admission = Admission(100, waiting=10)
        first, second = Visitor(admission, 100), Visitor(admission, 100)
        await settled()
        first._go.set()
        while admission.queued:  # until it is let in, though it has not yet run
            await asyncio.sleep(0)
        second.task.cancel()
        await settled()
        assert not second.admitted
        assert admission.admitted == 0

    awaited(scene)


def test_whoever_announces_much_and_sends_little_takes_little() -> None:
    async def scene() -> None:
        admission = Admission(64 << 20, waiting=0)
        async with admission.admit() as slow, admission.admit() as quick:
            await slow.reserve(1)
            await quick.reserve(40 << 20)
            assert admission.admitted == (40 << 20) + INITIAL_SIZE
        assert admission.admitted == 0

    awaited(scene)


def test_a_place_is_kept_for_short_uploads() -> None:
    async def scene() -> None:
        admission = Admission(64 << 20, waiting=10)
        async with admission.admit() as first, admission.admit() as large:
            await first.reserve(40 << 20)
            waits = asyncio.create_task(large.reserve(20 << 20))
            await settled()
            assert not waits.done()  # it would fit, but not beside what is kept
            short = asyncio.create_task(_whole(admission, 1 << 20))
            await asyncio.wait_for(short, 5)
            await first.reserve(0)
            waits.cancel()
            await settled()
        assert (admission.admitted, admission.queued) == (0, 0)

    awaited(scene)


async def _whole(admission: Admission, size: int) -> None:
    async with admission.admit() as reservation:
        await reservation.reserve(size)


def test_the_first_inside_goes_on_where_all_would_wait_for_each_other() -> None:
    async def scene() -> None:
        admission = Admission(10 << 20, waiting=10)
        results = await asyncio.wait_for(asyncio.gather(*(_whole(admission, 6 << 20) for _ in range(5))), 5)
        assert len(results) == 5
        assert admission.admitted == 0

    awaited(scene)


def test_those_who_time_out_together_all_hear_of_it() -> None:
    async def scene() -> None:
        admission = Admission(10, waiting=100)
        events: list[str] = []

        async def wait() -> None:
            try:
                async with asyncio.timeout(0.2), admission.admit(10):
                    await asyncio.sleep(9)
            except TimeoutError:
                events.append("busy")

        await asyncio.gather(*(wait() for _ in range(5)))
        assert events == ["busy"] * 5
        assert (admission.admitted, admission.queued) == (0, 0)

    awaited(scene)
