from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import covidnet_lite
from covidnet_lite.network import model as models

ROOT = Path(__file__).resolve().parent.parent


HELPERS = {"transfer.py"}  # no example, but what two of them share


def run(name: str, *args: object, timeout: float = 120) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, args)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    names = {p.name for p in (ROOT / "examples").glob("*.py")} - HELPERS
    with_own_tests = {name for name in names if Path(__file__).with_name(f"test_{name}").is_file()}
    assert [name for name in sorted(names - with_own_tests) if f'"{name}"' not in here] == []


@pytest.mark.parametrize("name", ["one_call.py", "heat_map.py", "folder_to_csv.py"])
def test_an_example_that_needs_to_be_told_something_says_what(name: str) -> None:
    process = subprocess.run([sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert f"python examples/{name} " in process.stderr
    assert "Traceback" not in process.stderr


def test_demo(film: Path, tmp_path: Path) -> None:
    out = run("demo.py", tmp_path)
    for word in ("answer", "read ", "run ", "sha256", "not a medical device"):
        assert word in out, word
    picture = np.asarray(Image.open(tmp_path / "radiograph.png"), int)
    film, overlay = picture[:, : picture.shape[1] // 2 - 4], picture[:, picture.shape[1] // 2 + 4 :]
    assert np.ptp(film, axis=2).max() == 0  # gray
    assert np.ptp(overlay, axis=2).max() > 50  # with colours over it


def test_one_call(film_png: Path) -> None:
    assert "film.png" in run("one_call.py", film_png)


def test_folder_to_csv(film_png: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    run("folder_to_csv.py", tmp_path, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert rows["bad.png"]["status"] == "failed"
    assert float(rows["film.png"]["normal"]) >= 0


def test_heat_map(film_png: Path, tmp_path: Path) -> None:
    run("heat_map.py", film_png, tmp_path / "map.png", "covid")
    assert Image.open(tmp_path / "map.png").mode == "RGB"


@pytest.mark.slow
def test_own_model(tmp_path: Path) -> None:
    out = run("own_model.py", tmp_path, timeout=400)
    match = re.search(r"held out: (\d+) of (\d+) right .*, (\d+) wrong", out)
    assert match, out
    right, held_out, wrong = map(int, match.groups())
    assert right / (right + wrong) > 0.95
    assert right / held_out > 0.8  # it may abstain from some
    assert "top-1 agreement" in out
    manifest = models.load(tmp_path / "mine.tflite").manifest
    assert manifest.labels == ("four", "seven", "zero")
    assert manifest.input.channels == 3
    assert set(manifest.outputs) == {"logits", "evidence", "embedding"}
    sheet = np.asarray(Image.open(tmp_path / "evidence.png"), int)
    for tile in np.split(sheet, len(manifest.labels), axis=1):
        assert np.ptp(tile, axis=2).max() > 50  # each digit has colours over it


@pytest.mark.slow
@pytest.mark.parametrize(("example", "channels"), [("vgg16.py", 1), ("mobilenet.py", 3)])
def test_transfer_learning(example: str, channels: int, chests: Path, tmp_path: Path) -> None:
    short = ("--side", 64, "--epochs", 1, "--weights", "none")
    # Random weights answer by a hair's breadth, so that int8 may agree or not.
    out = run(example, chests, tmp_path / "out", *short, "--min-agreement=0", timeout=400)
    for figure in ("size", "latency", "accuracy", "top-1 agreement", "on 12 images"):
        assert figure in out, figure
    network = tmp_path / "out" / Path(example).with_suffix(".tflite")
    manifest = models.load(network).manifest
    assert manifest.labels == ("clear", "clouded")
    assert (manifest.input.height, manifest.input.channels) == (64, channels)
    prediction = covidnet_lite.classify(chests / "0.png", model=network)
    assert set(prediction.probabilities) in ({"clear", "clouded"}, set())  # it may refuse: its weights are random
    assert ("evidence" in manifest.outputs) == (example == "vgg16.py")


def test_a_folder_without_splits_is_dealt(chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (chests / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        (tmp_path / "bare" / row["label"]).mkdir(parents=True, exist_ok=True)
        (chests / row["file"]).rename(tmp_path / "bare" / row["label"] / row["file"])
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import transfer

    cases, labels, manifest = transfer.radiographs(tmp_path / "bare", tmp_path)
    assert labels == ("clear", "clouded")
    assert {case.split for case in cases} == {"train", "val", "test"}
    with manifest.open() as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "val", "test"}
    inputs, targets = transfer.examples(cases, "test", labels, models.load("base").manifest.input)
    assert len(inputs) == len(targets) > 0
    assert set(targets) == {0, 1}


def test_without_a_connection_it_says_so_and_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import transfer

    def build(weights: str) -> str:
        if weights == "imagenet":
            raise Exception("URL fetch failure on https://example.org: None -- no route")
        return weights

    assert transfer.pretrained(build, "imagenet") == "none"
    assert "random weights" in capsys.readouterr().err
