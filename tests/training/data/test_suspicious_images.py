from __future__ import annotations

from pathlib import Path

import pytest
from conftest import drawn_chest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from covidnet_lite.dataset import LabelledImage, read_dataset
from training import dataset
from training.data.suspicious_images import burnt_in, laterals, orientation, strokes


def chest(seed: int) -> Image.Image:
    """A drawn chest whose lungs are higher than the middle, so that it has an upper end."""
    return drawn_chest(seed, opaque=False).crop((0, 10, 96, 96))


def test_the_film_that_is_inverted_and_the_one_that_is_turned_are_found() -> None:
    images = [chest(seed) for seed in range(60)]
    images[7] = ImageOps.invert(images[7])
    images[9] = images[9].transpose(Image.Transpose.ROTATE_90)
    result = orientation(images, [f"p{i}" for i in range(60)])
    assert result is not None
    assert {(s.index, s.kind) for s in result.suspicions} == {(7, "inverted"), (9, "turned")}
    assert "turned left" in next(s.reason for s in result.suspicions if s.kind == "turned")
    assert min(result.recall.values()) > 0.9
    assert result.flagged == pytest.approx(2 / 60)


def test_too_few_patients_teach_nothing() -> None:
    assert orientation([chest(seed) for seed in range(60)], ["the same"] * 60) is None
    assert orientation([], []) is None


def test_real_films_are_told_from_their_turned_selves(cxr: Path) -> None:
    cases = read_dataset(cxr)[::4]
    result = orientation(dataset.decode(cases, 64), [case.patient for case in cases])
    assert result is not None
    assert min(result.recall.values()) > 0.9
    assert result.flagged < 0.02


@pytest.mark.parametrize(
    ("view", "kind"), [("lateral", "lateral"), ("LL", "lateral"), ("PA", None), ("AP supine", None)]
)
def test_a_lateral_view_is_one_that_the_manifest_names(view: str, kind: str | None) -> None:
    result = laterals([LabelledImage(Path("a.png"), fields={"view": view})], [chest(0)])
    assert [s.kind for s in result] == ([kind] if kind else [])


def test_a_film_without_symmetry_is_hinted_at_only_where_no_view_is_named() -> None:
    images = [chest(seed) for seed in range(60)]
    images[5] = Image.linear_gradient("L").rotate(90).resize((96, 96))
    cases = [LabelledImage(Path(f"{i}.png")) for i in range(60)]
    assert [s.index for s in laterals(cases, images)] == [5]
    cases[5] = LabelledImage(Path("5.png"), fields={"view": "AP"})
    assert laterals(cases, images) == []


def test_text_is_found_and_one_letter_or_none_is_not() -> None:
    plain = drawn_chest(0, opaque=False, side=320)
    plain.paste(20, (0, 0, 320, 50))
    lettered, marked = plain.copy(), plain.copy()
    font = ImageFont.load_default(16)
    ImageDraw.Draw(lettered).text((20, 15), "PORTABLE", fill=255, font=font)
    ImageDraw.Draw(marked).text((20, 15), "L", fill=255, font=font)
    assert [s.index for s in burnt_in([plain, lettered, marked])] == [1]
    assert strokes(plain) == 0
    assert strokes(marked) == 1
