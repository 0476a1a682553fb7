from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import DatasetError
from covidnet_lite.network import lungs
from training import locate_lungs
from training.data.augmentation import Strength, variant
from training.locate_lungs import SPEC, VIEW, intersection_over_union

ONLY_PLACED = Strength(**dict.fromkeys((field.name for field in fields(Strength)), 0.0) | {"scale": 1.0})
BOX = np.array([0.15, 0.2, 0.6, 0.75], np.float32)  # off the centre, so that a mirror image is told from the picture
SIZE = (300, 240)


def painted(box: Any, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Black, white where a box lies, ``(height, width)`` uint8."""
    image = Image.new("L", size, 0)
    left, top, right, bottom = (round(float(share) * side) for share, side in zip(box, size * 2))
    image.paste(255, (left, top, right, bottom))
    return np.asarray(image)


def shown(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel of a view anywhere shows the box, ``(VIEW, VIEW)``, and where the box is said to be."""
    views = []
    for film in (painted(BOX), painted((0, 0, 0, 0))):
        rng = np.random.default_rng(seed)
        views.append(variant(film, locate_lungs.anywhere(BOX, rng), VIEW, rng, ONLY_PLACED, equalised=False))
    (view, matrix), (rest, _) = views
    # What fills the corners falls out.
    return (view.astype(float) - rest) / 255, locate_lungs.box_in_view(BOX, SIZE[::-1], matrix)


@pytest.mark.parametrize("seed", range(40))
def test_the_box_moves_with_the_picture(seed: int) -> None:
    cover, box = shown(seed)
    # The picture turns by some degrees and the box does not, so that its sides are met about their middle.
    for axis, low, high in ((0, box[0], box[2]), (1, box[1], box[3])):
        along = cover.sum(axis)
        half = np.flatnonzero(along > along.max() / 2)
        np.testing.assert_allclose([half[0] / VIEW, (half[-1] + 1) / VIEW], [low, high], atol=0.03)


def test_views_show_the_lungs_in_many_places_and_sizes() -> None:
    boxes = np.array([shown(seed)[1] for seed in range(40)])
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    assert (np.ptp(centres, axis=0) > 0.15).all()
    assert (sides.max(axis=0) / sides.min(axis=0) > 1.4).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_window_anywhere_holds_the_lungs(seed: int) -> None:
    left, top, right, bottom = locate_lungs.anywhere(BOX, np.random.default_rng(seed))
    assert left <= BOX[0] < BOX[2] <= right
    assert top <= BOX[1] < BOX[3] <= bottom


def test_every_film_is_shown_as_often_and_a_seed_shows_the_same() -> None:
    films = [np.full(SIZE[::-1], level, np.uint8) for level in (60, 120, 180)]
    boxes = np.array([BOX, BOX / 2, BOX / 4])
    (pixels, where), again = (locate_lungs.random_views(films, boxes, 6, np.random.default_rng(5)) for _ in range(2))
    assert pixels.shape == (6, SPEC.height, SPEC.width)
    np.testing.assert_array_equal(pixels, again[0])
    np.testing.assert_array_equal(where, again[1])
    assert len(np.unique(where, axis=0)) == 6


def test_mirror_images_are_learnt_too_with_their_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    network, learnt = locate_lungs.build(), []
    monkeypatch.setattr(network, "fit", lambda *given, **options: learnt.append(given))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SPEC.height, SPEC.width), np.uint8)
    locate_lungs.train(network, pixels, np.stack([BOX, BOX / 2]), epochs=1)
    inputs, boxes = learnt[0]
    np.testing.assert_array_equal(inputs[2:, :, ::-1], inputs[:2])
    np.testing.assert_allclose(boxes[[0, 2]], [BOX, (0.4, 0.2, 0.85, 0.75)], atol=1e-6)


