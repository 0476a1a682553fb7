from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from covidnet_lite import cli, files
from covidnet_lite.dataset import LabelledImage, manifest_text, read_dataset
from covidnet_lite.errors import OutputError, ReviewError
from covidnet_lite.web.review import COLUMNS, Review, ReviewStore, check, export, keep_image

LABELS = ("normal", "pneumonia", "covid")
REVIEW = Review(
    "d1", "a.png", "2026-01-01T00:00:00+00:00", "answered", "normal", "{}", "nano 2", "f0", "agree", "normal"
)


def test_reviews_are_there_after_a_new_start_and_the_last_on_an_image_counts(tmp_path: Path) -> None:
    path = tmp_path / "deep/reviews.sqlite"
    ReviewStore(path).add(REVIEW)
    ReviewStore(path).add(replace(REVIEW, image="d2"))
    ReviewStore(path).add(replace(REVIEW, verdict="disagree", label="covid", comment="it's 'quoted'; --"))
    latest = ReviewStore(path).latest()
    assert [(r.image, r.label) for r in latest] == [("d2", "normal"), ("d1", "covid")]
    assert latest[1].comment == "it's 'quoted'; --"


def test_a_file_that_is_something_else_is_not_written_to(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    (tmp_path / "text.sqlite").write_text("dear diary")
    for name in ("other.sqlite", "text.sqlite"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(OutputError, match=name):
            ReviewStore(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": "maybe"}, "maybe"),
        ({"label": "flu"}, "flu"),
        ({"verdict": "disagree"}, "contradict"),
        ({"label": "covid"}, "contradict"),
        ({"comment": "x" * 4001}, "4000"),
        ({"patient": "x" * 101}, "100"),
        ({"reviewer": "x" * 101}, "100"),
        ({"settles": "no"}, "settles"),
    ],
)
def test_a_review_that_makes_no_sense_is_refused(changes: dict[str, str], words: str) -> None:
    check(REVIEW, LABELS)
    with pytest.raises(ReviewError, match=words):
        check(replace(REVIEW, **changes), LABELS)


@pytest.mark.parametrize(
    ("verdict", "label", "fits"),
    [
        ("agree", "covid", True), ("agree", "pneumonia", True), ("agree", "", True), ("agree", "normal", False),
        ("disagree", "normal", True), ("disagree", "", True), ("disagree", "covid", False),
    ],
)  # fmt: skip
def test_with_an_answer_of_several_labels_one_agrees_by_naming_one_or_none(
    verdict: str, label: str, fits: bool
) -> None:
    review = replace(REVIEW, status="narrowed", answer="pneumonia|covid", verdict=verdict, label=label)
    if fits:
        check(review, ("normal", "pneumonia", "covid"))
        return
    with pytest.raises(ReviewError, match="contradict"):
        check(review, ("normal", "pneumonia", "covid"))


def test_only_what_has_a_label_and_a_picture_is_exported(tmp_path: Path) -> None:
    Image.new("L", (80, 80)).save(tmp_path / "d1.png")
    reviews = [
        replace(REVIEW, kept="d1.png", patient="p"),
        replace(REVIEW, image="d2", kept="gone.png"),
        replace(REVIEW, image="d3"),
        replace(REVIEW, image="d4", kept="d1.png", label="", answer=""),
    ]
    exported_images = export(reviews, tmp_path, "ward 7")
    assert (
        len(exported_images.images),
        exported_images.not_kept,
        exported_images.without_label,
        exported_images.disagreed,
    ) == (1, 2, 1, 0)
    (tmp_path / "manifest.csv").write_text(manifest_text(exported_images.images))
    (case,) = read_dataset(tmp_path / "manifest.csv")
    assert (case.path, case.label, case.patient, case.source) == (tmp_path / "d1.png", "normal", "p", "ward 7")
    assert export(reviews, None, "x").images == []


def test_each_reviewer_keeps_a_review_of_an_image(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path / "reviews.sqlite")
    for reviewer, comment in (("A", "1"), ("B", "2"), ("A", "3")):
        store.add(replace(REVIEW, reviewer=reviewer, comment=comment))
    assert [(r.reviewer, r.comment) for r in store.latest()] == [("B", "2"), ("A", "3")]


def test_an_image_on_which_reviewers_disagree_is_left_out_until_one_settles_it(tmp_path: Path) -> None:
    Image.new("L", (80, 80)).save(tmp_path / "d1.png")
    a = replace(REVIEW, kept="d1.png", reviewer="A")
    b = replace(a, reviewer="B", verdict="disagree", label="covid")
    assert export([a, replace(a, reviewer="B")], tmp_path, "x").disagreed == 0
    exported_images = export([a, b], tmp_path, "x")
    assert (exported_images.images, exported_images.disagreed) == ([], 1)
    settled = export([a, b, replace(b, reviewer="C", settles="yes")], tmp_path, "x")
    assert ([case.label for case in settled.images], settled.disagreed) == (["covid"], 0)
    again = export([a, b, replace(b, reviewer="C", settles="yes"), replace(a, reviewer="D")], tmp_path, "x")
    assert again.disagreed == 1


def test_a_file_from_before_there_were_reviewers_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "reviews.sqlite"
    old = [name for name in COLUMNS if name not in ("reviewer", "settles")]
    with sqlite3.connect(path) as database:
        database.execute(
            f"CREATE TABLE reviews (id INTEGER PRIMARY KEY, {', '.join(f'{n} TEXT NOT NULL' for n in old)})"
        )
        row = [getattr(REVIEW, name) for name in old]
        database.execute(f"INSERT INTO reviews ({', '.join(old)}) VALUES ({', '.join('?' * len(old))})", row)
        database.execute("PRAGMA user_version = 1")
    ReviewStore(path).add(replace(REVIEW, reviewer="A"))
    assert ReviewStore(path).latest() == [REVIEW, replace(REVIEW, reviewer="A")]


def test_without_an_answer_one_says_what_one_sees_and_not_whether_one_agrees() -> None:
    check(replace(REVIEW, status="unsure", answer="", verdict="", label="covid"), LABELS)
    with pytest.raises(ReviewError, match="verdict"):
        check(replace(REVIEW, verdict=""), LABELS)


def test_of_a_picture_only_its_pixels_are_kept(film_image: Image.Image, tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "Doe^Jane")
    film_image.save(tmp_path / "named.png", pnginfo=text)
    name = keep_image((tmp_path / "named.png").read_bytes(), "abc", tmp_path)
    assert name == "abc.png"
    assert b"Jane" in (tmp_path / "named.png").read_bytes()
    assert b"Jane" not in (tmp_path / name).read_bytes()
    assert Image.open(tmp_path / name).tobytes() == film_image.tobytes()


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_reviews_and_kept_pictures_are_for_the_user_alone(film_png: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path, keep = tmp_path / "new" / "reviews.sqlite", tmp_path / "keep"
        ReviewStore(path).add(REVIEW)
        keep_image(film_png.read_bytes(), "a" * 64, keep)
        assert (rights(path.parent), rights(path), rights(keep / f"{'a' * 64}.png")) == (0o700, 0o600, 0o600)
    finally:
        os.umask(before)


def test_reviews_that_others_could_read_no_longer_are(tmp_path: Path) -> None:
    path = tmp_path / "reviews.sqlite"
    ReviewStore(path).add(REVIEW)
    path.chmod(0o664)
    assert ReviewStore(path).latest() == [REVIEW]
    assert rights(path) == 0o600


def test_serve_tidies_the_folder_of_kept_pictures_and_closes_it_to_others(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir(0o755)
    leftover, kept = keep / f"{files.TEMPORARY}half", keep / "whole.png"
    for path in (leftover, kept):
        path.write_bytes(b"")
        path.chmod(0o644)
    os.utime(leftover, (0, 0))
    assert cli.main(["serve", "--model", "nano", "--keep", str(keep), "--port", "99999"]) != 0  # there is no such port
    assert not leftover.exists()
    assert (rights(keep), rights(kept)) == (0o700, 0o600)


def test_the_manifest_holds_no_formula_and_is_read_as_it_was(film_png: Path, tmp_path: Path) -> None:
    case = LabelledImage(film_png, "-normal", "=2+5", "@here", "")
    number = LabelledImage(film_png, "covid", "-17", "\thospital", "")
    path = tmp_path / "manifest.csv"
    path.write_bytes(manifest_text([case, number]).encode())
    rows = path.read_text().splitlines()[1:]
    assert rows[0].split(",")[1:4] == ["'-normal", "'=2+5", "'@here"]
    assert rows[1].split(",")[1:4] == ["covid", "-17", "'\thospital"]
    assert read_dataset(path) == [case, number]
