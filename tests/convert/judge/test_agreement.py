from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convert.judge import agreement
from convert.judge.agreement import Agreement, compare
from covidnet_lite.errors import DatasetError


def found(float_only: int, only: int) -> Agreement:
    return Agreement(100, 1.0, 0.0, 100, 50, 50, float_only, only, ())


@pytest.mark.parametrize(
    ("float_only", "only", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64), (0, 6, 2 / 64), (9, 1, 22 / 1024), (1, 9, 22 / 1024), (12, 5, 0.143463134765625)],
)  # fmt: skip
def test_the_exact_p_of_mcnemar_is_that_of_a_fair_coin(float_only: int, only: int, p: float) -> None:
    assert found(float_only, only).mcnemar == pytest.approx(p, rel=1e-12)


@pytest.mark.slow
def test_mcnemar_holds_for_many_images() -> None:
    assert found(5000, 5000).mcnemar == 1.0
    assert 0 <= found(5000, 0).mcnemar < 1e-300
    assert found(1050, 1000).mcnemar == pytest.approx(0.279, abs=2e-3)  # z = 49 / sqrt(2050), continuity corrected


FLOATS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.8, 0.2]])
QUANTISED = np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.7, 0.3], [0.8, 0.2]])
NAMES = ("a", "b", "c", "d", "e")


def test_two_networks_are_compared_image_by_image() -> None:
    a = compare(NAMES, np.array([0, 0, 1, 0, 1]), FLOATS, QUANTISED)
    assert (a.images, a.labelled) == (5, 5)
    assert a.top1 == pytest.approx(0.6)
    assert a.drift == pytest.approx((0.1 + 0.2 + 0.1 + 0.4 + 0.0) / 5)
    assert (a.float_correct, a.correct) == (3, 3)
    assert (a.float_only, a.only) == (1, 1)
    assert a.differing == ("b", "d")
    assert a.mcnemar == 1.0


def test_images_without_a_label_count_for_agreement_alone() -> None:
    a = compare(NAMES, np.array([0, -1, 1, -1, -1]), FLOATS, QUANTISED)
    assert (a.images, a.labelled, a.float_correct, a.correct, a.float_only, a.only) == (5, 2, 2, 2, 0, 0)
    assert a.differing == ("b", "d")
    nothing = compare(NAMES, np.full(5, -1), FLOATS, QUANTISED)
    assert (nothing.labelled, nothing.float_correct, nothing.correct, nothing.mcnemar) == (0, 0, 0, 1.0)


def test_near_ties_are_told_from_what_float_is_sure_of() -> None:
    floats = np.array([[0.5, 0.44, 0.06], [0.9, 0.1, 0.0], [0.48, 0.04, 0.48], [0.1, 0.2, 0.7]])
    turned = np.array([[0.44, 0.5, 0.06], [0.9, 0.1, 0.0], [0.48, 0.04, 0.47], [0.8, 0.1, 0.1]])
    assert agreement.near_ties(floats).tolist() == [True, False, True, False]
    a = compare(NAMES[:4], np.full(4, -1), floats, turned)
    assert (a.near, a.near_differing, a.top1, a.clear) == (2, 1, 0.5, 0.5)
    all_near = compare(NAMES[:1], np.full(1, -1), floats[:1], turned[:1])
    assert (all_near.top1, all_near.clear) == (0.0, 1.0)


def test_a_network_agrees_with_itself() -> None:
    a = compare(NAMES, np.array([0, 1, 0, 1, 0]), FLOATS, FLOATS)
    assert (a.top1, a.drift, a.differing, a.float_only, a.only) == (1.0, 0.0, (), 0, 0)
    assert a.float_correct == a.correct == 3


def test_no_image_is_nothing_to_judge_on() -> None:
    with pytest.raises(DatasetError, match="no image to judge on"):
        compare((), np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)))


def test_an_accuracy_is_told_with_its_interval() -> None:
    assert agreement.accuracy(79, 100) == "79.0% (70.0%-85.8%)"
    assert agreement.accuracy(0, 0) == "not measured"


class Clock:
    """Stands in for the time, which passes only when an interpreter runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow:
    """Stands in for an interpreter that takes so many seconds, run by run."""

    input_shape, input_dtype = (1, 4, 4, 1), np.dtype("int8")

    def __init__(self, clock: Clock, name: str, order: list[str], taking: list[float]) -> None:
        self._clock, self._name, self._order, self._taking = clock, name, order, taking

    def run(self, picture: Any) -> None:
        assert picture.shape == self.input_shape
        assert picture.dtype == self.input_dtype
        self._clock.now += self._taking[min(self._order.count(self._name), len(self._taking) - 1)]
        self._order.append(self._name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(agreement, "time", clock)
    return clock


def test_latencies_are_medians_after_warming_up_taken_in_turn(clock: Clock) -> None:
    order: list[str] = []
    first = Slow(clock, "a", order, [0.05] * 5 + [0.002, 0.9, 0.002])  # slow at first, and once in between
    second = Slow(clock, "b", order, [0.006])
    result = agreement.latencies([first, second], rounds=9)  # type: ignore[list-item]
    assert order == ["a", "b"] * 9
    assert result == pytest.approx([2.0, 6.0])
    assert agreement.latencies([Slow(clock, "c", [], [0.5] * 5 + [0.1])], rounds=6) == pytest.approx([100.0])  # type: ignore[list-item]


def test_a_slow_network_is_not_timed_for_ever(clock: Clock) -> None:
    order: list[str] = []
    assert agreement.latencies([Slow(clock, "a", order, [4.0])]) == pytest.approx([4000.0])  # type: ignore[list-item]
    assert 10 < len(order) < 20
