"""Kaggle's download, made up: a few DICOM files and the two tables."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dicoms import make_dicom
from PIL import Image

from covidnet_lite import files
from covidnet_lite.dataset import read_dataset
from training import dataset, siim_challenge

pytest.importorskip("pydicom")

GRADES = tuple(siim_challenge.GRADES)
NEGATIVE, TYPICAL, INDETERMINATE, ATYPICAL = GRADES
BOX = "[{'x': 36.0, 'y': 30.0, 'width': 90.0, 'height': 150.0}]"


def picture(seed: int) -> npt.NDArray[np.uint16]:
    """Clouds of 12 bits, 300 high and 360 wide, like no other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 28)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((360, 300), Image.Resampling.BICUBIC)).astype(np.uint16) * 16


class Download:
    """A download that grows by a film at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.studies: list[list[str]] = []
        self.images: list[list[str]] = []

    def add(
        self,
        name: str,
        grade: str = NEGATIVE,
        boxes: str = "",
        study: str = "",
        content: bytes | None = None,
        **fields: Any,
    ) -> Path:
        """One film; ``content`` in place of a DICOM file, ``fields`` of its header."""
        if not study:
            study = f"study-{name}"
            self.studies.append([f"{study}_study", *(str(int(column == grade)) for column in GRADES)])
        self.images.append([f"{name}_image", boxes, "opacity 1 0 0 9 9" if boxes else "none 1 0 0 1 1", study])
        path = self.folder / "train" / study / "series" / f"{name}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"PatientID": f"patient-{name}", "StudyInstanceUID": "1.2.3.4", "PatientName": "Doe^Jane", **fields}
        path.write_bytes(make_dicom(picture(len(self.images)), **header) if content is None else content)
        self.tables()
        return path

    def tables(self) -> None:
        for table, columns, rows in (
            (siim_challenge.STUDIES, ["id", *GRADES], self.studies),
            (siim_challenge.IMAGES, ["id", "boxes", "label", "StudyInstanceUID"], self.images),
        ):
            with (self.folder / table).open("w", newline="") as file:
                csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def download(tmp_path: Path) -> Download:
    return Download(tmp_path / "kaggle")


def convert(download: Download, *options: str) -> int:
    return siim_challenge.main([str(download.folder), str(out(download)), *options])


def out(download: Download) -> Path:
    return download.folder.parent / "films"


def manifest(download: Download) -> dict[str, dict[str, str]]:
    with (out(download) / "manifest.csv").open(newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def test_grades_become_labels_and_boxes_fractions(download: Download) -> None:
    download.add("a", NEGATIVE)
    download.add(
        "b",
        TYPICAL,
        "[{'x': 36.0, 'y': 30, 'width': 90, 'height': 150}, {'x': 180, 'y': 150, 'width': 400, 'height': 150}]",
    )
    download.add("c", INDETERMINATE, BOX)
    download.add("d", ATYPICAL, BOX)
    assert convert(download) == 0
    rows = manifest(download)
    assert {name: (row["label"], row["appearance"]) for name, row in rows.items()} == {
        "a": ("normal", "negative"),
        "b": ("covid", "typical"),
        "c": ("indeterminate", "indeterminate"),
        "d": ("pneumonia", "atypical"),
    }
    assert rows["a"]["opacity_boxes"] == ""
    assert rows["b"]["opacity_boxes"] == "0.100 0.100 0.350 0.600;0.500 0.500 1.000 1.000"  # cut off at the edge
    assert {(row["width0"], row["height0"]) for row in rows.values()} == {("360", "300")}


def test_the_manifest_is_one_that_training_takes(download: Download) -> None:
    for i in range(4):
        download.add(f"a{i}", GRADES[i], BOX if i else "")
    assert convert(download) == 0
    lines = (out(download) / "manifest.csv").read_text().splitlines()
    assert lines[0] == (
        "file,sha256,label,appearance,patient_id,source,split,width0,height0,opacity_boxes,image_id,licence"
    )
    cases = read_dataset(out(download))
    assert dataset.problems(cases, ("normal", "covid", "pneumonia"), ignore=("indeterminate",)) == []
    assert {case.split for case in cases} <= set(dataset.SPLITS)
    assert {case.source for case in cases} == {"siim_bimcv"}


@pytest.mark.parametrize(("side", "size"), [("256", (307, 256)), ("320", (360, 300))])
def test_films_are_gray_jpegs_of_the_side_asked_for_and_never_enlarged(
    download: Download, side: str, size: tuple[int, int]
) -> None:
    download.add("a", PhotometricInterpretation="MONOCHROME1")
    assert convert(download, "--side", side) == 0
    with Image.open(out(download) / manifest(download)["a"]["file"]) as film:
        assert (film.format, film.mode, film.size) == ("JPEG", "L", size)
        shown = np.asarray(film.resize((36, 30)), float)
    stored = np.asarray(Image.fromarray((picture(1) // 16).astype(np.uint8)).resize((36, 30)), float)
    assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] < -0.98  # as the reader has it: bright is dense


def test_a_side_too_small_for_opacities_is_refused(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        convert(download, "--side", "255")
    assert "lost below 256 pixels" in capsys.readouterr().err


def test_nothing_of_a_header_is_in_a_name_or_in_the_manifest(download: Download) -> None:
    download.add("d5ba6ad9", PatientID="Doe-1950", SOPInstanceUID="1.2.840.99", AccessionNumber="ACC7")
    assert convert(download) == 0
    written = [path.relative_to(out(download)).as_posix() for path in out(download).rglob("*")]
    everything = " ".join(written) + (out(download) / "manifest.csv").read_text()
    for secret in ("Doe", "1950", "1.2.840", "1.2.3.4", "ACC7", "study-d"):
        assert secret not in everything
    assert "d5ba6ad9" not in " ".join(written)  # the challenge names an image by its SOPInstanceUID
    with Image.open(out(download) / manifest(download)["d5ba6ad9"]["file"]) as film:
        assert not film.getexif()
        assert "comment" not in film.info


def test_a_bad_file_costs_only_itself_and_is_told(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    download.add("good")
    download.add("empty", content=b"")
    download.add("text", content=b"no film" * 99)
    cut = download.add("cut")
    cut.write_bytes(cut.read_bytes()[:-5000])
    headless = download.add("headless")
    headless.write_bytes(headless.read_bytes()[:200])
    download.add("hand", BodyPartExamined="HAND")
    download.add("gone").unlink()
    assert convert(download) == 0
    told = capsys.readouterr()
    assert list(manifest(download)) == ["good"]
    for name in ("empty", "text", "cut", "headless", "hand", "gone"):
        assert sum(f"{name}.dcm: " in line or line.startswith(f"{name}: ") for line in told.err.splitlines()) == 1, name
    assert "6 with something wrong" in told.out


def test_rows_that_contradict_each_other_are_told(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    download.add("good")
    download.add("boxed", NEGATIVE, BOX)
    download.add("outside", TYPICAL, "[{'x': 900, 'y': 30, 'width': 90, 'height': 150}]")
    download.add("flat", TYPICAL, "[{'x': 90, 'y': 30, 'width': 0, 'height': 150}]")
    for i, boxes in enumerate(
        (
            "[{",
            "[1]",
            "[{'x': 1}]",
            "{}[",
            "[{'x': 'a', 'y': 1, 'width': 1, 'height': 1}]",
            "[{'x': 1e999, 'y': 1, 'width': 1, 'height': 1}]",
            "7",
            f"[{{'x': {10**400}, 'y': 1, 'width': 1, 'height': 1}}]",
            "__import__('os')",
        )
    ):
        download.add(f"torn{i}", TYPICAL, boxes)
    download.add("twice", TYPICAL, BOX)
    download.add("none", "")
    download.studies[-2][1] = "1"
    download.images.append(["stray_image", "", "", "nowhere"])
    download.images.append(download.images[0])
    download.tables()
    assert convert(download) == 0
    told = capsys.readouterr().err
    assert list(manifest(download)) == ["good"]
    for name in ("boxed", "outside", "flat", *(f"torn{i}" for i in range(9)), "twice", "none", "stray"):
        assert sum(f"{name}.dcm: " in line or line.startswith(f"{name}: ") for line in told.splitlines()) == 1, name
    assert "good: stands in train_image_level.csv more than once" in told


def test_a_film_without_a_box_in_a_study_with_opacities_is_left_out(
    download: Download, capsys: pytest.CaptureFixture[str]
) -> None:
    download.add("a", TYPICAL, BOX)
    download.add("b", study="study-a")
    assert convert(download) == 0
    assert list(manifest(download)) == ["a"]
    assert "1 without a box" in capsys.readouterr().out


def test_a_patient_is_in_one_split_with_three_films_at_most(download: Download) -> None:
    for i in range(40):
        for j in range(1 + i % 5):
            download.add(f"{i:02d}{j}", GRADES[i % 2], BOX if i % 2 else "", PatientID=" " * j + f"patient-{i}")
    assert convert(download) == 0
    splits: dict[str, list[str]] = defaultdict(list)
    for row in manifest(download).values():
        splits[row["patient_id"]].append(row["split"])
    assert len(splits) == 40
    assert all(len(set(of_patient)) == 1 for of_patient in splits.values())
    assert Counter(len(of_patient) for of_patient in splits.values()) == {1: 8, 2: 8, 3: 24}
    patients = Counter(of_patient[0] for of_patient in splits.values())
    assert (patients["train"], patients["val"], patients["test"]) == (28, 4, 8)


def test_films_without_a_patient_go_by_study(download: Download) -> None:
    download.add("a", PatientID="")
    download.add("b", study="study-a", PatientID=None)
    download.add("c", PatientID="")
    assert convert(download) == 0
    patients = {name: row["patient_id"] for name, row in manifest(download).items()}
    assert patients["a"] == patients["b"] != patients["c"]


def test_copies_are_dropped_and_join_their_patients(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(30):
        download.add(f"n{i:02d}")
    for i in range(30):
        original = picture(i + 1)
        content = make_dicom(((original.astype(float) / 4095) ** 0.8 * 60000).astype(np.uint16), PatientID=f"other-{i}")
        download.add(f"p{i:02d}", content=content)
        download.add(f"q{i:02d}", PatientID=f"other-{i}")
    assert convert(download) == 0
    rows = manifest(download)
    assert sorted(rows) == [f"{kind}{i:02d}" for kind in "nq" for i in range(30)]
    assert all(rows[f"n{i:02d}"]["split"] == rows[f"q{i:02d}"]["split"] for i in range(30))
    assert "30 copies" in capsys.readouterr().out


def test_what_an_interrupted_run_made_is_not_made_again(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(12):
        download.add(f"a{i:02d}")
    assert convert(download) == 0
    whole = (out(download) / "manifest.csv").read_bytes()
    (out(download) / "manifest.csv").unlink()
    images = sorted((out(download) / "images").iterdir())
    assert len(images) == 12
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:-900])
    with Image.open(images[2]) as film:
        film.reduce(2).save(images[2])
    read, seen = siim_challenge.read_image, []

    def watched(case: Any, side: int) -> Any:
        seen.append(case.path.stem)
        return read(case, side)

    monkeypatch.setattr(siim_challenge, "read_image", watched)
    assert convert(download) == 0
    assert len(seen) == 3
    assert (out(download) / "manifest.csv").read_bytes() == whole


def test_a_disk_that_is_full_leaves_no_half_a_film(
    download: Download, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(6):
        download.add(f"a{i:02d}")
    real, count = files.os.replace, 0

    def full(*args: Any) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", full)
        assert convert(download) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len(list((out(download) / "images").iterdir())) == 3  # and no temporary ones
    assert convert(download) == 0
    assert len(manifest(download)) == 6


def test_a_second_run_keeps_every_patient_where_it_was(download: Download) -> None:
    for i in range(20):
        download.add(f"m{i:02d}")
    missing = [download.add(f"a{i:02d}") for i in range(10)]
    contents = [path.read_bytes() for path in missing]
    for path in missing:
        path.write_bytes(b"")
    assert convert(download, "--seed", "1") == 0
    before = {name: row["split"] for name, row in manifest(download).items()}
    assert len(before) == 20
    for path, content in zip(missing, contents):
        path.write_bytes(content)
    assert convert(download, "--seed", "2") == 0
    after = {name: row["split"] for name, row in manifest(download).items()}
    assert len(after) == 30
    assert {name: after[name] for name in before} == before


def test_the_seed_decides_the_splits(download: Download) -> None:
    for i in range(20):
        download.add(f"a{i:02d}")
    dealt = []
    for seed in ("1", "1", "2"):
        assert convert(download, "--seed", seed) == 0
        dealt.append((out(download) / "manifest.csv").read_bytes())
        (out(download) / "manifest.csv").unlink()
    assert dealt[0] == dealt[1] != dealt[2]


def test_a_download_that_is_none_is_an_error(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(download) == 1
    assert "train_study_level.csv: no such file" in capsys.readouterr().err
    download.add("a", content=b"")
    assert convert(download) == 1
    assert "not one of its 1 films could be made" in capsys.readouterr().err
    assert not (out(download) / "manifest.csv").exists()
    (download.folder / siim_challenge.IMAGES).write_text("id,label\n")
    assert convert(download) == 1
    assert "has no column 'boxes'" in capsys.readouterr().err
    (download.folder / siim_challenge.STUDIES).write_bytes(b"\xff\xfe\x00")
    assert convert(download) == 1
    assert "error: " in capsys.readouterr().err


def test_a_missing_decoder_stops_at_once(
    download: Download, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from covidnet_lite.errors import MissingExtraError

    def without(*_: Any) -> None:
        raise MissingExtraError("no decoder is installed")

    download.add("a")
    monkeypatch.setattr(siim_challenge, "read_image", without)
    assert convert(download) == 1
    assert "error: no decoder is installed" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_an_error(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    download.add("a")
    out(download).write_text("a file")
    assert convert(download) == 1
    assert "cannot be written to" in capsys.readouterr().err
