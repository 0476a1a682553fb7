"""More than 8 bits -> 256 gray levels, chosen by the radiograph itself and not by a label or a broken pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..codes import Code
from ..errors import InputError

Values = npt.NDArray[np.float64]

LINES = 32  # stretched together: few enough for a processor's cache
SAMPLE = 2**19  # pixels, of a larger image, from which its darkest and brightest value are computed
# The darkest or the brightest value is a frame, a shutter or a label if at least FRAME of the pixels have it, it is GAP
# (in shares of the span of nearly all others) away from nearly all others, and at least REMAINDER of the pixels remain.
FRAME, GAP, REMAINDER = 0.005, 0.02, 0.2
# Outliers are not part of the radiograph: values beyond the 5th and 95th percentile by more than their distance
# (labels), then beyond the 0.5th and 99.5th by a tenth of that (broken pixels). Where there are none, nothing is cut.
FENCES = ((0.05, 1.0), (0.005, 0.1))


def limits(values: npt.NDArray[Any], counts: npt.NDArray[Any]) -> tuple[float, float]:
    """The darkest and the brightest value of the radiograph itself.

    Ignores constant black or white (a frame, a shutter, a label) and outliers, which are beyond fences as in Tukey's
    box plot (Exploratory Data Analysis, 1977), only from percentiles farther out.

    Args:
        values: ``(n,)`` of any number type, rising.
        counts: ``(n,)``, the number of pixels with each value.
    """
    values, counts = values[counts > 0].astype(np.float64), counts[counts > 0]
    anatomy = ~_frames(values, counts)
    if counts[anatomy].sum() >= REMAINDER * counts.sum() and anatomy.sum() > 1:
        values, counts = values[anatomy], counts[anatomy]
    for tail, reach in FENCES:
        low, high = _percentiles(values, counts, tail)
        if low < high:
            inside = (values >= low - reach * (high - low)) & (values <= high + reach * (high - low))
            values, counts = values[inside], counts[inside]
    return float(values[0]), float(values[-1])


def _percentiles(values: Values, counts: npt.NDArray[Any], tail: float) -> tuple[float, float]:
    total = np.cumsum(counts)
    low, high = values[np.searchsorted(total, (tail * total[-1], (1 - tail) * total[-1])).clip(max=len(values) - 1)]
    return float(low), float(high)


def _frames(values: Values, counts: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of the values, the first or the last, are constant black or white and not part of the radiograph."""
    is_frame = np.zeros(len(values), bool)
    if len(values) > 3:
        share = counts / counts.sum()
        low, high = _percentiles(values[1:-1], counts[1:-1], FRAME)
        is_frame[0] = share[0] >= FRAME and low - values[0] > GAP * (high - low)
        is_frame[-1] = share[-1] >= FRAME and values[-1] - high > GAP * (high - low)
    return is_frame


def sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Evenly spaced pixels of a large image, all pixels of a small one."""
    step = int(np.ceil(np.sqrt(max(1.0, array.size / SAMPLE))))
    return array[::step, ::step]


def stretch(array: npt.NDArray[Any], name: str) -> Image.Image:
    """``(height, width[, 3])`` of any number type -> 8 bits, from 0 (the radiograph's darkest) to 255 (its brightest).

    Raises:
        InputError: the values are not finite.
    """
    if array.dtype.kind == "f" and not np.isfinite(array.min() + array.max()):
        raise InputError(f"{name}: holds NaN or infinite values; replace them first", Code.NOT_FINITE)
    # Few levels: counting and a table are faster than sorting and arithmetic.
    few = array.dtype.kind in "uib" and array.dtype.itemsize <= 2
    pixels = sample(array)
    if few:
        lowest = int(array.min())
        counts = np.bincount(pixels.ravel().astype(np.int32) - lowest)
        levels = np.arange(lowest, lowest + len(counts))
        low, high = limits(levels, counts)
    else:
        low, high = limits(*np.unique(pixels, return_counts=True))
    if high == low:
        return Image.fromarray(np.zeros(array.shape, np.uint8))
    scale = 255.0 / (high - low)
    table = None
    if few:
        table = np.rint((np.arange(lowest, int(array.max()) + 1) - low) * scale).clip(0, 255).astype(np.uint8)
    gray = np.empty(array.shape, np.uint8)
    for row in range(0, len(array), LINES):
        part = array[row : row + LINES]
        if table is not None:
            gray[row : row + LINES] = table[part.astype(np.int32) - lowest]
        else:
            gray[row : row + LINES] = np.rint((part.astype(np.float64) - low) * scale).clip(0, 255)
    return Image.fromarray(gray)
