from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import DatasetError
from training import dataset

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("clear", "clouded")


def test_a_sound_data_set_has_no_problems(chests: Path) -> None:
    assert dataset.problems(read_dataset(chests), LABELS) == []


def test_every_problem_is_reported_before_the_first_step(chests: Path) -> None:
    cases = read_dataset(chests)
    (chests / "3.png").unlink()
    shutil.copyfile(chests / "4.png", chests / "5.png")
    cases[8] = replace(cases[8], label="fracture")
    cases[10] = replace(cases[10], split="test", patient=cases[0].patient)
    cases[12] = replace(cases[12], split="tran")
    with pytest.raises(DatasetError) as caught:
        dataset.check(cases, LABELS)
    message = str(caught.value)
    assert "3.png: no such file" in message
    assert "label 'fracture' on 1 images" in message
    assert "patient p0 is in test and train" in message
    assert "split 'tran'" in message
    assert "5.png" in message
    assert "repeated" in message


def test_ignored_labels_are_no_problem(chests: Path) -> None:
    cases = [replace(c, label="other") if c.label == "clear" else c for c in read_dataset(chests)]
    assert dataset.problems(cases, ("clouded",), ignore=("other",)) == []


def test_splitting_keeps_patients_together_and_every_label_in_every_split() -> None:
    cases = [
        LabelledImage(Path(f"{label}{p}_{i}.png"), label, f"{label}{p}", "h")
        for label in LABELS
        for p in range(40)
        for i in range(3)
    ]
    split = dataset.split_by_patient(cases, seed=1)
    of_patient: dict[str, set[str]] = {}
    for case in split:
        of_patient.setdefault(case.patient, set()).add(case.split)
    assert all(len(s) == 1 for s in of_patient.values())
    counts = Counter((c.label, c.split) for c in split)
    assert counts["clear", "train"] == 84
    assert min(counts[label, s] for label in LABELS for s in dataset.SPLITS) >= 12
    assert split == dataset.split_by_patient(cases, seed=1)
    assert split != dataset.split_by_patient(cases, seed=2)


def test_splits_that_are_given_stay(chests: Path) -> None:
    cases = read_dataset(chests)
    assert dataset.split_by_patient(cases, seed=0) == cases


def test_weights_level_labels_and_soften_sources() -> None:
    cases = [LabelledImage(Path(str(i)), "clear", source="big") for i in range(90)]
    cases += [LabelledImage(Path("x"), "clear", source="small") for _ in range(10)]
    cases += [LabelledImage(Path("y"), "clouded", source="big") for _ in range(20)]
    weights = dataset.case_weights(cases, balance=0.5, source_weights={})
    assert weights.mean() == pytest.approx(1)
    assert weights[:100].sum() == pytest.approx(weights[100:].sum(), rel=1e-4)
    assert weights[95] / weights[0] == pytest.approx(3, rel=1e-4)  # the root of 90 / 10
    even = dataset.case_weights(cases, balance=1.0, source_weights={"small": 0.5})
    assert even[90:100].sum() / even[:90].sum() == pytest.approx(0.5, rel=1e-4)


