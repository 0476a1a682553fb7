"""Between which values an activation keeps its 256 levels, where the whole range is not the best."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.metrics import expected_disagreement, probability_moved
from covidnet_lite.prediction import softmax

Range = tuple[float, float]
Array = npt.NDArray[Any]

CHANGE = 0.005  # of a probability, that clipped logits may cost but on a few extreme images
KEPT = np.array([0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5])  # shares of the images that a range may keep whole
INSIDE = np.array([0.9, 0.8, 0.7, 0.6, 0.5])  # ends that clip more than half of the images, as shares of their median


def range_of_logits(logits: Array) -> Range:
    """The range of ``(n, classes)`` logits in 8 bits by which rounding them changes least of the answers.

    The step between 8-bit logits should be as fine as can be: two classes tie where their logits differ by less. What
    is clipped changes probabilities. The two are weighed against each other as shares: of the images whose class is
    expected to change, and of the probability that moves.

    The choice, at either end, is between the whole range, the narrowest that changes no probability by more than
    ``CHANGE``, as a logit far below or above the others is as good as certain either way, and what shares of the
    images keep to: a few extreme images, with several logits a hundred times those of the others, would else take all
    levels from these.
    """
    exact = softmax(logits)

    def change(low: float, high: float) -> float:
        return float(np.abs(softmax(np.clip(logits, low, high)) - exact).max())

    lowest, highest = min(float(logits.min()), 0.0), max(float(logits.max()), 0.0)
    shares = np.linspace(0.0, 1.0, 51)
    low = next(end for end in lowest * shares if change(end, highest) <= CHANGE / 2 or end == lowest)
    high = next(end for end in highest * shares if change(low, end) <= CHANGE or end == highest)
    lows = np.maximum(np.minimum(np.quantile(logits.min(axis=1), 1 - KEPT), 0.0), low)
    highs = np.minimum(np.maximum(np.quantile(logits.max(axis=1), KEPT), 0.0), high)
    ranges = dict.fromkeys(itertools.product([low, lowest, *lows], [high, highest, *highs]))
    low, high = min(ranges, key=lambda ends: _cost_of_rounding(logits, exact, ends))
    return float(low), float(high)


def _cost_of_rounding(logits: Array, exact: Array, ends: Range) -> float:
    """Share of the images whose class 8 bits are expected to change, and share of the probability that they move."""
    rounded = _in_8_bits(logits, *ends)
    return expected_disagreement(logits, rounded) + float(probability_moved(softmax(rounded), exact).mean())


def range_per_image(samples: Sequence[Array], lows: Array, highs: Array, powers: Array, size: int) -> Range:
    """The range in whose 256 levels images keep the best ratio of signal to noise, on average in decibels.

    An image whose values are a hundred times those of the others then counts no more than any of these: it may be
    clipped to a tenth of its signal where all others gain a few decibels.

    Args:
        samples: some values of each image.
        lows, highs, powers: lowest, highest and mean square value of each image.
        size: values of an image.
    """
    shortest = min(len(values) for values in samples)
    values, powers = np.stack([v[:shortest] for v in samples]), np.maximum(powers, 1e-30)

    @cache  # most candidates for the lower end of what a ReLU puts out are 0
    def loss(low: float, high: float) -> float:
        rounding = np.square(_in_8_bits(values, low, high) - values).mean(axis=1)
        ends = np.maximum(highs - high, 0) ** 2 + np.maximum(low - lows, 0) ** 2  # the samples may lack them
        return float(np.log(np.maximum((rounding + ends / size) / powers, 1e-9)).mean())

    low, high = min(float(lows.min()), 0.0), max(float(highs.max()), 0.0)
    low_ends = [min(float(end), 0.0) for end in (*np.quantile(lows, 1 - KEPT), *np.median(lows) * INSIDE, low)]
    high_ends = [max(float(end), 0.0) for end in (*np.quantile(highs, KEPT), *np.median(highs) * INSIDE, high)]
    for _ in range(2):  # each end depends on the other, but little
        high = min(high_ends, key=lambda end: loss(low, end))
        low = min(low_ends, key=lambda end: loss(end, high))
    return low, high


def clipped_range(values: Array, min_high: float = 0.0) -> Range:
    """The range whose 256 levels lose least of ``values`` in mean square: a few outliers may be clipped.

    Its search starts from an upper end of ``min_high`` or more.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), min_high)
    if low == high:
        return low, high
    shares = np.linspace(1.0, 0.2, 41)
    high = min((high * share for share in shares), key=lambda end: _rounding_loss(values, low, end))
    low = min((low * share for share in shares), key=lambda end: _rounding_loss(values, end, high))
    return float(low), float(high)


def _rounding_loss(values: Array, low: float, high: float) -> float:
    return float(((values - _in_8_bits(values, low, high)) ** 2).mean())


def _in_8_bits(values: Array, low: float, high: float) -> Array:
    """What is left of values in the 256 levels of a range that holds 0."""
    step = max(high - low, 1e-30) / 255
    zero = round(-low / step)
    levels = np.rint(values * (1 / step))
    np.clip(levels, -zero, 255 - zero, out=levels)
    levels *= step
    return np.asarray(levels)
