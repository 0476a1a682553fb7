"""A radiograph of any size -> the bytes a network takes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

import covidnet_lite
from convert.float_input import normalise
from covidnet_lite.box import WHOLE
from covidnet_lite.fit import fit
from covidnet_lite.network import lungs
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.preprocess import equalisation, input_tables, look_up, prepare

PLAIN = InputSpec(96, 128)
EQUALISED = InputSpec(96, 128, equalise=True)
COLOUR = InputSpec(96, 128, 3, (124.0, 116.0, 104.0), (58.0, 57.0, 56.0))


VIEW = (0.11, 0.2, 0.83, 0.97)


def gradient(low=40, high=200, height=96, width=128):
    return Image.fromarray(np.tile(np.linspace(low, high, width).astype(np.uint8), (height, 1)))


def test_the_right_size_is_not_resized():
    image = gradient()
    assert prepare(image, PLAIN, WHOLE).image is image


def test_resizing_gives_the_networks_height_and_width():
    assert prepare(gradient(), InputSpec(height=30, width=50), WHOLE).image.size == (50, 30)
    view = prepare(gradient(), InputSpec(height=200, width=300), VIEW)
    assert (view.image.size, view.view) == ((300, 200), VIEW)


def test_resizing_averages_instead_of_picking_pixels():
    checks = Image.fromarray((np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8))
    small = prepare(checks, InputSpec(60, 60), WHOLE).pixels.astype(int)
    assert np.abs(small - 127).max() <= 8


def test_the_shipped_table_is_the_byte_with_its_top_bit_flipped():
    table = input_tables(PLAIN, np.dtype(np.int8), 1 / 128, -1)
    assert table.dtype == np.int8
    np.testing.assert_array_equal(table, [np.arange(256) - 128])
    np.testing.assert_array_equal(table.view(np.uint8)[0], np.arange(256, dtype=np.uint8) ^ 0x80)


def test_an_unsigned_network_with_its_own_scale_gets_the_gray_byte():
    spec = InputSpec(8, 8, mean=(0.0,), std=(255.0,))
    table = input_tables(spec, np.dtype(np.uint8), 1 / 255, 0)
    assert table.dtype == np.uint8
    np.testing.assert_array_equal(table[0], np.arange(256))


def test_a_float_network_gets_normalised_values_whatever_the_scale():
    table = input_tables(PLAIN, np.dtype(np.float32), 0.0, 0)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table[0], (np.arange(256) - 127) / 128, rtol=1e-6)


def test_values_beyond_the_integer_range_are_clipped_not_wrapped():
    table = input_tables(PLAIN, np.dtype(np.int8), 1 / 512, 0)[0]
    assert (table[0], table[127], table[128], table[255]) == (-128, 0, 4, 127)
    assert np.all(np.diff(table.astype(int)) >= 0)


def test_values_between_two_steps_go_to_the_nearer_one():
    spec = InputSpec(8, 8, mean=(0.0,), std=(1.0,))
    assert input_tables(spec, np.dtype(np.uint8), 3.0, 10)[0, :6].tolist() == [10, 10, 11, 11, 11, 12]


def test_each_channel_has_its_own_table():
    table = input_tables(COLOUR, np.dtype(np.float32), 0.0, 0)
    assert table.shape == (3, 256)
    np.testing.assert_allclose(table[:, 255], [131 / 58, 139 / 57, 151 / 56], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_pixel_becomes_its_entry_of_each_table(channels, dtype):
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 128, (channels, 256)).astype(dtype)
    pixels = rng.integers(0, 256, (2, 5), np.uint8)
    values = look_up(tables, pixels)
    assert (values.shape, values.dtype) == ((1, 2, 5, channels), dtype)
    for channel, table in enumerate(tables):
        assert values[0, ..., channel].tolist() == [[table[level] for level in row] for row in pixels]


def test_equalising_puts_each_level_at_the_middle_of_its_share():
    histogram = np.zeros(256, np.int64)
    histogram[[30, 200]] = 500
    table = equalisation(histogram)
    assert (table[30], table[200]) == (64, 191)  # a quarter and three quarters of 255
    for level in (1, 30, 254):
        histogram[:] = 0
        histogram[level] = 500
        assert equalisation(histogram)[[0, level, 255]].tolist() == [0, 128, 255]  # alone: mid-gray


def test_equalising_ignores_pure_black_and_pure_white():
    histogram = np.random.default_rng(0).integers(1, 50, 256)
    framed = histogram.copy()
    framed[0], framed[255] = 10**6, 10**5
    table = equalisation(framed)
    np.testing.assert_array_equal(table, equalisation(histogram))
    assert (table[0], table[255]) == (0, 255)


def test_equalising_does_not_change_the_callers_histogram():
    histogram = np.ones(256, np.int64)
    equalisation(histogram)
    assert histogram.sum() == 256


@pytest.mark.parametrize("seed", range(5))
def test_equalising_never_reverses_two_levels(seed):
    rng = np.random.default_rng(seed)
    histogram = rng.integers(0, 1000, 256) * rng.integers(0, 2, 256)
    table = equalisation(histogram)
    assert table.dtype == np.uint8
    assert np.all(np.diff(table.astype(int)) >= 0)


def test_a_picture_of_black_and_white_only_is_left_alone():
    histogram = np.zeros(256, np.int64)
    histogram[[0, 255]] = 500
    table = equalisation(histogram)
    assert table.dtype == np.uint8
    np.testing.assert_array_equal(table, np.arange(256))


def test_a_black_frame_and_white_letters_do_not_change_the_table():
    image = np.asarray(gradient())
    framed = image.copy()
    framed[:30], framed[30:34] = 0, 255
    spec = InputSpec(*image.shape, equalise=True)
    np.testing.assert_array_equal(fit(Image.fromarray(framed), spec)[40:], fit(Image.fromarray(image), spec)[40:])


def test_fitting_resizes_and_only_equalises_when_asked():
    image = gradient(100, 150)
    np.testing.assert_array_equal(fit(image, PLAIN), np.asarray(image))
    equalised = fit(image, EQUALISED)
    table = equalisation(np.bincount(np.asarray(image).ravel(), minlength=256))
    np.testing.assert_array_equal(equalised, table[np.asarray(image)])
    assert equalised.min() < 10
    assert equalised.max() > 245
    assert fit(image, InputSpec(20, 30, equalise=True)).shape == (20, 30)


def test_brightness_and_contrast_do_not_survive_equalisation():
    dark, bright = fit(gradient(20, 120), EQUALISED), fit(gradient(100, 240), EQUALISED)
    assert np.abs(dark.astype(int) - bright).max() <= 4


RGB = InputSpec(2, 3, 3, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), colour="rgb")
BGR = InputSpec(2, 3, 3, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), colour="bgr")


def painted():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8))


def test_a_colour_picture_is_fitted_in_the_order_of_the_network():
    image = painted()
    np.testing.assert_array_equal(fit(image, RGB), np.asarray(image))
    np.testing.assert_array_equal(fit(image, BGR), np.asarray(image)[..., ::-1])


def test_a_gray_picture_is_the_same_in_all_colours():
    gray = painted().convert("L")
    np.testing.assert_array_equal(fit(gray, RGB), np.stack([np.asarray(gray)] * 3, axis=-1))


@pytest.mark.parametrize("spec", [PLAIN, EQUALISED, COLOUR, RGB, BGR])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("view", [WHOLE, VIEW])
def test_the_device_and_the_float_network_are_shown_the_same(spec, mode, view):
    prepared = prepare(pattern(mode if spec.in_colour else "L"), spec, view)
    values = prepared.values(input_tables(spec, np.dtype(np.float32), 0.0, 0))
    assert values.flags.c_contiguous
    np.testing.assert_allclose(values, normalise(prepared.pixels[None], spec), rtol=1e-5, atol=1e-6)


def pattern(mode="L", height=1044, width=1180):
    """The same bytes everywhere: whole numbers alone."""
    y, x = np.indices((height, width))
    planes = [((x * k + y * y // 9 + x * y // 31) // 7 % 256).astype(np.uint8) for k in (3, 5, 8)]
    return Image.fromarray(planes[0] if mode == "L" else np.stack(planes, axis=-1))


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


OF_COLOUR = ((124.0, 116.0, 104.0), (58.0, 57.0, 56.0))
# Of all of the drawn image: the digests of the bytes of an interpreter, and of those of a float network; of a view, both.
BYTES = {
    "gray": (InputSpec(96, 128), "L", ("int8", 1 / 128, -1),
             "7d4421ed3da5f2c7", "88822ed040d6946b", "6cc1b3bcfc574aa1", "4de179f706d9a696"),
    "equalised": (InputSpec(96, 128, equalise=True), "L", ("int8", 1 / 128, -1),
                  "bb36bc85487be083", "b3fc555627d1188e", "d9f565ba429f9ef1", "382bbac19b7d664c"),
    "gray thrice": (InputSpec(96, 128, 3, *OF_COLOUR), "L", ("uint8", 1 / 40, 100),
                    "7897d7f5fc05d80a", "88822ed040d6946b", "ba3c954b59b2b5dd", "4de179f706d9a696"),
    "equalised thrice": (InputSpec(64, 64, 3, *OF_COLOUR, equalise=True), "L", ("float32", 0.0, 0),
                         "eaa604875e7e4c27", "beee1e4571500deb", "ba7783051cb25622", "8120ee9e0589fd24"),
    "RGB": (InputSpec(96, 128, 3, *OF_COLOUR, colour="rgb"), "RGB", ("int16", 1 / 9000, 0),
            "c9ddb6a14eae6b76", "f987bd28ac3d919c", "e6036d5b8b2c037b", "a8a1f0050ebd90a5"),
    "BGR": (InputSpec(96, 128, 3, *OF_COLOUR, colour="bgr"), "RGB", ("int8", 1 / 60, 3),
            "f51cf944b3bb5d61", "7f8b00e5fb54960e", "6ea415637d672b79", "be2ba86c8080b2d1"),
    "gray for BGR": (InputSpec(96, 128, 3, *OF_COLOUR, colour="bgr"), "L", ("int8", 1 / 60, 3),
                     "04f36044176dacc8", "9f39e0c3be61e006", "959ba5f9172c5b49", "b952f80e499b4f81"),
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_the_bytes_a_network_gets_do_not_change_from_version_to_version(name):
    spec, mode, (dtype, scale, zero_point), *expected = BYTES[name]
    tables = input_tables(spec, np.dtype(dtype), scale, zero_point)
    prepared = [prepare(pattern(mode), spec, view) for view in (WHOLE, VIEW)]
    assert [digest(part) for p in prepared for part in (p.values(tables), p.pixels)] == expected


@pytest.mark.parametrize(("name", "expected"), [("base", "077ee2f58a83496c"), ("nano", "67754484d8db41d9")])
def test_the_bytes_a_shipped_network_gets_do_not_change_and_are_those_it_is_judged_on(name, expected, monkeypatch):
    monkeypatch.setattr(lungs, "find", lambda *_: VIEW)
    classifier = covidnet_lite.Classifier(name, threads=1)
    inputs, run = [], Interpreter.run
    monkeypatch.setattr(Interpreter, "run", lambda self, values: [inputs.append(values), run(self, values)][1])
    classifier.classify(pattern())
    assert digest(inputs[0]) == expected
    spec, interpreter = classifier.manifest.input, Interpreter(classifier.model)
    reduced = pattern().reduce(2)  # as it is read
    np.testing.assert_array_equal(look_up(interpreter.tables, fit(reduced, spec)), inputs[0])
