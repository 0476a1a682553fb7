"""A radiograph of any size -> the bytes a network takes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.fit import fit
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.preprocess import equalisation, gray_table, input_tables, levels, look_up, normalise, resize

PLAIN = InputSpec(96, 128)
EQUALISED = InputSpec(96, 128, equalise=True)
COLOUR = InputSpec(96, 128, 3, (124.0, 116.0, 104.0), (58.0, 57.0, 56.0))


def gradient(low=40, high=200, height=96, width=128):
    return Image.fromarray(np.tile(np.linspace(low, high, width).astype(np.uint8), (height, 1)))


@pytest.mark.parametrize("spec", [PLAIN, EQUALISED, COLOUR])
def test_a_spec_survives_json(spec):
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"height": 0}, "height and width must be positive whole numbers, not 0 x 8"),
        ({"width": -1}, "height and width must be positive whole numbers, not 8 x -1"),
        ({"channels": 2}, "channels must be 1 or 3, not 2"),
        ({"channels": 3}, r"mean needs one value per channel \(3\)"),
        ({"mean": (1.0, 2.0)}, r"mean needs one value per channel \(1\)"),
        ({"std": ()}, r"std needs one value per channel \(1\)"),
        ({"std": (0.0,)}, "std must be positive"),
        ({"std": (float("nan"),)}, "std must be finite"),
    ],
)
def test_a_spec_out_of_range_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        InputSpec(**{"height": 8, "width": 8, **fields})


@pytest.mark.parametrize("fields", [{"height": 8}, {"height": 8, "width": 8, "depth": 3}])
def test_a_spec_with_a_missing_or_unknown_field_is_refused(fields):
    with pytest.raises(TypeError):
        InputSpec.from_dict(fields)


def test_the_right_size_is_not_resized():
    image = gradient()
    assert resize(image, PLAIN) is image


def test_resizing_gives_the_networks_height_and_width():
    assert resize(gradient(), InputSpec(height=30, width=50)).size == (50, 30)
    assert resize(gradient(), InputSpec(height=200, width=300)).size == (300, 200)


def test_resizing_averages_instead_of_picking_pixels():
    checks = Image.fromarray((np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8))
    small = np.asarray(resize(checks, InputSpec(60, 60)), int)
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


def test_the_table_and_the_float_view_say_the_same():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    table = input_tables(COLOUR, np.dtype(np.float32), 0.0, 0)
    np.testing.assert_allclose(normalise(pixels, COLOUR), np.moveaxis(table[:, pixels], 0, -1), rtol=1e-5, atol=1e-6)


def test_normalising_adds_a_channel_axis_to_one_or_many():
    pixels = np.array([[0, 127, 255]], np.uint8)
    np.testing.assert_allclose(normalise(pixels, PLAIN)[..., 0], [[-127 / 128, 0, 1]])
    many = normalise(np.stack([pixels, pixels]), COLOUR)
    assert (many.shape, many.dtype) == ((2, 1, 3, 3), np.float32)


def test_equalising_puts_each_level_at_the_middle_of_its_share():
    histogram = np.zeros(256, np.int64)
    histogram[[30, 200]] = 500
    table = equalisation(histogram)
    assert (table[30], table[200]) == (64, 191)  # a quarter and three quarters of 255
    histogram[200] = 0
    assert equalisation(histogram)[30] == 128  # alone: mid-gray


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
    np.testing.assert_array_equal(equalisation(histogram), np.arange(256))


def test_a_black_frame_and_white_letters_do_not_change_the_table():
    framed = Image.new("L", (300, 300), 0)
    framed.paste(gradient(), (80, 80))
    framed.paste(255, (0, 0, 40, 20))
    np.testing.assert_array_equal(gray_table(framed, EQUALISED), gray_table(gradient(), EQUALISED))
    assert np.any(gray_table(framed, EQUALISED) != np.arange(256))


def test_without_equalisation_the_gray_table_changes_nothing():
    np.testing.assert_array_equal(gray_table(gradient(), PLAIN), np.arange(256))


def test_fitting_resizes_and_only_equalises_when_asked():
    image = gradient(100, 150)
    np.testing.assert_array_equal(fit(image, PLAIN), np.asarray(image))
    equalised = fit(image, EQUALISED)
    np.testing.assert_array_equal(equalised, gray_table(image, EQUALISED)[np.asarray(image)])
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


@pytest.mark.parametrize("spec", [RGB, BGR])
def test_the_order_of_colours_survives_json_and_gray_is_not_told(spec):
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert "colour" not in COLOUR.to_dict()  # as it always was: the shipped files stay the same to the byte


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"colour": "cmyk"}, "colour must be one of gray, rgb, bgr, not 'cmyk'"),
        ({"colour": "rgb"}, "colour rgb needs 3 channels"),
        ({"colour": "bgr", "channels": 3, "mean": (0.0,) * 3, "std": (1.0,) * 3, "equalise": True}, "neither equalise nor lungs"),
    ],
)  # fmt: skip
def test_colours_that_cannot_be_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        InputSpec(**{"height": 8, "width": 8, **fields})


def test_a_colour_picture_is_fitted_in_the_order_of_the_network():
    image = painted()
    np.testing.assert_array_equal(fit(image, RGB), np.asarray(image))
    np.testing.assert_array_equal(fit(image, BGR), np.asarray(image)[..., ::-1])


def test_a_gray_picture_is_the_same_in_all_colours():
    gray = painted().convert("L")
    np.testing.assert_array_equal(fit(gray, RGB), np.stack([np.asarray(gray)] * 3, axis=-1))


@pytest.mark.parametrize("spec", [RGB, BGR])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_tables_and_the_float_view_say_the_same_in_colour(spec, mode):
    image = painted().convert(mode)
    tables = input_tables(spec, np.dtype(np.float32), 0.0, 0)
    found = look_up(tables, levels(image, spec))
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, normalise(fit(image, spec)[None], spec), rtol=1e-5, atol=1e-6)
