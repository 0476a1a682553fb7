"""The decoded length of a DICOM frame's run-length coded segments (PS3.5, annex G), checked before decoding."""

from __future__ import annotations

import struct
from itertools import pairwise

GROWTH = 64  # two bytes become 128 at most


def check(frame: bytes, pixels: int) -> None:
    """Rejects a frame in which a decoded segment is much longer than one byte a pixel.

    Raises:
        ValueError: a segment is too long.
        struct.error: the frame ends within its head.
    """
    count, *starts = struct.unpack_from("<16I", frame)
    starts = [*starts[: min(count, 15)], len(frame)]
    for start, end in pairwise(starts):
        if GROWTH * (end - start) > pixels and _length(frame[start:end], 2 * pixels) > 2 * pixels:
            raise ValueError("a segment of its image is longer than the image")


def _length(segment: bytes, limit: int) -> int:
    """Bytes of a decoded segment; stops counting beyond ``limit``."""
    at = total = 0
    while at < len(segment) and total <= limit:
        step = segment[at]
        if step < 128:
            total += step + 1
            at += step + 2
        else:
            total += 257 - step if step > 128 else 0
            at += 2 if step > 128 else 1
    return total
