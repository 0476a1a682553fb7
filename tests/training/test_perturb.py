from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import fit, lungs, radiograph
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import DatasetError
from covidnet_lite.fit import InputSpec
from training import perturb

SPEC = InputSpec(32, 32)
FINDER = (Path(__file__).resolve().parents[2] / "training/checkpoints/lungs.tflite").read_bytes()
BOXED = Case(Path("x.png"), fields={"lung_boxes": "0.1 0.2 0.4 0.8;0.6 0.2 0.9 0.8"})
GRAY = Image.new("L", (100, 50), 120)


def test_pictures_are_read_changed_and_fitted(chests: Path) -> None:
    cases = read_cases(chests)[:3]
    plain = perturb.pictures(cases, SPEC)
    mirrored = perturb.pictures(cases, SPEC, perturb.mirrored)
    assert plain.shape == (3, 32, 32)
    assert plain.dtype == np.uint8
    np.testing.assert_allclose(mirrored[:, :, ::-1].astype(int), plain, atol=1)


def test_what_is_painted_over_is_cropped_as_the_untouched_radiograph_is(
    film_png: Path, film_image: Image.Image
) -> None:
    spec = InputSpec(64, 64, lungs=FINDER)
    case = Case(film_png, fields={"lung_boxes": "0.08 0.12 0.45 0.84;0.55 0.12 0.95 0.84"})
    changes = (perturb.without_lungs, perturb.lungs_only, perturb.without_border)
    view = lungs.view(film_image, spec)
    assert all(lungs.view(change(film_image, case), spec) != view for change in changes)
    plain, black, only, framed = (perturb.pictures([case], spec, c)[0].astype(int) for c in (None, *changes))
    np.testing.assert_allclose(black + only, plain, atol=3)  # each is rounded twice
    np.testing.assert_array_equal(framed[16:48, 16:48], plain[16:48, 16:48])


def test_what_is_painted_over_is_fitted_as_ever_where_all_of_it_is_seen(chests: Path) -> None:
    cases = [Case(c.path, fields=BOXED.fields) for c in read_cases(chests)[:2]]
    spec = InputSpec(32, 32, equalise=True)
    for change in perturb.PAINTED:
        expected = [fit.fit(change(radiograph.read(c.path, spec.at_least).image, c), spec) for c in cases]
        np.testing.assert_array_equal(perturb.pictures(cases, spec, change), expected)


def test_what_should_change_nothing_goes_through_the_search_for_the_lungs(film_png: Path) -> None:
    spec = InputSpec(64, 64, lungs=FINDER)
    case = Case(film_png)
    image = radiograph.read(film_png, spec.at_least).image  # reduced, as ever
    turned = fit.fit(perturb.rotated(5)(image, case), spec)
    np.testing.assert_array_equal(perturb.pictures([case], spec, perturb.rotated(5))[0], turned)
    assert not perturb.PAINTED & set(perturb.INVARIANCES.values())


def test_every_unreadable_picture_is_named(chests: Path) -> None:
    cases = read_cases(chests)[:3]
    for name in ("0.png", "2.png"):
        (chests / name).write_text("no picture")
    with pytest.raises(DatasetError) as caught:
        perturb.pictures(cases, SPEC)
    assert "0.png" in str(caught.value)
    assert "2.png" in str(caught.value)


def test_lungs_black_and_lungs_only_are_each_the_rest_of_the_other() -> None:
    black = np.asarray(perturb.without_lungs(GRAY, BOXED)).astype(int)
    only = np.asarray(perturb.lungs_only(GRAY, BOXED)).astype(int)
    np.testing.assert_array_equal(black + only, 120)
    assert (only > 0).sum() == 2 * 30 * 30
    assert only[20, 20] == only[20, 80] == 120
    assert only[20, 50] == 0


def test_a_tenth_of_each_side_is_painted_black() -> None:
    found = np.asarray(perturb.without_border(GRAY, BOXED))
    assert (found[5:45, 10:90] == 120).all()
    assert found.sum() == 120 * 80 * 40


def test_a_case_without_boxes_has_none() -> None:
    assert perturb.lung_boxes(Case(Path("x.png"))) == []
    assert perturb.lung_boxes(BOXED) == [(0.1, 0.2, 0.4, 0.8), (0.6, 0.2, 0.9, 0.8)]


@pytest.mark.parametrize("text", ["0.1 0.2 0.4", "a b c d", "0.5 0.2 0.4 0.8", "0 0 1.2 1", "nan 0 1 1"])
def test_boxes_that_are_none_are_said(text: str) -> None:
    with pytest.raises(DatasetError, match="x.png: lung_boxes is"):
        perturb.lung_boxes(Case(Path("x.png"), fields={"lung_boxes": text}))


def ramp() -> Image.Image:
    return Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (64, 1)))


def test_gray_levels_change_as_told() -> None:
    brighter = np.asarray(perturb.brightness(1.15)(ramp(), BOXED))[0]
    assert (brighter[100], brighter[255]) == (115, 255)
    raised = np.asarray(perturb.gamma(0.7)(ramp(), BOXED))[0]
    assert raised[128] == round(255 * (128 / 255) ** 0.7)
    assert (raised[0], raised[255]) == (0, 255)


def test_shapes_change_as_told() -> None:
    assert perturb.reduced(4)(GRAY, BOXED).size == (25, 12)
    turned = np.asarray(perturb.rotated(5)(Image.new("L", (60, 60), 200), BOXED))
    assert turned.shape == (60, 60)
    assert turned[0, 0] == 0
    assert turned[30, 30] == 200
    dot = Image.new("L", (60, 60), 0)
    dot.putpixel((55, 30), 255)
    assert np.asarray(perturb.rotated(5)(dot, BOXED)).argmax() // 60 < 30  # counter-clockwise: the right side rises


def test_jpeg_loses_detail_and_no_change_is_random() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    for change in perturb.INVARIANCES.values():
        first, second = change(noise, BOXED), change(noise, BOXED)
        assert first.mode == "L"
        assert first.tobytes() == second.tobytes()
        assert first.tobytes() != noise.tobytes()
