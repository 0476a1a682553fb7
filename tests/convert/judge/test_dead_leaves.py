"""Synthetic outliers."""

from __future__ import annotations

import numpy as np
import pytest

from convert.judge.dead_leaves import SIDE, dead_leaves


@pytest.mark.parametrize(("colour", "mode"), [(False, "L"), (True, "RGB")])
def test_an_image_is_the_same_for_the_same_seed_and_another_for_another(colour, mode):
    one, again, other = (dead_leaves(seed, colour) for seed in (3, 3, 4))
    assert (one.mode, one.size) == (mode, (SIDE, SIDE))
    assert one.tobytes() == again.tobytes() != other.tobytes()


def test_each_uses_most_gray_levels():
    for seed in range(20):
        low, high = np.quantile(np.asarray(dead_leaves(seed)), (0.01, 0.99))
        assert high - low > 150, seed


def test_power_falls_with_frequency_as_in_photographs():
    """About as its square (Field, 1987); white noise would not fall at all."""
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    images = [np.asarray(dead_leaves(seed), float) for seed in range(40)]
    power = np.mean([np.abs(np.fft.fft2((i - i.mean()) * window)) ** 2 for i in images], axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    among = (frequency > 0.02) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[among]), np.log(power[among]), 1)[0]
    assert -3.2 < slope < -1.5
