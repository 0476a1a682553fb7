"""What a float network takes."""

from __future__ import annotations

import numpy as np

from convert.float_input import normalise
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.preprocess import input_tables

PLAIN = InputSpec(96, 128)
COLOUR = InputSpec(96, 128, 3, (124.0, 116.0, 104.0), (58.0, 57.0, 56.0))


def test_the_tables_of_the_device_and_the_float_view_say_the_same() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    table = input_tables(COLOUR, np.dtype(np.float32), 0.0, 0)
    np.testing.assert_allclose(normalise(pixels, COLOUR), np.moveaxis(table[:, pixels], 0, -1), rtol=1e-5, atol=1e-6)


def test_normalising_adds_a_channel_axis_to_one_or_many() -> None:
    pixels = np.array([[0, 127, 255]], np.uint8)
    np.testing.assert_allclose(normalise(pixels, PLAIN)[..., 0], [[-127 / 128, 0, 1]])
    many = normalise(np.stack([pixels, pixels]), COLOUR)
    assert (many.shape, many.dtype) == ((2, 1, 3, 3), np.float32)
