"""Anything a person has -> one 8-bit gray radiograph."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.errors import CovidNetLiteError, InputError
from covidnet_lite.radiograph import name_of, read


def gray(height=96, width=128):
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 255 // (height - 1) + columns * 255 // (width - 1)) // 2).astype(np.uint8)


def encode(image, form="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def pixels(source, **options):
    return np.asarray(read(source, **options).image)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("turn", [1, 6])
def test_an_image_for_a_screen_is_that_of_a_reading_for_a_screen(form, turn):
    data = encode(gray(400, 700), form, exif=exif(turn))
    both = read(data, (50, 50), display=(200, 200), exact=True)
    np.testing.assert_array_equal(np.asarray(both.image), pixels(data, at_least=(50, 50), exact=True))
    np.testing.assert_array_equal(np.asarray(both.display), pixels(data, at_least=(200, 200), exact=True))
    assert (both.width, both.height) == ((400, 700) if turn == 6 else (700, 400))
    assert read(data, (50, 50)).display is None


def test_of_a_jpeg_reduced_by_its_decoder_there_is_no_larger_image():
    data = encode(gray(400, 700), "JPEG")
    assert read(data, (50, 50), display=(200, 200)).display is None
    assert read(data, (300, 300), display=(390, 390)).display.size == (700, 400)  # not reduced at all


def test_an_image_for_a_screen_is_gray():
    coloured = encode(Image.fromarray(np.stack([gray(), gray() // 2, gray()], axis=-1)))
    assert read(coloured, display=(50, 50)).display.mode == "L"
    assert read(coloured, display=(50, 50), colour=True).display is None


def stretched(array):
    low, high = float(array.min()), float(array.max())
    return np.rint((array.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_that_claims(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SOURCES = {
    "str": str,
    "Path": Path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "image": Image.open,
    "array": lambda path: np.asarray(Image.open(path)),
}


@pytest.mark.parametrize("give", SOURCES.values(), ids=SOURCES)
def test_every_kind_of_source_gives_the_same_pixels(give, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encode(gray()))
    radiograph = read(give(path))
    assert radiograph.image.mode == "L"
    assert (radiograph.width, radiograph.height) == (128, 96)
    np.testing.assert_array_equal(np.asarray(radiograph.image), gray())


def test_an_open_binary_file_is_read_and_left_open(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encode(gray()))
    with path.open("rb") as file:
        radiograph = read(file)
        assert not file.closed
    np.testing.assert_array_equal(np.asarray(radiograph.image), gray())
    assert radiograph.name == str(path)


@pytest.mark.parametrize(
    ("form", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
    ],
)
def test_every_format_gives_the_picture_that_was_saved(form, options, tolerance):
    assert np.abs(pixels(encode(gray(), form, **options)).astype(int) - gray()).max() <= tolerance


def test_the_format_is_told_by_the_bytes_not_by_the_suffix(tmp_path):
    path = tmp_path / "scan.jpg"
    path.write_bytes(encode(gray(), "PNG"))
    np.testing.assert_array_equal(pixels(path), gray())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_gray_picture_saved_in_another_mode_keeps_its_pixels(mode):
    image = Image.fromarray(gray()).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(90)  # transparency says nothing about a radiograph
    np.testing.assert_array_equal(pixels(encode(image)), gray())
    np.testing.assert_array_equal(pixels(image), gray())


def test_a_cmyk_jpeg_is_not_inverted():
    image = Image.fromarray(gray()).convert("RGB").convert("CMYK")
    assert np.abs(pixels(encode(image, "JPEG", quality=95)).astype(int) - gray()).max() <= 4


def test_a_picture_in_hue_and_value_is_read():
    np.testing.assert_array_equal(pixels(Image.fromarray(gray()).convert("RGB").convert("HSV")), gray())


def test_a_one_bit_picture_becomes_black_and_white():
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(gray() > 99))), np.where(gray() > 99, 255, 0))


def test_colours_are_weighted_as_the_eye_does():
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    assert pixels(red)[0, 0] == pixels(encode(red))[0, 0] == 76
    fractions = red / 255.0
    fractions[0], fractions[1] = 0, 1  # black and white, so that nothing is stretched
    assert pixels(fractions)[2, 0] == 76


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_stretched_from_darkest_to_brightest(form):
    deep = gray().astype(np.uint16) * 20 + 1000
    np.testing.assert_array_equal(pixels(encode(deep, form)), stretched(deep))


def test_a_float_tiff_is_stretched():
    np.testing.assert_array_equal(pixels(encode(gray() / np.float32(300), "TIFF")), gray())


@pytest.mark.parametrize("kind", ["u2", ">u2", "i2", "u4", "i4", "i8", "f4", "f8"])
def test_arrays_of_wider_numbers_are_stretched(kind):
    array = (gray().astype(np.int64) * 40 - (0 if "u" in kind else 3000)).astype(kind)
    np.testing.assert_array_equal(pixels(array), stretched(array))
    assert (pixels(array).min(), pixels(array).max()) == (0, 255)


def test_an_array_of_bytes_is_taken_as_it_is():
    np.testing.assert_array_equal(pixels(gray() // 4 + 50), gray() // 4 + 50)


def test_a_boolean_array_becomes_black_and_white():
    np.testing.assert_array_equal(pixels(gray() > 99), np.where(gray() > 99, 255, 0))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float64])
def test_arrays_may_have_a_channel_axis(channels, kind):
    array = np.repeat(gray()[..., None], channels, axis=2).astype(kind)
    if channels == 4:
        array[..., 3] = 7
    np.testing.assert_allclose(pixels(array).astype(int), gray(), atol=1)


def test_an_array_need_not_be_contiguous():
    np.testing.assert_array_equal(pixels(gray(192, 256)[::-2, ::2]), gray(192, 256)[::-2, ::2])


ORIENTATIONS = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 6: lambda a: np.rot90(a, -1), 8: np.rot90}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_picture_is_turned_upright_as_its_exif_says(orientation):
    upright = ORIENTATIONS[orientation](gray())
    radiograph = read(encode(gray(), exif=exif(orientation)))
    np.testing.assert_array_equal(np.asarray(radiograph.image), upright)
    assert (radiograph.height, radiograph.width) == upright.shape


@pytest.mark.parametrize("at_least", [(224, 224), (480, 480), (1000, 800), (1001, 10), (1999, 1599), (4000, 3000)])
def test_a_jpeg_is_never_reduced_below_what_is_needed(at_least):
    radiograph = read(encode(gray(1600, 2000), "JPEG"), at_least=at_least)
    assert (radiograph.width, radiograph.height) == (2000, 1600)
    assert radiograph.image.width >= min(at_least[0], 2000)
    assert radiograph.image.height >= min(at_least[1], 1600)


def test_a_reduced_jpeg_is_the_same_picture_smaller():
    image = read(encode(gray(1600, 2000), "JPEG"), at_least=(224, 224)).image
    assert image.size == (500, 400)
    expected = Image.fromarray(gray(1600, 2000)).reduce(4)
    assert np.abs(np.asarray(image, int) - np.asarray(expected, int)).max() <= 3


@pytest.mark.parametrize("source", ["PNG", "array", "image"])
def test_what_is_not_decoded_smaller_is_reduced_by_means_of_whole_blocks(source):
    pixels = gray(1600, 2000)
    inputs = {"PNG": encode(pixels, "PNG"), "array": pixels, "image": Image.fromarray(pixels)}[source]
    radiograph = read(inputs, at_least=(450, 390))
    assert (radiograph.width, radiograph.height) == (2000, 1600)
    np.testing.assert_array_equal(np.asarray(radiograph.image), np.asarray(Image.fromarray(pixels).reduce(4)))
    assert read(inputs, at_least=(1001, 10)).image.size == (2000, 1600)
    assert read(inputs).image.size == (2000, 1600)


def test_a_turned_jpeg_keeps_its_upright_size_when_reduced():
    radiograph = read(encode(gray(1600, 2000), "JPEG", exif=exif(6)), at_least=(224, 224))
    assert (radiograph.width, radiograph.height) == (1600, 2000)
    assert radiograph.image.size == (400, 500)


def test_a_constant_picture_is_read():
    assert read(encode(np.full((64, 64), 7, np.uint8))).image.getextrema() == (7, 7)
    assert read(np.full((64, 64), 700, np.uint16)).image.getextrema() == (0, 0)


def noise(height=96, width=128):
    return np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)


DAMAGED = {
    "empty": (b"", "is empty; copy it again"),
    "truncated JPEG": (encode(noise(), "JPEG")[:5000], "damaged or cut short"),
    "truncated PNG": (encode(noise())[:5000], "damaged or cut short"),
    "truncated TIFF": (encode(gray(), "TIFF")[:5000], "damaged or cut short"),
    "text": (b"patient,age\n1,62\n" * 20, "not an image format this package reads; convert it to PNG"),
    "bomb": (png_that_claims(50_000, 50_000), "more than 100 million pixels"),
    "GIF": (
        encode(gray(), "GIF", save_all=True, append_images=[Image.fromarray(255 - gray())]),
        "not an image format this package reads; convert it to PNG",
    ),
    "two pages": (
        encode(gray(), "TIFF", save_all=True, append_images=[Image.fromarray(gray())]),
        "holds 2 images; save the one to be read",
    ),
    "NaN TIFF": (encode(np.full((64, 64), np.nan, np.float32), "TIFF"), "NaN or infinite"),
    "1 x 1": (encode(np.zeros((1, 1), np.uint8)), "1 x 1 pixels is too small; at least 64 x 64"),
    "63 x 64": (encode(np.zeros((64, 63), np.uint8)), "63 x 64 pixels is too small"),
}


@pytest.mark.parametrize(("data", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_no_radiograph_is_an_input_error_that_says_why(data, words, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    with pytest.raises(InputError, match=r"^<bytes>: "):
        read(data)


ARRAYS = {
    "NaN": (np.where(gray() == 9, np.nan, 1.0), "NaN or infinite values; replace them first"),
    "inf": (np.where(gray() == 9, np.inf, 1.0), "NaN or infinite values"),
    "NaN in colour": (np.full((64, 64, 3), np.nan), "NaN or infinite values"),
    "empty": (np.zeros((0, 64), np.uint8), "the array is empty (shape (0, 64))"),
    "complex": (gray().astype(complex), "complex128 holds no gray levels; give numbers"),
    "object": (gray().astype(object), "object holds no gray levels"),
    "text": (np.full((64, 64), "x"), "holds no gray levels"),
    "two channels": (np.zeros((64, 64, 2), np.uint8), "shape (64, 64, 2) is no image; give (height, width)"),
    "one axis": (np.zeros(4096, np.uint8), "shape (4096,) is no image"),
    "a batch": (np.zeros((1, 64, 64, 1), np.uint8), "shape (1, 64, 64, 1) is no image"),
    "a number": (np.array(7.0), "shape () is no image"),
    "1 x 1": (np.zeros((1, 1), np.uint8), "1 x 1 pixels is too small"),
}


@pytest.mark.parametrize(("array", "words"), ARRAYS.values(), ids=ARRAYS)
def test_an_array_that_is_no_picture_is_an_input_error_that_says_why(array, words):
    with pytest.raises(InputError) as caught:
        read(array)
    assert str(caught.value).startswith("<array>: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "array"])
def test_a_network_that_takes_fewer_pixels_than_a_radiograph_has_reads_as_few(form):
    pixels_ = np.random.default_rng(0).integers(0, 256, (28, 30), dtype=np.uint8)
    source = pixels_ if form == "array" else encode(pixels_, form)
    assert read(source, at_least=(28, 28)).image.size == (30, 28)
    with pytest.raises(InputError, match="30 x 28 pixels is too small; at least 29 x 29 are needed"):
        read(source, at_least=(29, 29))
    with pytest.raises(InputError, match="30 x 28 pixels is too small; at least 64 x 64 are needed"):
        read(source, at_least=(224, 224))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [(0, 64), (64, 0), (0, 0)])
def test_an_image_without_a_pixel_is_an_input_error(size, colour):
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels: holds no image"):
        read(Image.new("L", size), at_least=(28, 28), colour=colour)


@pytest.mark.parametrize("nothing", [None, 7, [1, 2]])
def test_what_cannot_be_read_at_all_is_an_input_error_naming_its_type(nothing):
    with pytest.raises(InputError, match=f"a {type(nothing).__name__} is no radiograph; give a path, bytes"):
        read(nothing)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png: no such file; check the path"):
        read(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match="is a folder; give the files in it one by one") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_path_with_a_nul_byte_is_an_input_error():
    with pytest.raises(InputError, match="cannot be opened"):
        read("scan\0.png")


def test_a_file_open_as_text_is_an_input_error_that_says_rb(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encode(gray()))
    with (
        path.open(encoding="latin-1") as file,
        pytest.raises(InputError, match=r"scan\.png: the file is open as text; open it with mode 'rb'"),
    ):
        read(file)
    with pytest.raises(InputError, match=r"<file>: the file is open as text"):
        read(io.StringIO("patient,age"))


def test_a_closed_file_is_an_input_error(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encode(gray()))
    with path.open("rb") as file:
        pass
    with pytest.raises(InputError, match=r"scan\.png: cannot be read \(.*closed file"):
        read(file)


def test_a_given_name_is_used_in_results_and_messages():
    assert read(gray(), name="bed 4").name == "bed 4"
    with pytest.raises(InputError, match=r"^bed 4: the file is empty"):
        read(b"", name="bed 4")


def test_a_name_is_found_for_every_kind_of_source(tmp_path):
    Image.fromarray(gray()).save(tmp_path / "a.png")
    assert name_of("x/a.png") == "x/a.png"
    assert name_of(Path("x", "a.png")) == os.path.join("x", "a.png")
    assert name_of(b"") == name_of(bytearray()) == name_of(memoryview(b"")) == "<bytes>"
    assert name_of(gray()) == "<array>"
    assert name_of(Image.fromarray(gray())) == "<image>"
    assert name_of(Image.open(tmp_path / "a.png")) == str(tmp_path / "a.png")
    assert name_of(io.BytesIO()) == "<file>"


def test_bytes_damaged_anywhere_are_read_or_refused_but_never_crash():
    rng = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "BMP"):
        data = np.frombuffer(encode(noise(), form), np.uint8)
        for _ in range(80):
            broken = data.copy()
            broken[rng.integers(0, min(len(data), 400), 3)] = rng.integers(0, 256, 3)
            try:
                assert read(broken.tobytes()).image.mode == "L"
            except CovidNetLiteError as error:
                assert str(error).startswith("<bytes>: ")  # noqa: PT017


def red(mode="RGB", size=(30, 20)):
    return Image.new("RGB", size, (200, 0, 0)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_colours_are_kept_when_asked_for(mode):
    image = read(red(mode), colour=True).image
    assert image.mode == "RGB"
    np.testing.assert_allclose(image.getpixel((0, 0)), (200, 0, 0), atol=6)
    assert read(red(mode, (80, 80))).image.mode == "L"


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_file_keeps_its_colours_and_is_reduced_all_the_same(form):
    file = io.BytesIO()
    red(size=(600, 400)).save(file, form)
    image = read(file.getvalue(), (64, 64), colour=True).image
    assert (image.mode, image.size) == ("RGB", (150, 100))
    np.testing.assert_allclose(image.getpixel((0, 0)), (200, 0, 0), atol=3)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16", "F"])
def test_what_is_gray_stays_gray_when_colour_is_asked_for(mode):
    assert read(Image.new(mode, (70, 70)), colour=True).image.mode == "L"


def test_wider_numbers_are_stretched_over_all_three_colours_alike():
    values = np.zeros((70, 70, 3), np.float32)
    values[..., 0], values[..., 1] = 2.0, 1.0
    assert read(values, colour=True).image.getpixel((0, 0)) == (255, 128, 0)
