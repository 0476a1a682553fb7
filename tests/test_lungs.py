"""Where in a radiograph are the lungs?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import lungs
from covidnet_lite.errors import ModelError
from covidnet_lite.fit import WHOLE, InputSpec, fit

FINDER = (Path(__file__).resolve().parent.parent / "training/checkpoints/lungs.tflite").read_bytes()
SPEC = InputSpec(64, 64, lungs=FINDER)


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    both = max(width, 0) * max(height, 0)
    return both / (sum(areas) - both)


def test_the_lungs_of_a_real_film_are_found(film_image):
    assert overlap(lungs.find(film_image, FINDER), (0.08, 0.12, 0.95, 0.84)) > 0.65


@pytest.mark.parametrize(("left", "top"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.25)])
def test_they_are_found_where_the_chest_is_put(film_image, left, top):
    width, height = film_image.size
    canvas = Image.new("L", (round(width * 1.4), round(height * 1.35)))
    canvas.paste(film_image, (round(left * width), round(top * height)))
    alone = lungs.find(film_image, FINDER)
    expected = tuple((side + shift) / scale for side, shift, scale in zip(alone, (left, top) * 2, (1.4, 1.35) * 2))
    assert overlap(lungs.find(canvas, FINDER), expected) > 0.65


def test_a_margin_widens_the_box_but_not_beyond_the_picture(film_image):
    canvas = Image.new("L", tuple(round(1.3 * side) for side in film_image.size))
    canvas.paste(film_image, tuple(round(0.15 * side) for side in film_image.size))
    plain, wide = (lungs.find(canvas, FINDER, margin=margin) for margin in (0.0, 0.05))
    assert plain[0] - wide[0] == pytest.approx(0.05 * (plain[2] - plain[0]), rel=1e-3)
    wide = lungs.find(film_image, FINDER, margin=0.5)
    assert min(wide) >= 0
    assert max(wide) <= 1


def test_what_is_no_pair_of_lungs_is_seen_whole(film_image, monkeypatch):
    monkeypatch.setattr(lungs, "LEAST", 1.1)
    assert lungs.find(film_image, FINDER) == WHOLE


def test_a_network_without_a_finder_sees_all(film_image):
    assert lungs.view(film_image, replace(SPEC, lungs=b"")) == WHOLE


def test_a_radiograph_is_fitted_as_its_view_is(film_image):
    box = lungs.view(film_image, SPEC)
    cropped = fit(lungs.crop(film_image, box), replace(SPEC, lungs=b""))
    assert np.abs(fit(film_image, SPEC).astype(int) - cropped).mean() < 3
    assert np.abs(fit(film_image, replace(SPEC, lungs=b"")).astype(int) - cropped).mean() > 6


def test_a_crop_takes_the_box():
    picture = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    assert np.asarray(lungs.crop(picture, (0.2, 0.1, 0.5, 0.4))).tolist() == np.asarray(picture)[1:4, 2:5].tolist()


def test_a_damaged_finder_is_refused(film_image):
    with pytest.raises(ModelError, match=r"lungs\.tflite: damaged"):
        lungs.find(film_image, FINDER[:2000] + b"x" + FINDER[2001:])
