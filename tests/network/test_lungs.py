"""Where in a radiograph are the lungs?"""

from __future__ import annotations

import io
import os
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import covidnet_lite
from convert.judge.network_outputs import outputs
from covidnet_lite import radiograph
from covidnet_lite.box import WHOLE
from covidnet_lite.errors import ModelError
from covidnet_lite.evidence import heatmap
from covidnet_lite.fit import fit
from covidnet_lite.network import lungs, model
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import seal, unseal

FINDER = (Path(__file__).resolve().parent.parent.parent / "training/checkpoints/lungs.tflite").read_bytes()
SPEC = InputSpec(64, 64, lungs=FINDER)
TRUE = (0.08, 0.12, 0.95, 0.84)  # as a person draws it around the lungs of pydicom's film


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    both = max(width, 0) * max(height, 0)
    return both / (sum(areas) - both)


def test_the_lungs_of_a_real_film_are_found(film_image):
    assert overlap(lungs.find(film_image, FINDER), TRUE) > 0.64


@pytest.mark.parametrize(("left", "top"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.25)])
def test_they_are_found_where_the_chest_is_put(film_image, left, top):
    width, height = film_image.size
    canvas = Image.new("L", (round(width * 1.4), round(height * 1.35)))
    canvas.paste(film_image, (round(left * width), round(top * height)))
    expected = tuple((side + shift) / scale for side, shift, scale in zip(TRUE, (left, top) * 2, (1.4, 1.35) * 2))
    assert overlap(lungs.find(canvas, FINDER), expected) > 0.6


def test_a_margin_widens_the_box_but_not_beyond_the_picture(film_image):
    canvas = Image.new("L", tuple(round(1.3 * side) for side in film_image.size))
    canvas.paste(film_image, tuple(round(0.15 * side) for side in film_image.size))
    plain, wide = (lungs.find(canvas, FINDER, margin=margin) for margin in (0.0, 0.05))
    assert plain[0] - wide[0] == pytest.approx(0.05 * (plain[2] - plain[0]), rel=1e-3)
    wide = lungs.find(film_image, FINDER, margin=0.5)
    assert min(wide) >= 0
    assert max(wide) <= 1


def test_a_processor_that_differs_in_the_last_bits_finds_the_same_box(film_image, monkeypatch):
    box, sides = lungs.find(film_image, FINDER), lungs._Finder.sides(lungs._load(FINDER, None, os.getpid()), film_image)
    assert lungs.find(film_image, FINDER, margin=0.0) == pytest.approx(sides, abs=5e-4)
    for bits in (-3e-7, 3e-7):
        monkeypatch.setattr(lungs._Finder, "sides", lambda *_, bits=bits: sides + np.float32(bits))
        assert lungs.find(film_image, FINDER) == box


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_side_that_is_no_number_has_all_seen(film_image, monkeypatch, wrong):
    monkeypatch.setattr(lungs._Finder, "sides", lambda *_: np.array([0.1, 0.1, wrong, 0.9], np.float32))
    assert lungs.find(film_image, FINDER) == WHOLE


def test_what_is_no_pair_of_lungs_is_seen_whole(film_image, monkeypatch):
    monkeypatch.setattr(lungs, "MIN_SIDE", 1.1)
    assert lungs.find(film_image, FINDER) == WHOLE


def test_a_network_without_a_finder_sees_all(film_image):
    assert lungs.view(film_image, replace(SPEC, lungs=b"")) == WHOLE


def test_a_damaged_finder_is_refused(film_image):
    with pytest.raises(ModelError, match=r"lungs\.tflite: damaged"):
        lungs.find(film_image, FINDER[:2000] + b"x" + FINDER[2001:])


