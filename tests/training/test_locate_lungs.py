from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.cases import Case
from covidnet_lite.errors import DatasetError
from training import locate_lungs
from training.locate_lungs import WINDOW, intersection_over_union

BOX = np.array([0.15, 0.2, 0.6, 0.75], np.float32)  # off the centre, so that a mirror image is told from the picture
SIZE = (300, 240)


def painted(box: Any, size: tuple[int, int] = SIZE) -> Image.Image:
    """Black, white where a box lies."""
    image = Image.new("L", size, 0)
    left, top, right, bottom = (round(float(share) * side) for share, side in zip(box, size * 2))
    image.paste(255, (left, top, right, bottom))
    return image


def shown(seed: int, area: Any = BOX) -> tuple[Any, Any]:
    """How much of each pixel of a variant shows an area, ``(WINDOW, WINDOW)``, and where the box is said to be."""
    view, box = locate_lungs.variant(painted(area), BOX, np.random.default_rng(seed))
    rest, _ = locate_lungs.variant(Image.new("L", SIZE, 0), BOX, np.random.default_rng(seed))
    return (np.asarray(view, float) - np.asarray(rest, float)) / 255, box  # what fills the corners falls out


@pytest.fixture
def only_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate_lungs, "DETECTOR", ())


@pytest.mark.usefixtures("only_geometry")
@pytest.mark.parametrize("seed", range(40))
def test_the_box_moves_with_the_picture(seed: int) -> None:
    cover, box = shown(seed)
    across, down = cover.sum(axis=0), cover.sum(axis=1)
    middles = np.arange(WINDOW) + 0.5
    centre = np.array([(across * middles).sum(), (down * middles).sum()]) / cover.sum() / WINDOW
    np.testing.assert_allclose(centre, (box[:2] + box[2:]) / 2, atol=0.015)
    assert cover.sum() / WINDOW**2 == pytest.approx(np.prod(box[2:] - box[:2]), rel=0.05)
    # The picture turns by some degrees and the box does not, so that its sides are met about their middle.
    for found, low, high in ((across, box[0], box[2]), (down, box[1], box[3])):
        half = np.flatnonzero(found > found.max() / 2)
        np.testing.assert_allclose([half[0] / WINDOW, (half[-1] + 1) / WINDOW], np.clip([low, high], 0, 1), atol=0.03)


@pytest.mark.usefixtures("only_geometry")
def test_views_hold_the_lungs_in_many_places_sizes_and_both_ways_round() -> None:
    boxes = np.array([shown(seed)[1] for seed in range(40)])
    assert boxes.min() > -0.1
    assert boxes.max() < 1.1
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    assert (np.ptp(centres, axis=0) > 0.15).all()
    assert (sides.max(axis=0) / sides.min(axis=0) > 1.4).all()
    left_lung, mirrored = (*BOX[:2], (BOX[0] + BOX[2]) / 2, BOX[3]), 0
    for seed in range(40):
        cover, box = shown(seed, left_lung)
        middle = round(float(box[0] + box[2]) / 2 * WINDOW)
        mirrored += cover[:, middle:].sum() > cover[:, :middle].sum()
    assert 10 <= mirrored <= 30


def test_a_seed_gives_the_same_variant_and_gray_levels_change_too(monkeypatch: pytest.MonkeyPatch) -> None:
    film = Image.fromarray(np.random.default_rng(0).integers(0, 256, SIZE[::-1], np.uint8))
    first, second = (locate_lungs.variant(film, BOX, np.random.default_rng(3)) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    np.testing.assert_array_equal(first[1], second[1])
    assert first[0].size == (WINDOW, WINDOW)
    monkeypatch.setattr(locate_lungs, "DETECTOR", ())
    only_moved = locate_lungs.variant(film, BOX, np.random.default_rng(3))
    assert only_moved[0].tobytes() != first[0].tobytes()
    np.testing.assert_array_equal(only_moved[1], first[1])


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
    found = intersection_over_union(np.array([whole, half, half]), np.array([whole, whole, half]))
    np.testing.assert_allclose(found, [1, 0.5, 1])


def boxed(text: str, source: str = "") -> Case:
    return Case(Path("x.png"), source=source, fields={"lung_boxes": text})


def test_the_box_is_around_both_lungs() -> None:
    np.testing.assert_allclose(
        locate_lungs.around(boxed("0.1 0.3 0.4 0.8;0.6 0.2 0.9 0.7")), (0.1, 0.2, 0.9, 0.8), atol=1e-6
    )


def test_a_box_beyond_the_picture_is_none() -> None:
    with pytest.raises(DatasetError, match="x.png: lung_boxes is"):
        locate_lungs.around(boxed("0.1 0.3 1.4 0.8"))


def test_what_was_found_is_told_of_the_hospitals_it_was_found_in() -> None:
    seen, unseen = [boxed("", "north")] * 3, [boxed("", "west"), boxed("", "south"), boxed("", "west"), boxed("")]
    text = locate_lungs.words(seen, unseen, np.array([0.9, 0.8, 0.6, 0.7]))
    assert text == (
        "trained on 3 films of north; intersection over union on 4 others of an unnamed source, south, west: "
        "mean 0.750, least 0.600, 50% above 0.7"
    )


@pytest.mark.parametrize(
    ("columns", "train", "others", "message"),
    [
        ("file,split", "", "", "0 films of the train split and 0 others have lung_boxes"),
        ("file,split,lung_boxes", ",", ",", "0 films of the train split and 0 others have lung_boxes"),
        ("file,split,lung_boxes", ",0 0 1 1", ", ; ", "1 films of the train split and 0 others have lung_boxes"),
        ("file,split,lung_boxes", ",", ",0 0 1 1", "0 films of the train split and 1 others have lung_boxes"),
        ("file,split,lung_boxes", ",0 0 1", ",0 0 1 1", "a.png: lung_boxes is '0 0 1'"),
    ],
)
def test_data_without_boxes_to_learn_from_and_to_judge_on_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: str, train: str, others: str, message: str
) -> None:
    manifest, out = tmp_path / "manifest.csv", tmp_path / "lungs.tflite"
    manifest.write_text(f"{columns}\na.png,train{train}\nb.png,test{others}\n")
    assert locate_lungs.main(["--data", str(manifest), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not out.exists()
