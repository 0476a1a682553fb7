"""The evidence map over the radiograph."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.evidence.heatmap import LONGEST, colour_table, overlay, strength, strongest, with_legend


def evidence(rows=6, columns=8, classes=3):
    """Class 1 speaks at the upper left, class 0 half as loudly at the lower right, class 2 nowhere."""
    array = np.zeros((rows, columns, classes), np.float32)
    array[0, 0] = (-3, 6, -3)
    array[-1, -1] = (3, -1.5, -1.5)
    return array


def picture(size=(160, 120)):
    return Image.fromarray(np.tile(np.linspace(20, 220, size[0]).astype(np.uint8), (size[1], 1)))


def test_the_colours_run_from_dark_to_light_and_never_back():
    table = colour_table()
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert table[0].tolist() == [0, 0, 4]
    assert table[255].tolist() == [252, 255, 164]
    assert np.all(np.diff(table @ [0.299, 0.587, 0.114]) > -0.5)


def test_strength_is_one_at_the_strongest_contrast_of_any_class():
    assert strength(evidence(), 1)[0, 0] == 1
    assert strength(evidence(), 0)[-1, -1] == pytest.approx(0.5)


def test_a_class_that_nothing_speaks_for_stays_dark():
    assert strength(evidence(), 2).max() == 0


def test_strength_is_between_nothing_and_one_whatever_the_logits():
    wild = np.random.default_rng(0).normal(0, 50, (7, 5, 3)).astype(np.float32)
    for index in range(3):
        map_ = strength(wild, index)
        assert (map_.shape, map_.dtype) == ((7, 5), np.float32)
        assert 0 <= map_.min() <= map_.max() <= 1


def test_what_all_classes_share_does_not_count():
    np.testing.assert_allclose(strength(evidence() + 40, 1), strength(evidence(), 1), atol=1e-5)
    assert strength(np.full((4, 4, 3), 9, np.float32), 0).max() == 0


def test_an_overlay_colours_the_evidence_and_leaves_the_rest_gray():
    image = picture()
    result = overlay(image, evidence(), 1)
    assert (result.mode, result.size) == ("RGB", (160, 120))
    pixels, gray = np.asarray(result, int), np.asarray(image, int)
    np.testing.assert_array_equal(pixels[-40:, -60:], np.repeat(gray[-40:, -60:, None], 3, axis=2))
    assert np.ptp(pixels[2, 2]) > 30  # yellow: far from gray
    assert pixels[2, 2, 0] > pixels[2, 2, 2]


def test_opacity_runs_from_the_picture_alone_to_the_colour_alone():
    image = picture()
    np.testing.assert_array_equal(np.asarray(overlay(image, evidence(), 1, 0.0)), np.asarray(image.convert("RGB")))
    assert np.asarray(overlay(image, evidence(), 1, 1.0))[2, 2].tolist() == colour_table()[255].tolist()


@pytest.mark.parametrize(
    ("size", "shown"), [((3000, 1500), (1024, 512)), ((900, 1800), (512, 1024)), ((90, 70), (90, 70))]
)
def test_the_longer_side_fits_a_screen_and_small_pictures_are_not_enlarged(size, shown):
    assert LONGEST == 1024
    assert overlay(Image.new("L", size, 90), evidence(), 0).size == shown


def test_the_callers_picture_is_not_changed():
    image = picture((1500, 1200))
    before = image.tobytes()
    overlay(image, evidence(), 1)
    assert image.size == (1500, 1200)
    assert image.tobytes() == before


def test_the_strongest_contrast_is_told_in_logits():
    assert strongest(evidence()) == 6
    assert strongest(evidence() + 40) == pytest.approx(6)


@pytest.mark.parametrize("width", [60, 300, 1024])
def test_a_legend_stands_below_the_picture_and_hides_nothing_of_it(width):
    image = picture((width, 80)).convert("RGB")
    page = with_legend(image, "evidence for covid", 6.0)
    assert page.width == width
    assert page.height > 80
    np.testing.assert_array_equal(np.asarray(page)[:80], np.asarray(image))
    band = np.asarray(page, int)[80:]
    assert band.max() > 90  # letters and colours, however small
    other = with_legend(image, "evidence for normal", 6.0)
    assert width < 100 or np.asarray(other)[80:].tolist() != band.tolist()
