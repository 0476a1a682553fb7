"""How long the run-length coded segments of a DICOM frame become (PS3.5, annex G), before they are made so long."""

from __future__ import annotations

import struct
from itertools import pairwise

GROWTH = 64  # two bytes become 128 at most


def check(frame: bytes, pixels: int) -> None:
    """Refuses a frame of which a segment becomes longer than one byte a pixel, to be padded by a byte or so.

    Raises:
        ValueError: it does.
        struct.error: it ends within its head.
    """
    count, *starts = struct.unpack_from("<16I", frame)
    starts = [*starts[: min(count, 15)], len(frame)]
    for start, end in pairwise(starts):
        if GROWTH * (end - start) > pixels and _length(frame[start:end], 2 * pixels) > 2 * pixels:
            raise ValueError("a segment of its picture is longer than the picture")


def _length(segment: bytes, most: int) -> int:
    """Bytes of a decoded segment; ends where there are more than ``most``."""
    at = total = 0
    while at < len(segment) and total <= most:
        step = segment[at]
        if step < 128:
            total += step + 1
            at += step + 2
        else:
            total += 257 - step if step > 128 else 0
            at += 2 if step > 128 else 1
    return total