def bare(data):
    """A network without the archive at its end."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return data[: min(entry.header_offset for entry in archive.infolist())]


def carrying(finder, path):
    """The shipped network, sealed again with a finder; it has no guard and no threshold."""
    base = model.load()
    spec = replace(base.manifest.input, lungs=finder)
    path.write_bytes(seal(bare(base.data), replace(base.manifest, input=spec, guard=None, threshold=0.0)))
    return path


@pytest.fixture
def cropping(tmp_path):
    return covidnet_lite.Classifier(carrying(FINDER, tmp_path / "cropping.tflite"), unsigned="allow")


@pytest.fixture
def set_in(film_image):
    """The film somewhere in a larger picture."""
    canvas = Image.new("L", tuple(round(1.4 * side) for side in film_image.size))
    canvas.paste(film_image, tuple(round(0.25 * side) for side in film_image.size))
    return canvas


def test_a_radiograph_is_fitted_as_its_view_is(set_in):
    box = lungs.view(set_in, SPEC)
    left, top, right, bottom = (round(share * side) for share, side in zip(box, set_in.size * 2))
    cropped = fit(set_in.crop((left, top, right, bottom)), replace(SPEC, lungs=b""))
    assert np.abs(fit(set_in, SPEC).astype(int) - cropped).mean() < 3
    assert np.abs(fit(set_in, replace(SPEC, lungs=b"")).astype(int) - cropped).mean() > 6


def test_either_way_round_they_are_the_same_lungs(set_in):
    left, top, right, bottom = lungs.find(set_in, FINDER)
    assert lungs.find(ImageOps.mirror(set_in), FINDER) == pytest.approx((1 - right, top, 1 - left, bottom), abs=0.01)


def test_saving_again_hardly_moves_them(set_in):
    saved = io.BytesIO()
    set_in.save(saved, "JPEG", quality=95)
    assert lungs.find(Image.open(saved), FINDER) == pytest.approx(lungs.find(set_in, FINDER), abs=0.015)


def test_a_classifier_shows_its_network_the_lungs_and_says_which_part_that_is(cropping, set_in):
    prediction, spec = cropping.classify(set_in), cropping.manifest.input
    image = radiograph.read(set_in, spec.at_least).image  # reduced, as the classifier reads it
    assert prediction.view == lungs.view(image, spec)
    assert prediction.view != WHOLE
    assert prediction.to_dict()["view"] == [round(side, 4) for side in prediction.view]
    logits = outputs(cropping.model, fit(image, spec)[None])["evidence"]
    np.testing.assert_array_equal(prediction.evidence, logits[0])


def test_the_evidence_is_laid_over_what_was_seen_and_nothing_else(cropping, set_in):
    prediction = cropping.classify(set_in)
    contrast = prediction.evidence - prediction.evidence.mean(axis=-1, keepdims=True)
    index = int(contrast.max((0, 1)).argmax())  # of the class that most speaks for
    label = list(prediction.probabilities)[index]
    gray, coloured = (np.asarray(prediction.heatmap(label, opacity=o, legend=False), int) for o in (0, 1))
    height, width = gray.shape[:2]
    left, top, right, bottom = (round(v * side) for v, side in zip(prediction.view, (width, height) * 2))
    outside = np.ones((height, width), bool)
    outside[top:bottom, left:right] = False
    assert 0.2 < outside.mean() < 0.9
    changed = (gray != coloured).any(axis=2)
    assert not changed[outside].any()
    assert changed[~outside].mean() > 0.5
    strength = heatmap.strength(prediction.evidence, index)
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    y, x = (round(a + (i + 0.5) / n * (b - a)) for a, b, i, n in (
        (top, bottom, row, strength.shape[0]), (left, right, column, strength.shape[1])
    ))  # fmt: skip
    assert coloured[y, x].sum() > 0.9 * coloured[changed].sum(axis=1).max()


def test_reducing_leaves_enough_pixels_for_the_crop():
    assert InputSpec(224, 224).at_least == (224, 224)
    assert InputSpec(224, 224, lungs=FINDER).at_least == (320, 320)


def test_reduced_decoding_answers_like_exact_decoding(cropping, set_in, tmp_path):
    path = tmp_path / "large.jpg"
    set_in.resize((2048, 2048)).save(path, quality=95)
    exact = covidnet_lite.Classifier(cropping.model.path, exact=True)
    one, other = cropping.classify(path), exact.classify(path)
    assert one.view == pytest.approx(other.view, abs=0.01)
    assert one.most_likely == other.most_likely
    assert one.probabilities == pytest.approx(other.probabilities, abs=0.1)


def test_an_empty_plate_with_a_speck_is_blank_whatever_is_taken_for_lungs(cropping):
    plate = np.full((500, 500), 40, np.uint8)
    plate[200:225, 230:265] = 220
    prediction = cropping.classify(plate)
    assert prediction.status == "refused"
    assert "the image is blank" in prediction.reason


def test_a_crop_without_contrast_is_refused_for_that(cropping):
    plate = np.full((500, 500), 40, np.uint8)
    plate[:, :9] = np.random.default_rng(0).integers(0, 255, (500, 9))
    prediction = cropping.classify(plate)
    assert prediction.status == "refused"
    assert ("taken for the lungs" in prediction.reason) == (prediction.view[0] > 9 / 500)


FINDERS = {
    "damaged": (FINDER[:2000] + b"x" + FINDER[2001:], "damaged"),
    "cut short": (FINDER[:1000], "no manifest"),
    "junk": (b"lungs" * 99, "no TFLite file"),
    "another network": (model.load().data, "has the outputs normal, pneumonia, covid, not left, top, right, bottom"),
    "one that crops": (
        seal(bare(FINDER), replace(unseal(FINDER, ""), input=replace(unseal(FINDER, "").input, lungs=FINDER))),
        "has the outputs",
    ),
}


@pytest.mark.parametrize("what", FINDERS)
def test_a_network_whose_finder_is_none_is_refused_when_it_is_loaded(tmp_path, what):
    finder, why = FINDERS[what]
    path = carrying(finder, tmp_path / "net.tflite")
    with pytest.raises(ModelError, match=rf"net\.tflite: the network in it that finds the lungs .*{why}"):
        covidnet_lite.Classifier(path, unsigned="allow")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_they_are_looked_for_finds_them_too(film_image):
    lungs.find(film_image, FINDER)
    with lungs._load(FINDER, None, os.getpid())._lock:  # as when another thread is looking
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            lungs.find(film_image, FINDER)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("box", [(0.2, 0.1, 0.7, 0.9), (0.05, 0.3, 0.95, 0.8)])
def test_the_box_within_the_view_is_the_lungs_without_the_margin(box):
    left, top, right, bottom = box
    across, down = lungs.MARGIN * (right - left), lungs.MARGIN * (bottom - top)
    view = (left - across, top - down, right + across, bottom + down)
    within = lungs.lung_box(view)
    for low, high, side in ((view[0], view[2], (0, 2)), (view[1], view[3], (1, 3))):
        for i in side:
            assert low + within[i] * (high - low) == pytest.approx(box[i])


def test_where_the_view_ends_with_the_picture_the_lungs_reach_that_far():
    left, top, right, bottom = lungs.lung_box((0.0, 0.2, 0.7, 1.0))
    assert (left, bottom) == (0.0, 1.0)
    assert right == pytest.approx(1 / (1 + lungs.MARGIN))
    assert top == pytest.approx(lungs.MARGIN / (1 + lungs.MARGIN))
    assert lungs.lung_box(WHOLE) == WHOLE
