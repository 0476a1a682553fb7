"""The order of what waits, whatever the wall clock says."""

from __future__ import annotations

import time

import pytest

from covidnet_lite.node.seniority import Seniority

YEAR = 365 * 86400.0


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Both clocks, to be set."""
    now = {"time": 1e9, "monotonic": 100.0}
    for name in now:
        monkeypatch.setattr(time, name, lambda name=name: now[name])
    return now


def test_what_is_there_at_first_has_waited_since_it_was_made(clocks: dict[str, float]) -> None:
    made = {"new": 1e9 - 5, "old": 1e9 - 60, "of the future": 1e9 + YEAR}
    seniority = Seniority()
    assert seniority.order(made, made.__getitem__) == ["old", "new", "of the future"]
    assert seniority.longest == 60


@pytest.mark.parametrize("jump", [-YEAR, -3600, 3600, YEAR])
def test_a_clock_that_is_set_changes_no_order_and_no_wait(clocks: dict[str, float], jump: float) -> None:
    seniority, made = Seniority(), {"a": 1e9}
    assert seniority.order(made, made.__getitem__) == ["a"]
    for name in ("b", "c"):
        clocks["monotonic"] += 10
        clocks["time"] += 10 + jump
        made[name] = clocks["time"]
        assert seniority.order(made, made.__getitem__)[-1] == name
    assert seniority.longest == 20
    del made["a"]
    assert seniority.order(made, made.__getitem__) == ["b", "c"]
    assert seniority.longest == 10


def test_where_nothing_waits_nothing_has_waited() -> None:
    seniority = Seniority()
    assert seniority.longest is None
    assert seniority.order([], lambda name: 0.0) == []
    assert seniority.longest is None
    assert seniority.order(["a"], lambda name: 0.0) == ["a"]  # the first look is over: a file's time counts no more
    assert seniority.longest is not None
    assert seniority.longest < 60
