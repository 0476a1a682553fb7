"""From scores to thresholds: the shares that are asked for, their intervals, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sites import network

from covidnet_lite.errors import SiteError
from covidnet_lite.network.operating_point import OperatingPoint
from covidnet_lite.site.rule import Targets, check_separation, check_shift, log_odds, odds, rule

POINT = network().manifest.operating_point
assert isinstance(POINT, OperatingPoint)
NETWORK = -log_odds(POINT.negative_from), log_odds(POINT.positive_from)
NONE = np.array([])


def test_odds_are_those_of_all_other_classes_together() -> None:
    logits = np.log([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    assert odds(logits, 0) == pytest.approx([np.log(4), -np.log(9)])
    assert odds(logits, 2) == pytest.approx([np.log(7 / 3), np.log(19)])


@pytest.mark.parametrize("n", [30, 100])
def test_so_many_normals_are_called_ill_and_normal_as_are_asked_for(n: int) -> None:
    rng, ill, normal, inside = np.random.default_rng(0), [], [], []
    for _ in range(200):
        well = rng.normal(-0.5, 1, n)
        result = rule(well, NONE, POINT, Targets())
        again = rng.normal(-0.5, 1, 2000)
        ill.append((again > result.positive).mean())
        normal.append((again < result.negative).mean())
        _, low, high = result.rates["normal called ill"]
        inside.append(low <= ill[-1] <= high)
    assert 0.05 <= np.mean(ill) <= 0.07
    assert np.mean(normal) <= 0.61
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_without_labels_nothing_is_called_normal_that_the_network_would_not_call_so() -> None:
    higher = rule(np.linspace(-1, 3.0, 100), NONE, POINT, Targets())
    assert higher.negative == pytest.approx(NETWORK[0])
    lower = rule(np.linspace(-3, 0, 100), NONE, POINT, Targets())
    assert lower.negative < NETWORK[0]
    assert higher.rates["normal called normal"][0] == pytest.approx((np.linspace(-1, 3.0, 100) < NETWORK[0]).mean())


def test_without_labels_all_that_the_network_calls_ill_still_is_unless_it_is_asked_for() -> None:
    high = np.linspace(-1, 3.0, 100)
    result = rule(high, NONE, POINT, Targets())
    assert (result.negative, result.positive, result.shift) == pytest.approx((*NETWORK, 0))
    assert result.rates["normal called ill"][0] == pytest.approx((high > NETWORK[1]).mean())
    assert rule(high, NONE, POINT, Targets(fewer_alarms=True)).positive > NETWORK[1]
    assert rule(high, np.linspace(1, 5, 50), POINT, Targets()).positive > NETWORK[1]


def test_labels_of_the_ill_say_what_is_called_normal() -> None:
    rng = np.random.default_rng(0)
    called = []
    for _ in range(200):
        result = rule(rng.normal(-1, 1, 60), rng.normal(1, 1, 60), POINT, Targets())
        called.append((rng.normal(1, 1, 2000) < result.negative).mean())
    assert 0.07 <= np.mean(called) <= 0.1
    assert result.rates["ill called normal"][2] < 0.25


def test_where_ill_and_normal_do_not_overlap_no_film_is_both() -> None:
    result = rule(np.linspace(-2, 0.5, 60), np.linspace(3, 6, 60), POINT, Targets())
    assert result.negative == result.positive
    assert result.negative + result.shift == pytest.approx(0)


@pytest.mark.parametrize("middle", [-1.8, -1.0, 0.5])
def test_what_is_called_normal_is_likelier_so_than_not_and_what_is_called_ill_too(middle: float) -> None:
    result = rule(middle + np.linspace(-1, 1, 100), NONE, POINT, Targets())
    assert result.negative + result.shift <= 0 <= result.positive + result.shift


def test_a_site_that_scores_as_training_did_is_not_shifted() -> None:
    well = np.interp(np.linspace(0.0005, 0.9995, 1000), [0, 0.6, 0.93, 1], [-3, *NETWORK, 3])
    result = rule(well, NONE, POINT, Targets())
    assert (result.negative, result.positive, result.shift) == pytest.approx((*NETWORK, 0), abs=0.02)


@pytest.mark.parametrize(("middle", "way"), [(-3.5, "lower"), (2.6, "higher")])
def test_a_site_farther_off_than_any_hospital_is_refused(middle: float, way: str) -> None:
    with pytest.raises(SiteError, match=f"{way} in log-odds than those that the network was fitted on"):
        check_shift(middle + np.linspace(-1, 1, 100), POINT, Targets())


def test_too_few_radiographs_for_a_share_are_refused() -> None:
    with pytest.raises(SiteError, match="30 radiographs are too few for a share of 1.0%"):
        rule(np.linspace(-2, 1, 30), NONE, POINT, Targets(normal_called_ill=0.01))


@pytest.mark.parametrize(
    "shares", [(0, 0.6, 0.1), (0.07, 1, 0.1), (0.07, 0.6, -1), (float("nan"), 0.6, 0.1), (0.5, 0.6, 0.1)]
)
def test_shares_that_cannot_be_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(SiteError):
        Targets(*shares)


@pytest.mark.parametrize("ill", [np.linspace(-2, 2, 40), np.linspace(-4, 0, 40)])
def test_labels_that_contradict_the_scores_are_refused(ill: Any) -> None:
    check_separation(np.linspace(-2, 2, 40), np.linspace(-0.5, 3.5, 40))
    with pytest.raises(SiteError, match="no better than chance; see whether the labels are swapped"):
        check_separation(np.linspace(-2, 2, 40), ill)
