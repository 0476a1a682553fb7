"""Bombs of every format that is read: small files that would take much memory or time are refused before a decoder."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dicoms import compressed, make_dicom
from PIL import Image

from covidnet_lite import radiograph, resource_limits
from covidnet_lite.errors import InputError
from covidnet_lite.image_in import costs, jpeg, jpeg2000, rle

SIDE = 9900  # within resource_limits.PIXELS
SMALL = Image.fromarray(np.arange(96 * 96, dtype=np.uint16).reshape(96, 96).astype(np.uint8))


@pytest.fixture(autouse=True)
def budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(resource_limits.MEMORY, "256")


def written(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(kind: int, bits: int, channels: int) -> bytes:
    """One that is all black, of the largest size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    squeeze = zlib.compressobj(9)
    row = bytes(1 + SIDE * channels * bits // 8)
    data = b"".join(squeeze.compress(row) for _ in range(SIDE)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", SIDE, SIDE, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp_rle() -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, 4, 0, 0, 256, 0) + bytes(1024)
    return struct.pack("<2sIII", b"BM", 18 + len(head), 0, 14 + len(head)) + head + b"\0\0\0\1"


def resized(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


def tiff_tile() -> bytes:
    """A small picture in one tile of two gigabytes."""
    entries = [
        (256, 3, 96), (257, 3, 96), (258, 3, 8), (259, 3, 5), (262, 3, 1), (277, 3, 1),
        (322, 4, 40000), (323, 4, 50000), (324, 4, 200), (325, 4, 8),
    ]  # fmt: skip
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in entries)
    return (struct.pack("<2sHI", b"II", 42, 8) + ifd + bytes(4)).ljust(200, b"\0") + bytes(8)


def progressive(scans: int) -> bytes:
    """A JPEG that is gone over so many times, at a few bytes each."""

    def part(marker: int, data: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data

    head = (
        b"\xff\xd8"
        + part(0xDB, b"\0" + bytes([16]) * 64)
        + part(0xC2, struct.pack(">BHHB", 8, SIDE, SIDE, 1) + b"\1\x11\0")
    )
    tables = part(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    return head + tables + part(0xDA, b"\1\1\0\0\0\0") * scans + b"\xff\xd9"


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG RGB": lambda: png(2, 8, 3),
    "PNG 16 bits": lambda: png(0, 16, 1),
    "WebP": lambda: (
        b"RIFF\x26\0\0\0WEBPVP8L\x19\0\0\0\x2f" + struct.pack("<I", SIDE - 1 | (SIDE - 1) << 14) + bytes(21)
    ),
    "BMP of run lengths": bmp_rle,
    "TIFF of one tile": tiff_tile,
    "progressive JPEG": lambda: progressive(300),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_once(bomb: Callable[[], bytes]) -> None:
    data, start = bomb(), time.process_time()
    with pytest.raises(InputError, match="would take|takes too long|million pixels"):
        radiograph.read(data, (200, 200))
    assert time.process_time() - start < 1


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_an_ordinary_picture_of_each_format_is_read(form: str) -> None:
    assert radiograph.read(written(SMALL, form)).width == 96


def test_a_progressive_jpeg_as_programs_write_it_is_read() -> None:
    data = written(SMALL.resize((3000, 3000)).convert("RGB"), "JPEG", progressive=True)
    passes, components = jpeg.scans(data)
    assert (5 < passes < 16, components) == (True, 3)
    assert radiograph.read(data, (200, 200)).width == 3000


def test_scans_are_counted_only_where_they_cost_something() -> None:
    assert jpeg.scans(written(SMALL, "JPEG") + b"\xff\xda" * 99) == (1, 1)
    assert jpeg.scans(progressive(7)) == (7, 1)
    assert jpeg.scans(resized(progressive(7), b"\xff\xc2", b"\xff\xca"))[0] == 56
    assert jpeg.scans(b"\xff\xd8\xff") == (1, 1)


class Counted(io.BytesIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize("several", [False, True])
def test_of_a_jpeg_in_one_scan_only_the_beginning_is_read(several: bool) -> None:
    noise = Image.effect_noise((600, 600), 90)
    file = Counted(written(noise, "JPEG", progressive=several))
    image = Image.open(file)
    length, file.count = len(file.getvalue()), 0
    costs.check_image(image, image.size, file, "noise.jpg")
    assert file.count - (length if several else 0) == costs.HEAD < length


@pytest.mark.parametrize("cut", [0, 1, 20, 100, 10**6])
@pytest.mark.parametrize("data", [written(SMALL, "JPEG"), progressive(3)], ids=["one scan", "three scans"])
def test_the_beginning_says_that_a_jpeg_is_in_one_scan_only_where_it_is(data: bytes, cut: int) -> None:
    assert jpeg.is_in_one_scan(data[:cut]) == (cut == 10**6 and jpeg.scans(data)[0] == 1)


# DICOM

pydicom = pytest.importorskip("pydicom")
BLACK = np.zeros((96, 96), np.uint8)


def large(data: bytes, side: int = SIDE) -> bytes:
    """With so many rows and columns in its header."""
    for tag in (b"\x28\0\x10\0US\2\0", b"\x28\0\x11\0US\2\0"):
        at = data.index(tag) + 8
        data = data[:at] + struct.pack("<H", side) + data[at + 2 :]
    return data


def test_frames_that_the_header_does_not_tell_of_are_counted_and_not_decoded() -> None:
    codecs = pytest.importorskip("imagecodecs")
    frame = bytes(codecs.jpegls_encode(BLACK))
    data = pydicom.dcmread(io.BytesIO(compressed(frame, "1.2.840.10008.1.2.4.80", BLACK)))
    data.PixelData = pydicom.encaps.encapsulate([frame] * 3)
    buffer = io.BytesIO()
    data.save_as(buffer)
    with pytest.raises(InputError, match="holds 3 frames"):
        radiograph.read(buffer.getvalue())


def test_one_frame_in_several_fragments_is_one() -> None:
    codecs = pytest.importorskip("imagecodecs")
    frame = bytes(codecs.jpegls_encode(SMALL))
    data = pydicom.dcmread(io.BytesIO(compressed(frame, "1.2.840.10008.1.2.4.80", np.asarray(SMALL))))
    data.PixelData = pydicom.encaps.encapsulate([frame], fragments_per_frame=3)
    buffer = io.BytesIO()
    data.save_as(buffer)
    assert radiograph.read(buffer.getvalue()).width == 96


def test_a_segment_of_run_lengths_longer_than_its_picture_is_refused() -> None:
    segment = b"\x81\0" * 100_000  # 12.8 million bytes
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + segment
    with pytest.raises(InputError, match="longer than the image"):
        radiograph.read(compressed(frame, "1.2.840.10008.1.2.5", BLACK))
    rle.check(frame, 128 * 100_000)


def test_a_jpeg_2000_of_single_pixels_is_refused() -> None:
    codecs = pytest.importorskip("imagecodecs")
    frame = bytes(codecs.jpeg2k_encode(BLACK, codecformat="j2k"))
    assert jpeg2000.overhead(frame) < 1_000_000
    tiles = frame[:24] + struct.pack(">II", 1, 1) + frame[32:]
    huge = tiles[:8] + struct.pack(">II", SIDE, SIDE) + tiles[16:]
    assert jpeg2000.overhead(huge) > 10**11
    with pytest.raises(InputError, match="would take"):
        radiograph.read(large(compressed(huge, "1.2.840.10008.1.2.4.90", BLACK)))
    assert jpeg2000.overhead(b"\xff\x4f\xff\x51") == 0


def test_a_header_of_very_many_elements_is_refused() -> None:
    data = make_dicom(BLACK)
    at = data.index(b"\x28\0\x02\0US")
    many = b"".join(struct.pack("<HH2sH", 0x19, i % 65536, b"LO", 0) for i in range(120_000))
    with pytest.raises(InputError, match="more parts"):
        radiograph.read(data[:at] + many + data[at:])


def test_a_sequence_of_very_many_items_is_refused() -> None:
    data = make_dicom(BLACK)
    at = data.index(b"\x28\0\x02\0US")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 200_000
    sequence = struct.pack("<HH2sHI", 0x08, 0x2218, b"SQ", 0, len(items)) + items
    with pytest.raises(InputError, match="more parts|sequence .* MB"):
        radiograph.read(data[:at] + sequence + data[at:])


# Files of many parts, and tags that all point at one value.


def test_a_png_of_very_many_empty_chunks_is_refused() -> None:
    whole = written(SMALL, "PNG")
    empty = struct.pack(">I", 0) + b"prIv" + struct.pack(">I", zlib.crc32(b"prIv"))
    with pytest.raises(InputError):
        radiograph.read(whole[:33] + empty * 700_000 + whole[33:])


def test_exif_whose_entries_all_point_at_the_whole_of_it_is_left_out() -> None:
    count = 2000
    entries = b"".join(struct.pack("<HHII", tag, 1, 24_000, 8) for tag in range(1000, 1000 + count))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)
    image = Image.open(io.BytesIO(written(SMALL, "PNG", exif=exif)))
    costs.drop_oversized_exif(image)
    assert "exif" not in image.info


def test_ordinary_exif_stays() -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    image = Image.open(io.BytesIO(written(SMALL, "JPEG", exif=exif)))
    costs.drop_oversized_exif(image)
    assert "exif" in image.info


# The budget.


def test_more_memory_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(Image.new("L", (4500, 4500)), "WEBP", lossless=True, method=0)  # 16 bytes a pixel
    with pytest.raises(InputError, match=resource_limits.MEMORY):
        radiograph.read(data, (200, 200))
    monkeypatch.setenv(resource_limits.MEMORY, "400")
    assert radiograph.read(data, (200, 200)).width == 4500
