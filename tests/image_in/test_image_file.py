"""Picture files: formats, pages, ways up, and all of their bits."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import radiograph
from covidnet_lite.codes import Code
from covidnet_lite.errors import InputError, MissingExtraError
from covidnet_lite.image_in import metadata

Y, X = np.mgrid[0:120, 0:150]
GRAY = (200 - 140 * np.exp(-(((X - 60) / 40.0) ** 2) - ((Y - 50) / 30.0) ** 2)).astype(np.uint8)
IMAGE = Image.fromarray(GRAY)
DEEP = GRAY.astype(np.uint16) * 11 + 900  # as a detector of 12 bits gives them


def encoded(image: Any, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def pixels(source: Any) -> Any:
    return np.asarray(radiograph.read(source).image, int)


def stretched(array: Any) -> Any:
    array = np.asarray(array, float)
    return (array - array.min()) / np.ptp(array) * 255


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(colour: int, samples: Any, extra: bytes = b"", filter_type: int = 0) -> bytes:
    """A 16-bit PNG of ``(h, w, channels)``; Pillow writes none in colour."""
    rows = samples.astype(">u2").reshape(len(samples), -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    if filter_type == 2:  # each line less the one above
        lines = np.frombuffer(b"".join(row.tobytes() for row in rows), np.uint8).reshape(len(rows), -1)
        less = lines - np.vstack([np.zeros_like(lines[:1]), lines[:-1]])
        raw = b"".join(b"\2" + line.tobytes() for line in less)
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, colour, 0, 0, 0)
    return metadata.PNG + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def tiff(array: Any, **options: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


# All bits.


@pytest.mark.parametrize("filter_type", [0, 2])
@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_a_png_of_16_bits_and_several_channels_keeps_them(colour: int, channels: int, filter_type: int) -> None:
    samples = np.repeat(DEEP[..., None], channels, axis=2)
    if channels in (2, 4):
        samples[..., -1] = 65535
    assert np.abs(pixels(png(colour, samples, filter_type=filter_type)) - stretched(DEEP)).max() <= 1


def test_colours_of_16_bits_are_weighted() -> None:
    samples = np.stack([DEEP, DEEP // 2, DEEP // 3], axis=-1)
    expected = stretched(samples @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(pixels(png(2, samples)) - expected).max() <= 1
    assert np.abs(pixels(tiff(samples, photometric="rgb")) - expected).max() <= 1


def test_a_deep_png_is_turned_upright() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    exif = tags.tobytes().removeprefix(b"Exif\0\0")
    upright = np.rot90(stretched(DEEP), -1)
    assert np.abs(pixels(png(2, np.repeat(DEEP[..., None], 3, axis=2), chunk(b"eXIf", exif))) - upright).max() <= 1
    assert np.abs(pixels(png(0, DEEP[..., None], chunk(b"eXIf", exif))) - upright).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_tiff_of_16_bits_and_several_channels_keeps_them(order: str, options: Any, channels: int) -> None:
    samples = np.repeat(DEEP[..., None], channels, axis=2)
    data = tiff(samples, photometric="rgb", byteorder=order, **options)
    assert np.abs(pixels(data) - stretched(DEEP)).max() <= 1


def test_a_deep_tiff_stored_by_plane_is_read_or_refused() -> None:
    data = tiff(np.repeat(DEEP[None], 3, axis=0), photometric="rgb", planarconfig="separate")
    try:
        assert np.abs(pixels(data) - stretched(DEEP)).max() <= 1
    except InputError as error:
        assert "save it as gray" in str(error) or "not an image format" in str(error)  # noqa: PT017


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i4", "f4"])
def test_white_is_zero_is_no_negative(kind: str, options: Any, order: str) -> None:
    top = {"u1": 255, "u2": 65535, "u4": 2**31, "i4": 2**30, "f4": 1.0}[kind]
    white = (top - GRAY.astype(float) / 256 * top).astype(kind)
    try:
        result = pixels(tiff(white, photometric="miniswhite", byteorder=order, **options))
    except InputError as error:
        assert kind == "u4" and "not an image format" in str(error)  # noqa: PT017, PT018
        return
    expected = GRAY if kind == "u1" else stretched(GRAY)
    assert np.abs(result - expected).max() <= 1


def test_unsigned_tiff_of_32_bits_does_not_wrap_round() -> None:
    assert np.abs(pixels(tiff(GRAY.astype(np.uint32) << 24, photometric="minisblack")) - stretched(GRAY)).max() <= 1


def test_signed_tiff_of_8_bits_is_in_order() -> None:
    signed = (GRAY.astype(int) - 128).astype(np.int8)
    assert np.abs(pixels(tiff(signed, photometric="minisblack")) - stretched(GRAY)).max() <= 1


# Formats.


def test_jpeg_2000_is_read() -> None:
    assert np.abs(pixels(encoded(IMAGE, "JPEG2000")) - GRAY).max() == 0
    assert np.abs(pixels(encoded(IMAGE.convert("RGB"), "JPEG2000")) - GRAY).max() == 0
    assert np.abs(pixels(encoded(DEEP, "JPEG2000")) - stretched(DEEP)).max() <= 1


def test_deep_colours_in_jpeg_2000_are_refused() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = bytes(imagecodecs.jpeg2k_encode(np.repeat(DEEP[..., None], 3, axis=2), level=0))
    with pytest.raises(InputError, match="save it as gray"):
        radiograph.read(data)


def test_avif_is_read() -> None:
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert np.abs(pixels(encoded(IMAGE, "AVIF", quality=95)) - GRAY).max() <= 6


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "zstd"])
def test_compressed_tiff_is_read(compression: str) -> None:
    image = IMAGE.point(lambda v: 255 * (v > 150)).convert("1") if compression == "group4" else IMAGE
    try:
        data = encoded(image, "TIFF", compression=compression)
    except (OSError, ValueError, KeyError):
        pytest.skip(f"this Pillow writes no {compression}")
    expected = np.asarray(image.convert("L"), int)
    assert np.abs(pixels(data) - expected).max() <= (8 if compression == "jpeg" else 0)


def heic(image: Any, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    try:
        pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    except RuntimeError:
        pytest.skip("this libheif writes no HEIC")
    return buffer.getvalue()


def test_heic_is_read() -> None:
    image_read = radiograph.read(heic(IMAGE))
    assert (image_read.width, image_read.height) == (150, 120)
    assert np.abs(np.asarray(image_read.image, int) - GRAY).max() <= 6
    assert np.abs(pixels(heic(IMAGE.convert("RGB"))) - GRAY).max() <= 8


def test_a_damaged_heic_is_told() -> None:
    data = heic(IMAGE)
    for broken in (data[:200], data[: len(data) // 2], data[:40] + b"\xff" * 60 + data[100:]):
        with pytest.raises(InputError, match="damaged or cut short|not an image format"):
            radiograph.read(broken)


def test_without_pillow_heif_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'covidnet-lite\[heic\]'"):
        radiograph.read(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))


# Pages.


def test_of_a_phone_s_picture_with_a_preview_the_picture_is_read() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    data = encoded(IMAGE, "MPO", save_all=True, append_images=[IMAGE.resize((60, 50))], quality=95, exif=tags)
    image_read = radiograph.read(data, at_least=(64, 64))
    assert image_read.image.size == (120, 150)
    assert np.abs(np.asarray(image_read.image, int) - np.rot90(GRAY, -1)).max() <= 4


@pytest.mark.parametrize("first", [False, True])
def test_a_thumbnail_is_no_second_picture(first: bool) -> None:
    small = IMAGE.resize((75, 60))
    pages = [small, IMAGE] if first else [IMAGE, small]
    np.testing.assert_array_equal(pixels(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])), GRAY)


def test_a_page_that_says_it_is_a_thumbnail_is_believed() -> None:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(GRAY)
        file.write(255 - GRAY, subfiletype=1)
    np.testing.assert_array_equal(pixels(buffer.getvalue()), GRAY)


def test_two_pictures_of_a_size_are_two() -> None:
    with pytest.raises(InputError, match="holds 2 images; save the one to be read"):
        radiograph.read(encoded(IMAGE, "TIFF", save_all=True, append_images=[IMAGE.resize((100, 100))]))


# Metadata.

PNG = encoded(IMAGE, "PNG")
JPEG = encoded(IMAGE, "JPEG", quality=95)


def with_chunk(part: bytes) -> bytes:
    return PNG[:33] + part + PNG[33:]


def with_segment(marker: int, body: bytes) -> bytes:
    return JPEG[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + JPEG[2:]


BROKEN = {
    "eXIf without a head": with_chunk(chunk(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03")),
    "raw profile": with_chunk(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  12\nzz11"))),
    "endless XMP": with_chunk(chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(b"a" * 2_000_000))),
    "large ICC": with_chunk(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_100_000)))),
    "wrong checksum": with_chunk(chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0"),
    "broken ICC": with_chunk(chunk(b"iCCP", b"x\0\0not deflated")),
    "broken iTXt": with_chunk(chunk(b"iTXt", b"x\0\1\0\0\0not deflated")),
    "text behind": PNG[:-12] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 2_000_000)) + PNG[-12:],
    "orientation as text": with_segment(
        0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0"
    ),
    "orientation 77": with_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x4d\0\0\0\0\0\0\0"),
    "EXIF of noise": with_segment(0xE1, b"Exif\0\0" + bytes(range(256))),
    "Photoshop of noise": with_segment(0xED, b"Photoshop 3.0\0" + b"8BIM" + bytes(range(200))),
    "MPF of noise": with_segment(0xE2, b"MPF\0" + bytes(range(200))),
    "ICC of noise": with_segment(0xE2, b"ICC_PROFILE\0\7\3" + bytes(range(200))),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_metadata_does_no_harm_to_sound_pixels(data: bytes) -> None:
    assert np.abs(pixels(data) - GRAY).max() <= 3


def test_that_metadata_was_left_aside_is_noted() -> None:
    assert radiograph.read(BROKEN["endless XMP"]).notes == (radiograph.METADATA,)
    assert radiograph.read(PNG).notes == ()


def test_without_metadata_a_picture_still_knows_how_it_is_turned() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    data = encoded(IMAGE, "PNG", exif=tags)
    broken = data[:33] + chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0" + data[33:]
    np.testing.assert_array_equal(pixels(broken), np.rot90(GRAY, -1))


@pytest.mark.parametrize(
    "data", [PNG[: len(PNG) // 2], JPEG[:1500], b"\x89PNG\r\n\x1a\n" + b"\xff" * 90, b"\xff\xd8\xff\xe1"]
)
def test_damaged_pixels_are_still_damaged(data: bytes) -> None:
    with pytest.raises(InputError, match="damaged or cut short|not an image format"):
        radiograph.read(data)


def test_nothing_to_leave_out_is_told() -> None:
    assert metadata.without(JPEG) is None
    assert metadata.without(b"BM" + bytes(99)) is None
    assert metadata.without(JPEG[:20]) is None


def test_a_palette_that_is_missing_is_told() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 96, 96, 8, 3, 0, 0, 0)  # palette colours, and no palette
    pixels = zlib.compress(bytes(97 * 96))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"tRNS", b"\xff\xff\xff\0")
    data = start + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match="converted to gray") as failed:
        radiograph.read(data)
    assert failed.value.code is Code.UNKNOWN_PIXELS
