"""Compressed frames of DICOM files: the size they claim, and a decoder for lossless and 12-bit JPEG.

A decoder allocates memory for the size that the frame claims, not for the one in the header, so a few changed bytes
could make it take all memory. Hence the check before decoding.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

# Transfer syntaxes: extended (12 bits), lossless of any predictor, lossless of the first.
SYNTAXES = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_2000 = b"\xff\x4f\xff\x51"  # starts its codestream
_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # F7: JPEG-LS
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_START_OF_SCAN = 0xDA
HEADS = (b"\xff\xd8\xff", JPEG_2000, b"\0\0\0\x0c")  # start a frame of JPEG, JPEG-LS or JPEG 2000
MAX_WORK = 1_600_000_000  # scans times pixels: a second or so, and a hundred scans of 16 million pixels


def claimed_size(frame: bytes) -> tuple[int, int, int]:
    """``(width, height, components)`` in the head of a JPEG, JPEG-LS or JPEG 2000 frame.

    Raises:
        ValueError: the frame has no such head.
        struct.error: the frame ends within its head.
    """
    start = codestream(frame)
    if frame.startswith(JPEG_2000, start):
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        (components,) = struct.unpack_from(">H", frame, start + 40)
        return right - left, bottom - top, components
    height, width, components = struct.unpack_from(">HHB", frame, _start_of_frame(frame) + 5)
    return width, height, components


def precision(frame: bytes) -> int:
    """The bits of a sample in the head of a frame; raises as :func:`claimed_size` does."""
    start = codestream(frame)
    if frame.startswith(JPEG_2000, start):
        return (frame[start + 42] & 0x7F) + 1
    return frame[_start_of_frame(frame) + 4]


def _start_of_frame(frame: bytes) -> int:
    """The position of the start-of-frame marker of a JPEG or JPEG-LS frame."""
    if not frame.startswith(b"\xff\xd8"):
        raise ValueError("its image is neither JPEG, JPEG-LS nor JPEG 2000")
    at = 2
    while True:
        mark, marker, length = struct.unpack_from(">BBH", frame, at)
        if mark != 0xFF:
            raise ValueError("its image has no start of frame")
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _START_OF_FRAME:
            return at
        else:
            at += 2 + length


def scans(data: bytes) -> tuple[int, int]:
    """``(passes, components)`` of a JPEG: how often a decoder goes over it, and over how many components.

    An image in one scan is decoded as it is read. One in several scans, progressive or component by component, is kept
    as coefficients until the last; there may be thousands of scans, of a few bytes each. An image with arithmetic
    coding counts eightfold: its scans need no bytes at all.
    """
    kind, components, alone = _first_scan(data)
    if alone is None:
        return 1, components
    # After the head, these two bytes can only be the marker: 0xFF within a scan is followed by 0.
    return (1 if alone else data.count(b"\xff\xda")) * (8 if _is_arithmetic(kind) else 1), components


def is_in_one_scan(head: bytes) -> bool:
    """Whether the beginning of a JPEG is enough to know that :func:`scans` of all of it counts one."""
    kind, _, alone = _first_scan(head)
    return bool(alone) and not _is_arithmetic(kind)


def _is_arithmetic(kind: int) -> bool:
    return 0xC8 < kind < 0xD0


def _first_scan(data: bytes) -> tuple[int, int, bool | None]:
    """The start of frame, the number of components, and whether the first scan is the only one.

    The last is ``None`` where the data end before that scan.
    """
    at = 2
    kind, components = 0, 1
    try:
        while True:
            mark, marker = data[at], data[at + 1]
            if mark != 0xFF or marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
                at += 1 if mark != 0xFF or marker == 0xFF else 2
                continue
            (length,) = struct.unpack_from(">H", data, at + 2)
            if marker in _START_OF_FRAME:
                kind, components = marker, data[at + 9]
            elif marker == _START_OF_SCAN:
                return kind, components, data[at + 4] == components and kind not in _PROGRESSIVE
            at += 2 + length
    except (IndexError, struct.error):
        return kind, components, None


def codestream(frame: bytes) -> int:
    """The position at which a JPEG 2000 codestream begins: 0, or within the boxes of a JP2 file."""
    if not frame.startswith(b"\0\0\0\x0cjP  "):
        return 0
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, at)
        if kind == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            raise ValueError("its image has no codestream")
        at += length


def decode(frame: bytes, bits: int, signed: bool) -> npt.NDArray[Any]:
    """A gray frame -> ``(height, width)`` of 8- or 16-bit integers, by libjpeg-turbo.

    Args:
        frame: as it is stored.
        bits: of a stored value, 8 to 16.
        signed: whether the values are two's complement.

    Raises:
        ImportError: imagecodecs is not installed.
        RuntimeError, ValueError: the frame is damaged.
    """
    import imagecodecs

    samples = np.asarray(imagecodecs.jpeg8_decode(frame))
    if not signed:
        return samples
    # The sign bit is the highest of the stored bits: shift it to the top and back.
    shift = samples.dtype.itemsize * 8 - bits
    return (samples << shift).view(f"i{samples.dtype.itemsize}") >> shift