def test_unreadable_images_are_all_named(chests: Path) -> None:
    (chests / "1.png").write_bytes(b"not a picture")
    (chests / "2.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"(?s)1\.png.*2\.png"):
        dataset.decode(read_dataset(chests), 96)


def test_a_file_that_cannot_be_read_costs_only_itself(chests: Path) -> None:
    (chests / "1.png").write_bytes(b"not a picture")
    films, broken = dataset.read_images(read_dataset(chests), 48)
    assert len(films) == 47
    assert len(broken) == 1
    assert "1.png" in broken[0]
    assert films[0].size == (96, 96)
    assert films[0].image.size == (48, 48)


def test_copies_join_patients_and_held_out_sources_go_to_test() -> None:
    cases = [LabelledImage(Path(f"{i}.png"), LABELS[i % 2], f"p{i}", "ab"[i // 30]) for i in range(60)]
    pairs = [(i, i + 1) for i in range(0, 20)]
    split = dataset.split_without_leaks(cases, pairs, seed=1, hold_out=["b"])
    assert {c.split for c in split[30:]} == {"test"}
    assert len({c.split for c in split[:21]}) == 1
    assert {c.split for c in split[:30]} > {"train"}
    assert [c.patient for c in split] == [c.patient for c in cases]
    joined = dataset.split_without_leaks(cases, [(0, 45)], seed=1, hold_out=["b"])
    assert joined[0].split == "test"
    with pytest.raises(DatasetError, match=r"no image is from c; sources are a, b"):
        dataset.split_without_leaks(cases, [], seed=1, hold_out=["c"])


def test_the_command_reports_goes_on_and_writes_what_was_asked(
    chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chests / "7.png").write_bytes(b"not a picture")
    shutil.copyfile(chests / "4.png", chests / "10.png")
    out = tmp_path / "out"
    page, figures, manifest = out / "page.html", out / "figures.json", out / "manifest.csv"
    command = [str(chests), "--page", str(page), "--json", str(figures), "--split-into", str(manifest)]
    assert dataset.main(command) == 0
    printed = capsys.readouterr().out
    assert "48 images of 24 patients" in printed
    assert "12  clear, drawn, train" in printed
    assert "7.png: not an image format" in printed
    assert "10.png; keep one" in printed
    assert "4.png and 10.png (1.00 alike)" in printed
    assert "Cramer's V 0.00" in printed
    assert page.read_text().count("<img") == 47
    result = json.loads(figures.read_text())
    assert sum(row[-1] for row in result["counts"]) == 48
    dealt = {c.path.name: c.split for c in read_dataset(manifest)}
    assert len(dealt) == 47
    assert dealt["4.png"] == dealt["10.png"]


def test_where_nothing_can_be_read_there_is_a_report_and_no_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert dataset.main([str(tmp_path), "--split-into", str(tmp_path / "m.csv")]) == 1
    told = capsys.readouterr()
    assert "a.png: the file is empty" in told.out
    assert "Look turned" not in told.out
    assert "no readable image" in told.err
    assert not (tmp_path / "m.csv").exists()


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dataset.main([str(tmp_path / "none")]) == 1
    assert "no such manifest or folder" in capsys.readouterr().err


def test_looking_needs_neither_keras_nor_tensorflow() -> None:
    code = "import sys; from training import dataset; from training.data import duplicates, suspicious_images, confounding, thumbnails; print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def _films(counts: dict[tuple[str, str], int], split: str = "train") -> list[LabelledImage]:
    return [
        LabelledImage(Path(f"{label}{source}{i}"), label, source=source, split=split)
        for (label, source), n in counts.items()
        for i in range(n)
    ]


def test_a_label_of_one_source_is_told_where_other_labels_come_from_elsewhere() -> None:
    cases = _films({("clear", "north"): 50, ("clear", "south"): 50, ("clouded", "south"): 50})
    assert dataset.single_source_labels(cases, LABELS) == {"clouded": "south"}
    assert dataset.single_label_sources(cases, LABELS) == {"north": "clear"}
    told = dataset.source_contrasts(cases, LABELS)
    assert len(told) == 2
    assert "films labelled clouded are of south" in told[0]
    assert "films of north are labelled clear" in told[1]


def test_a_few_films_from_elsewhere_hide_no_label_of_one_source() -> None:
    cases = _films({("clear", "north"): 50, ("clouded", "south"): 98, ("clouded", "north"): 2})
    assert dataset.single_source_labels(cases, LABELS) == {"clear": "north", "clouded": "south"}
    assert dataset.single_label_sources(cases, LABELS) == {"north": "clear", "south": "clouded"}


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {("clear", "north"): 9},
        {("clear", "north"): 50, ("clouded", "north"): 50},  # one hospital for all labels, as it should be
        {("clear", "north"): 99, ("clouded", "north"): 50, ("clear", "south"): 1},
        {("clear", ""): 50, ("clouded", ""): 50},
        {("clear", "north"): 50, ("clouded", "north"): 30, ("clear", "south"): 20, ("clouded", "south"): 40},
        {("clear", "north"): 50, ("clouded", "north"): 50, ("ignored", "south"): 50},
    ],
)
def test_contrasts_within_sources_are_no_reason_to_warn(counts: dict[tuple[str, str], int]) -> None:
    cases = _films(counts)
    assert dataset.single_source_labels(cases, LABELS) == {}
    if ("clear", "south") not in counts or counts["clear", "south"] > 1:
        assert dataset.source_contrasts(cases, LABELS) == []


def test_films_for_tests_alone_do_not_count_as_taught() -> None:
    cases = _films({("clear", "north"): 50, ("clouded", "north"): 50})
    assert dataset.source_contrasts(cases + _films({("clouded", "south"): 50}, "test"), LABELS) == []
    assert dataset.source_contrasts(cases + _films({("clouded", "south"): 50}, ""), LABELS) != []


def test_the_command_warns_of_labels_that_a_source_gives_away(chests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = chests / "manifest.csv"
    assert dataset.main([str(chests)]) == 0
    assert "Labels that a source gives away: none" in capsys.readouterr().out
    lines = [
        line.replace(",drawn,", ",elsewhere,") if ",clouded," in line else line
        for line in manifest.read_text().splitlines()
    ]
    manifest.write_text("\n".join(lines) + "\n")
    assert dataset.main([str(chests)]) == 0
    assert "Nearly all films labelled clouded are of elsewhere" in capsys.readouterr().out
