from __future__ import annotations

import numpy as np
import pytest

from convert.quantisation import ranges
from covidnet_lite.prediction import softmax


def test_logits_are_clipped_for_near_ties_but_not_at_any_price() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 0.2, (200, 6))  # most images hesitate between several classes,
    logits[:8] += rng.uniform(5, 12, (8, 1))  # of some all are high
    logits[:8, 0] += 1
    low, high = ranges.range_of_logits(logits)
    step = (high - low) / 255
    assert high < 3  # these pay for it
    tied = np.sort(np.rint(logits[8:] / step), axis=1)
    assert (tied[:, -1] == tied[:, -2]).mean() < 0.1
    sure = rng.normal(0, 1, (200, 6))
    sure[np.arange(200), rng.integers(0, 6, 200)] += 8  # no tie is near
    low, high = ranges.range_of_logits(sure)
    clipped = softmax(np.clip(sure, low, high))
    assert np.abs(clipped - softmax(sure)).sum(axis=1).mean() < 0.01


def test_a_logit_that_is_as_good_as_certain_is_cut_off() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 4))
    logits[:, 3] = -60  # a class that is never likely
    logits[:20, 0] = 40  # one that is certain
    low, high = ranges.range_of_logits(logits)
    assert -10 < low < logits[:, :3].min() + 0.5
    assert 5 < high < 12
    assert ranges.range_of_logits(np.zeros((3, 2))) == (0, 0)


def test_a_few_extreme_images_do_not_take_the_levels_of_the_logits_from_all_others() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 6))
    logits[:14] *= 60  # sure of nothing, as several classes are far above the others
    logits[:14, 1] = logits[:14, 0] - 0.5
    low, high = ranges.range_of_logits(logits)
    assert -10 < low < 0 < high < 10 < 60 < logits.max()
    step = (high - low) / 255
    rounded = np.clip(np.rint(logits / step) * step, low, high)
    assert (rounded[14:].argmax(1) == logits[14:].argmax(1)).mean() > 0.95


def test_the_range_that_loses_least_is_found_at_any_size() -> None:
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(0, 1, 20000))
    low, high = ranges.clipped_range(values)
    assert low == 0
    assert 3 < high <= values.max()
    for size in (1e-6, 1e6):
        assert ranges.clipped_range(values * size) == pytest.approx((0, high * size))
        assert ranges.clipped_range(-values * size) == pytest.approx((-high * size, 0))
    assert ranges.clipped_range(np.zeros(9)) == (0, 0)

    rare = np.append(np.abs(rng.normal(0, 1, 400_000)), 20)
    assert 4 < ranges.clipped_range(rare)[1] < 15

    def loss(end: float) -> float:
        step = end / 255
        return float(((values - np.clip(np.rint(values / step), 0, 255) * step) ** 2).mean())

    assert loss(high) == min(loss(values.max() * share) for share in np.linspace(1, 0.2, 41))
