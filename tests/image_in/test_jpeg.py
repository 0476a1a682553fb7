"""Compressed frames of DICOM files: the size they claim, and a decoder."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from covidnet_lite.image_in import jpeg


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def start_of_frame(marker: int, width: int, height: int, components: int) -> bytes:
    return segment(marker, struct.pack(">BHHB", 12, height, width, components) + bytes(3 * components))


def codestream(right: int, bottom: int, left: int, top: int, components: int) -> bytes:
    sizes = struct.pack(">H8IH", 0, right, bottom, left, top, right, bottom, 0, 0, components)
    return b"\xff\x4f" + segment(0x51, sizes)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xF7])
def test_the_size_of_jpeg_and_jpeg_ls_stands_in_the_start_of_frame(marker: int) -> None:
    comment = segment(0xFE, b"\xff\xc0 a decoy: " + start_of_frame(0xC0, 1, 1, 1))
    frame = b"\xff\xd8" + comment + b"\xff" + segment(0xC4, bytes(20)) + start_of_frame(marker, 300, 200, 3)
    assert jpeg.claimed_size(frame) == (300, 200, 3)


def test_the_size_of_jpeg_2000_is_that_of_its_image_area() -> None:
    assert jpeg.claimed_size(codestream(310, 220, 10, 20, 1)) == (300, 200, 1)


def test_the_codestream_is_found_within_a_jp2_file() -> None:
    decoy = box(b"xml ", codestream(1, 1, 0, 0, 1))
    assert jpeg.claimed_size(JP2 + decoy + box(b"jp2c", codestream(300, 200, 0, 0, 3))) == (300, 200, 3)
    long = struct.pack(">I4sQ", 1, b"jp2c", 0) + codestream(300, 200, 0, 0, 3)
    assert jpeg.claimed_size(JP2 + long) == (300, 200, 3)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0\0\x0b",
        b"\xff\xd8nothing of the kind",
        b"GIF89a",
        b"\xff\x4f\xff\x51\0\x29",
        JP2,
        JP2 + box(b"xml ", b"") + struct.pack(">I4s", 0, b"xml "),
    ],
)
def test_a_frame_without_a_size_is_an_error_and_ends(frame: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        jpeg.claimed_size(frame)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_sign_is_the_highest_of_the_stored_bits(bits: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    kind = 1 if bits == 8 else 2
    values = np.linspace(-(1 << bits - 1), (1 << bits - 1) - 1, 6400).astype(f"i{kind}").reshape(80, 80)
    unsigned = values.view(f"u{kind}") & (1 << bits) - 1
    frame = imagecodecs.jpeg8_encode(unsigned, lossless=True, bitspersample=bits)
    np.testing.assert_array_equal(jpeg.decode(frame, bits, signed=True), values)
    np.testing.assert_array_equal(jpeg.decode(frame, bits, signed=False), unsigned)
