"""More than 8 bits -> 256 gray levels, so that a label or a broken pixel does not decide how the film is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..codes import Code
from ..errors import InputError

Values = npt.NDArray[np.float64]

LINES = 32  # stretched together: few enough for a processor's cache
SAMPLE = 2**19  # pixels, of a larger picture, by which its darkest and brightest value are found
# The darkest or the brightest value alone is a frame, a shutter or a label where so many pixels have it, it is so far
# (in shares of the span of nearly all others) from nearly all others, and so many pixels are left.
FRAME, APART, LEFT = 0.005, 0.02, 0.2
# Values farther from the middle are no film: beyond the 5th and 95th percentile by more than their distance (labels),
# and then beyond the 0.5th and 99.5th by a tenth of that (broken pixels). Where there are none, nothing is cut off.
FENCES = ((0.05, 1.0), (0.005, 0.1))


def limits(values: npt.NDArray[Any], counts: npt.NDArray[Any]) -> tuple[float, float]:
    """The darkest and the brightest value of the film itself.

    Constant black or white (a frame, a shutter, a label) is left aside, and so are outliers, by fences as Tukey's box
    plot has them (Exploratory Data Analysis, 1977), only from percentiles farther out.

    Args:
        values: ``(n,)`` of any number type, rising.
        counts: ``(n,)``, how many pixels have each.
    """
    values, counts = values[counts > 0].astype(np.float64), counts[counts > 0]
    film = ~_frames(values, counts)
    if counts[film].sum() >= LEFT * counts.sum() and film.sum() > 1:
        values, counts = values[film], counts[film]
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
    """Which of the values, those at the ends, are no film but constant black or white."""
    found = np.zeros(len(values), bool)
    if len(values) > 3:
        share = counts / counts.sum()
        low, high = _percentiles(values[1:-1], counts[1:-1], FRAME)
        found[0] = share[0] >= FRAME and low - values[0] > APART * (high - low)
        found[-1] = share[-1] >= FRAME and values[-1] - high > APART * (high - low)
    return found


def sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of a large picture evenly spaced pixels, of a small one all."""
    step = int(np.ceil(np.sqrt(max(1.0, array.size / SAMPLE))))
    return array[::step, ::step]


def stretch(array: npt.NDArray[Any], name: str) -> Image.Image:
    """``(height, width[, 3])`` of any number type -> 8 bits, the film's darkest to 0 and its brightest to 255.

    Raises:
        InputError: the values are not finite.
    """
    if array.dtype.kind == "f" and not np.isfinite(array.min() + array.max()):
        raise InputError(f"{name}: holds NaN or infinite values; replace them first", Code.NOT_FINITE)
    # Few levels: counting and a table are faster than sorting and arithmetic.
    few = array.dtype.kind in "uib" and array.dtype.itemsize <= 2
    seen = sample(array)
    if few:
        lowest = int(array.min())
        counts = np.bincount(seen.ravel().astype(np.int32) - lowest)
        levels = np.arange(lowest, lowest + len(counts))
        low, high = limits(levels, counts)
    else:
        low, high = limits(*np.unique(seen, return_counts=True))
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
