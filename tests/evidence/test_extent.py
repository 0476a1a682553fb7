"""How much of the lungs the evidence calls opaque."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidnet_lite.evidence.extent import ExtentScale, raw_extent

SCALE = ExtentScale((0.2, 0.5, 0.9), (0.0, 0.4, 1.0), 0.08, 0.5)
WHOLE = (0.0, 0.0, 1.0, 1.0)


def test_raw_is_the_share_of_the_box_that_is_opaque():
    left_half = np.tile([1.0, 1.0, 0.0, 0.0], (4, 1))
    assert raw_extent(left_half, WHOLE) == pytest.approx(0.5)
    assert raw_extent(left_half, (0.0, 0.0, 0.5, 1.0)) == pytest.approx(1)
    assert raw_extent(left_half, (0.5, 0.2, 1.0, 0.7)) == pytest.approx(0)


def test_a_cell_counts_by_how_much_of_it_lies_in_the_box():
    one = np.zeros((2, 2))
    one[0, 0] = 1
    # Half of the column and all of the row of the opaque cell: 0.5 of 1.5 x 2 cells.
    assert raw_extent(one, (0.25, 0.0, 1.0, 1.0)) == pytest.approx(0.5 / 3)


def test_the_extent_is_read_from_straight_lines_between_the_knots():
    def extent(share):
        cells = np.zeros(100)
        cells[: round(100 * share)] = 1
        return SCALE(cells.reshape(10, 10), WHOLE)

    assert extent(0.35) == pytest.approx(0.2)
    assert extent(0.7) == pytest.approx(0.7)
    assert (extent(0.0), extent(1.0)) == (0.0, 1.0)  # beyond the knots


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"raw": (0.2, 0.2, 0.9)}, "raw must rise"),
        ({"extent": (0.0, 0.4, 0.3)}, "extent must rise"),
        ({"raw": (0.2, 0.9)}, "equally many"),
        ({"raw": (0.2,), "extent": (0.1,)}, "two or more knots"),
        ({"raw": (0.2, 0.5, 1.9)}, "raw must be numbers between 0 and 1"),
        ({"raw": (0.2, float("nan"), 0.9)}, "raw must be numbers between 0 and 1"),
        ({"raw": ("a", "b", "c")}, "raw must be numbers"),
        ({"extent": 0.5}, "extent must be numbers"),
        ({"error": 8}, "error of the extent must be between 0 and 1"),
        ({"offset": float("inf")}, "offset must be a small number"),
    ],
)
def test_an_impossible_scale_says_why(fields, words):
    with pytest.raises(ValueError, match=words):
        replace(SCALE, **fields)


def test_an_extent_may_stay_level_between_knots():
    replace(SCALE, extent=(0.0, 0.4, 0.4))


def test_it_comes_back_from_json():
    assert ExtentScale.from_dict(SCALE.to_dict()) == SCALE
