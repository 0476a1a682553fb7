from __future__ import annotations

import csv
from pathlib import Path

import pytest

from covidnet_lite.cases import read_cases
from training import leave_one_out, left_out

RECIPE = """
backbone = "EfficientNetLite0"
weights = "none"
side = 32
blocks = 3
labels = ["clear", "clouded"]
epochs = 1
batch_size = 8
warmup_epochs = 0
decode_side = 96
[quantisation_aware]
epochs = 1
calibration_images = 8
"""


@pytest.fixture
def hospitals(chests: Path) -> Path:
    """The drawn chests, dealt to two hospitals, patient by patient."""
    manifest = chests / "manifest.csv"
    head, *rows = manifest.read_text().splitlines()
    dealt = [row.replace(",drawn,", f",{'north' if i % 16 < 8 else 'south'},") for i, row in enumerate(rows)]
    manifest.write_text("\n".join([head, *dealt]) + "\n")
    return manifest


def arguments(manifest: Path, folder: Path, *more: str) -> list[str]:
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE)
    return ["--data", str(manifest), "--recipe", str(recipe), "--out", str(folder / "runs"), *more]


def test_each_source_is_told_by_a_network_that_never_saw_it(hospitals: Path, tmp_path: Path) -> None:
    assert leave_one_out.main(arguments(hospitals, tmp_path)) == 0
    path = tmp_path / "runs/tiny.left_out.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["left_out"] for row in rows} == {"north", "south"}
    for row in rows:
        assert row["source"] == row["left_out"] or row["split"] == "test"
        assert float(row["clear"]) + float(row["clouded"]) == pytest.approx(1, abs=1e-4)
    seen = (tmp_path / "runs/tiny.without.north/manifest.csv").read_text()
    assert "south" in seen
    assert "north" not in seen
    assert set(left_out.read(path)) == {"north", "south"}
    made = tmp_path / "runs/tiny.without.north/tiny.without.north_int8.tflite"
    before = made.stat().st_mtime_ns
    assert leave_one_out.main(arguments(hospitals, tmp_path, "--sources", "north")) == 0
    assert made.stat().st_mtime_ns == before
    assert set(left_out.read(path)) == {"north", "south"}, "what was told of the others stays"


def test_without_splits_nothing_that_was_trained_on_is_told(
    hospitals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = hospitals.read_text().splitlines()
    assert head.endswith(",split")
    hospitals.write_text("\n".join([head.removesuffix(",split"), *(row.rpartition(",")[0] for row in rows)]) + "\n")
    assert leave_one_out.main(arguments(hospitals, tmp_path, "--sources", "north", "--quick")) == 0, (
        capsys.readouterr().err
    )
    with (tmp_path / "runs/tiny.quick.left_out.csv").open() as file:
        others = {row["file"] for row in csv.DictReader(file) if row["source"] != "north"}
    seen = read_cases(tmp_path / "runs/tiny.quick.without.north/manifest.csv")
    assert others == {c.path.name for c in seen if c.split == "test"} != set()


def test_a_quick_run_is_no_full_one(hospitals: Path, tmp_path: Path) -> None:
    assert leave_one_out.main(arguments(hospitals, tmp_path, "--sources", "north", "--quick")) == 0
    assert (tmp_path / "runs/tiny.quick.left_out.csv").is_file()
    folder = tmp_path / "runs/tiny.quick.without.north"
    assert [path.name for path in folder.glob("*.tflite")] == ["tiny.quick.without.north_float32.tflite"]
    assert not (tmp_path / "runs/tiny.without.north").exists()


def test_a_source_that_is_not_there_is_said(
    hospitals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave_one_out.main(arguments(hospitals, tmp_path, "--sources", "west")) == 1
    assert "west: no such source; there are north, south" in capsys.readouterr().err


def test_one_source_cannot_be_left_out(chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave_one_out.main(arguments(chests / "manifest.csv", tmp_path)) == 1
    assert "needs two at least" in capsys.readouterr().err
