from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import drawn_chest
from PIL import Image

from covidnet_lite.cases import Case
from covidnet_lite.errors import DatasetError
from training import copies

CASES = [
    Case(Path("a.png"), "covid", "p", "", "train"),
    Case(Path("b.png"), "covid", "q", "", "test"),
    Case(Path("c.png"), "covid", "p", "", "train"),
]


def pair(i: int, j: int) -> copies.Pair:
    return copies._pair(CASES[i], CASES[j], 0.91234)


def test_pairs_across_splits_and_patients_are_counted() -> None:
    found = copies.copies(CASES, [pair(0, 1), pair(0, 2)])
    assert {name: f["value"] for name, f in found.items()} == {
        "images compared": 3,
        "pairs of copies": 2,
        "pairs in different splits": 1,
        "pairs under two patients": 1,
    }
    assert pair(0, 1)["files"] == ["a.png", "b.png"]
    assert pair(0, 1)["likeness"] == 0.9123


def test_a_copy_of_no_split_is_across_none() -> None:
    found = [{**pair(0, 1), "splits": ["train", ""]}, {**pair(0, 1), "splits": ["train", "train"]}]
    assert [copies.across_splits(p) for p in [*found, pair(0, 1)]] == [False, False, True]
    assert copies.copies(CASES, found)["pairs in different splits"]["value"] == 0


def test_without_splits_or_patients_it_is_not_measured() -> None:
    found = copies.copies([replace(c, split="", patient="") for c in CASES], [])
    assert found["pairs in different splits"]["why"] == "the data has no splits"
    assert found["pairs under two patients"]["why"] == "no patient is named"


def test_a_copy_of_a_film_is_found(film_image: Image.Image, tmp_path: Path) -> None:
    film_image.resize((400, 400)).save(tmp_path / "film.png")
    film_image.resize((300, 300)).save(tmp_path / "again.jpg", quality=60)
    drawn_chest(0, opaque=False).save(tmp_path / "other.png")
    given = [
        Case(tmp_path / "film.png", split="train"),
        Case(tmp_path / "other.png"),
        Case(tmp_path / "again.jpg", split="test"),
    ]
    (found,) = copies.pairs(given)
    assert found["files"] == ["film.png", "again.jpg"]
    assert found["splits"] == ["train", "test"]


def test_an_unreadable_radiograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(DatasetError, match=r"x\.png"):
        copies.pairs([Case(tmp_path / "x.png")])