def test_a_drawn_box_goes_before_the_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lungs, "find", lambda film, teacher, margin: (0.0, 0.0, 1.0, 1.0))
    monkeypatch.setattr(locate_lungs, "WINDOWS", 1)
    films = [Image.new("L", (64, 64))] * 2
    boxes = locate_lungs.target_boxes([boxed("0.1 0.2 0.3 0.4"), boxed("")], films, b"")
    np.testing.assert_allclose(boxes, [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], atol=1e-6)


def test_what_the_teacher_finds_in_a_window_is_said_of_the_film(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(window: Image.Image, teacher: bytes, margin: float) -> tuple[float, ...]:
        rows, columns = np.nonzero(np.asarray(window) > 127)
        width, height = window.size
        sides = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
        return tuple(map(float, sides))

    monkeypatch.setattr(lungs, "find", find)
    np.testing.assert_allclose(locate_lungs.teacher_box(Image.fromarray(painted(BOX)), b""), BOX, atol=0.004)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0.0, 0.0, 0.5, 0.5), 1),
        ((0.0, 0.0, 0.25, 0.5), 1 / 2),  # within it
        ((0.25, 0.0, 0.75, 0.5), 1 / 3),
        ((0.25, 0.25, 0.75, 0.75), 1 / 7),
        ((0.5, 0.0, 1.0, 0.5), 0),  # beside it
        ((0.6, 0.6, 0.9, 0.9), 0),  # apart in both directions, whose overlaps are both negative
    ],
)
def test_how_much_two_boxes_share(other: tuple[float, ...], expected: float) -> None:
    one, two = np.array([(0.0, 0.0, 0.5, 0.5), other], np.float32)
    for pair in ((one, two), (two, one)):
        np.testing.assert_allclose(intersection_over_union(*(b[None] for b in pair)), [expected], atol=1e-6)


def test_each_pair_of_boxes_counts_for_itself() -> None:
    whole, half = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.5)
    result = intersection_over_union(np.array([whole, half, half]), np.array([whole, whole, half]))
    np.testing.assert_allclose(result, [1, 0.5, 1])


def boxed(text: str, source: str = "") -> LabelledImage:
    return LabelledImage(Path("x.png"), source=source, fields={"lung_boxes": text})


def test_the_box_is_around_both_lungs() -> None:
    np.testing.assert_allclose(
        locate_lungs.box_around_lungs(boxed("0.1 0.3 0.4 0.8;0.6 0.2 0.9 0.7")), (0.1, 0.2, 0.9, 0.8), atol=1e-6
    )


def test_a_box_beyond_the_picture_is_none() -> None:
    with pytest.raises(DatasetError, match="x.png: lung_boxes is"):
        locate_lungs.box_around_lungs(boxed("0.1 0.3 1.4 0.8"))


def test_what_was_found_is_told_of_the_hospitals_it_was_found_in() -> None:
    seen, unseen = [boxed("", "north")] * 3, [boxed("", "west"), boxed("", "south"), boxed("", "west"), boxed("")]
    text = locate_lungs.summary(seen, unseen, np.array([0.9, 0.8, 0.6, 0.7]))
    assert text == (
        "trained on 3 films of north; intersection over union on 4 others of an unnamed source, south, west: "
        "mean 0.750, least 0.600, 50% above 0.7"
    )


@pytest.mark.parametrize(
    ("columns", "train", "others", "message"),
    [
        ("file,split", "", "", "1 films of the train split and 0 others with lung_boxes"),
        ("file,split,lung_boxes", ",", ", ; ", "1 films of the train split and 0 others with lung_boxes"),
        ("file,split,lung_boxes", ",", ",0 0 1", "b.png: lung_boxes is '0 0 1'"),
    ],
)
def test_data_without_films_to_learn_from_and_boxes_to_judge_on_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: str, train: str, others: str, message: str
) -> None:
    manifest, out = tmp_path / "manifest.csv", tmp_path / "lungs.tflite"
    manifest.write_text(f"{columns}\na.png,train{train}\nb.png,test{others}\n")
    assert locate_lungs.main(["--data", str(manifest), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not out.exists()
