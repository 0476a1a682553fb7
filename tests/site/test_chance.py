"""Intervals and p-values against counting them out."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from covidnet_lite.site.chance import beta_interval, fisher, kolmogorov_smirnov, observed_rate, order_statistic_rate


def test_the_share_beyond_an_order_statistic_is_within_its_interval_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(0)
    mean, low, high = order_statistic_rate(30, 1)
    # Of uniform numbers, the share beyond a value is what the value leaves.
    beyond = 1 - np.sort(rng.random((20000, 30)), axis=1)[:, 28]
    assert beyond.mean() == pytest.approx(mean, abs=0.002) == pytest.approx(2 / 31, abs=0.002)
    assert ((low <= beyond) & (beyond <= high)).mean() == pytest.approx(0.95, abs=0.005)


def test_more_radiographs_narrow_the_interval() -> None:
    widths = [np.ptp(order_statistic_rate(n, above)[1:]) for n, above in ((30, 1), (100, 6), (200, 13))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == pytest.approx(0.164, abs=0.001)


def test_a_beta_of_one_and_one_is_uniform() -> None:
    assert beta_interval(1, 1) == pytest.approx((0.025, 0.975))


def test_a_counted_share_has_the_interval_of_clopper_and_pearson() -> None:
    assert observed_rate(0, 30) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 30)))
    assert observed_rate(30, 30) == pytest.approx((1, 0.025 ** (1 / 30), 1))
    assert observed_rate(5, 50) == pytest.approx((0.1, 0.0333, 0.2181), abs=1e-4)


@pytest.mark.parametrize(("a", "n", "b", "m"), [(3, 8, 1, 9), (0, 5, 4, 6), (2, 4, 3, 6), (0, 4, 0, 7)])
def test_fishers_test_counts_the_tables_that_are_as_rare(a: int, n: int, b: int, m: int) -> None:
    weights = {k: comb(n, k) * comb(m, a + b - k) for k in range(max(0, a + b - m), min(n, a + b) + 1)}
    expected = sum(w for w in weights.values() if w <= weights[a]) / sum(weights.values())
    assert fisher(a, n, b, m) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_test_of_kolmogorov_and_smirnov_counts_the_orders_that_are_as_far_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    both, n = rng.random(9) + np.repeat([0.0, 0.4], (3, 6)), 3

    def apart(chosen: tuple[int, ...]) -> float:
        first = np.isin(np.arange(9), chosen)[np.argsort(both)]
        return float(np.abs(np.cumsum(first) / n - np.cumsum(~first) / (9 - n)).max())

    expected = np.mean([apart(c) >= apart((0, 1, 2)) - 1e-9 for c in combinations(range(9), n)])
    assert kolmogorov_smirnov(both[:n], both[n:]) == pytest.approx(expected)


def test_samples_far_apart_differ_and_none_says_nothing() -> None:
    assert kolmogorov_smirnov(np.arange(200), np.arange(5000) + 300) < 1e-9
    assert kolmogorov_smirnov([], [1.0]) == 1
    assert kolmogorov_smirnov([1.0, 1.0], [1.0]) == 1
