"""Large pictures made smaller by a power of two, by averages of whole blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Size = tuple[int, int]  # width and height, in pixels


def reduction(size: Size, at_least: Size | None) -> int:
    """By how much a picture can be reduced, neither side falling below ``at_least``.

    A power of two, as libjpeg has it: so a film is the same to a network as JPEG, PNG or DICOM.
    """
    factor = min(side // least for side, least in zip(size, at_least)) if at_least else 1
    return 1 << (max(1, factor).bit_length() - 1)


def reduce(stored: Values, at_least: Size | None) -> Values:
    """Averages whole blocks of pixels, so that neither side falls below ``at_least``; the number type stays."""
    height, width = stored.shape
    return averages(stored, reduction((width, height), at_least))


def averages(stored: Values, factor: int) -> Values:
    """Of blocks of ``factor`` by ``factor``, whole numbers rounded down; what is left over at the right and below is
    left out.
    """
    if factor == 1:
        return stored
    rows, columns = (side // factor for side in stored.shape)
    blocks = stored[: rows * factor, : columns * factor].reshape(rows, factor, columns * factor)
    whole = stored.dtype.kind in "iu"
    wide: Any = (np.int64 if stored.dtype.itemsize > 2 else np.int32) if whole else np.float64
    # Line upon line, then column upon column: five times as fast as sums along an axis.
    lines = np.add(blocks[:, 0], blocks[:, 1], dtype=wide)
    for i in range(2, factor):
        lines += blocks[:, i]
    sums = lines[:, 0::factor] + lines[:, 1::factor]
    for i in range(2, factor):
        sums += lines[:, i::factor]
    return np.asarray(sums // (factor * factor) if whole else sums / (factor * factor)).astype(stored.dtype)
