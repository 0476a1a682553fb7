from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import drawn_chest

from convert.quantisation.synthetic import read_statistics
from convert.source.network import read_facts
from covidnet_lite.errors import DatasetError
from training import finetune
from training.fit import float_stage, int8_stage
from training.fit.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
backbone = "EfficientNetLite0"
weights = "none"
side = 32
labels = ["clear", "clouded"]
epochs = {epochs}
batch_size = 8
warmup_epochs = 0
decode_side = 96
[augment]
scale = 0.5
[quantisation_aware]
epochs = 1
calibration_images = 8
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(epochs=2))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_leaves_a_network_its_ranges_its_recipe_and_a_log(chests: Path, recipe: Path, tmp_path: Path) -> None:
    assert (
        finetune.main(["--data", str(chests), "--recipe", str(recipe), "--out", str(tmp_path / "runs"), "--quiet"]) == 0
    )
    folder = tmp_path / "runs/tiny"
    network = keras.models.load_model(folder / "tiny.keras")
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    assert network(np.zeros((1, 32, 32, 1), np.float32))["logits"].shape == (1, 2)
    statistics = read_statistics(folder / "tiny.keras") or {}
    assert statistics["stem"][0].shape == (32,)
    facts = read_facts(folder / "tiny.keras")
    assert facts["labels"] == ["clear", "clouded"]
    assert facts["input"]["height"] == 32
    assert json.loads((folder / "tiny.ranges.json").read_text())["stem_relu"][0] == 0
    assert (folder / "tiny.toml").read_text() == recipe.read_text()
    log = rows(folder / "tiny.csv")
    assert [(r["stage"], r["epoch"]) for r in log] == [("float.2020", "1"), ("float.2020", "2"), ("int8", "1")]
    assert all(float(r["val_loss"]) > 0 for r in log)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(chests: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(epochs=4))
    log = tmp_path / "runs/tiny/tiny.csv"
    asked = ["--data", str(chests), "--recipe", str(recipe), "--out", str(tmp_path / "runs"), "--quiet"]
    command = [sys.executable, str(ROOT / "training/finetune.py"), *asked]
    running = subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not log.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert log.exists()
    assert finetune.main(asked) == 0
    log_rows = [(r["stage"], int(r["epoch"])) for r in rows(log)]
    # A kill between the state and the log's line loses the line, never the epoch.
    assert set(log_rows) >= {("float.2020", 3), ("float.2020", 4), ("int8", 1)}
    assert (log.parent / "tiny.keras").is_file()


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda d: (d / "9.png").unlink(), "9.png: no such file"),
        (lambda d: (d / "9.png").write_bytes(b"x"), "9.png"),
        (lambda d: (d / "manifest.csv").write_text("image,label\n"), "no column 'file'"),
        (
            lambda d: (d / "manifest.csv").write_text("file,label,split\n0.png,clear,train\n"),
            "no image of clouded in the train split",
        ),
    ],
)
def test_a_broken_data_set_stops_it_with_one_line(
    chests: Path, recipe: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, breakage: object, message: str
) -> None:
    breakage(chests)  # type: ignore[operator]
    assert (
        finetune.main(["--data", str(chests), "--recipe", str(recipe), "--out", str(tmp_path / "runs"), "--quiet"]) == 1
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_the_shipped_recipe_is_the_one_its_checkpoint_was_made_with() -> None:
    recipes, checkpoints = ROOT / "training/recipes", ROOT / "training/checkpoints"
    for checkpoint in checkpoints.glob("*.keras"):
        assert read_recipe(checkpoints / f"{checkpoint.stem}.toml") == read_recipe(recipes / f"{checkpoint.stem}.toml")


@pytest.mark.slow
def test_a_run_goes_on_only_with_what_it_was_begun_with(chests: Path, recipe: Path, tmp_path: Path) -> None:
    begun, out = read_recipe(recipe), tmp_path / "runs"
    short = replace(begun, blocks=3, epochs=1, quantisation_aware=replace(begun.quantisation_aware, epochs=0))
    finetune.run([chests], short, recipe, out, quiet=True)
    kept = (out / "tiny/tiny.made_from").read_text()
    with pytest.raises(DatasetError, match="of another recipe or other data"):
        finetune.run([chests], replace(short, dropout=0.1), recipe, out, quiet=True)
    manifest = chests / "manifest.csv"
    manifest.write_text(manifest.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(DatasetError, match="of another recipe or other data"):
        finetune.run([chests], short, recipe, out, quiet=True)
    assert (out / "tiny/tiny.made_from").read_text() == kept
    finetune.run([chests], short, recipe, out, fresh=True, quiet=True)
    assert (out / "tiny/tiny.made_from").read_text() != kept


GRADED = (
    RECIPE.replace(
        'labels = ["clear", "clouded"]',
        'labels = ["clear", "spot", "cloud"]\ntaps = ["block2_add"]\nfreeze = "block0_project"\nvariants = 2\nseeds = 2\nblocks = 4',
    )
    + """
[sources.one]
batch = {{clear = 3, cloud = 2, open = 1}}
boxes = "boxes"
clear = ["clear"]
[sources.one.means]
clear = ["clear"]
cloud = ["cloud"]
spot = ["spot"]
open = ["spot", "cloud"]
[sources.two]
rank = "extent"
batch = {{cloud = 2}}
patients = 0.5
"""
)


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """A manifest of two sources: graded films with boxes, and films that are only ranked."""
    lines = ["file,label,patient_id,source,split,boxes,extent"]
    for i in range(36):
        label = ("clear", "cloud", "spot", "open")[i % 4]
        split = "val" if i >= 24 else "train"
        box = "" if label == "clear" else "0.1 0.2 0.5 0.9"
        drawn_chest(i, opaque=label != "clear", side=96).save(tmp_path / f"a{i}.png")
        lines.append(f"a{i}.png,{label},a{i},one,{split},{box},")
    for i in range(12):
        drawn_chest(100 + i, opaque=True, side=96).save(tmp_path / f"b{i}.png")
        lines.append(f"b{i}.png,cloud,b{i},two,test,,{i / 2}")
    path = tmp_path / "graded.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_open_labels_boxes_and_grades_teach_two_seeds_that_teach_int8(graded: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(GRADED.format(epochs=1))
    network = finetune.run([graded], read_recipe(recipe), recipe, tmp_path / "runs", quiet=True)
    result = network(np.zeros((1, 32, 32, 1), np.float32))
    assert result["logits"].shape == (1, 3)
    assert result["evidence"].shape == (1, 8, 8, 3)
    log = rows(tmp_path / "runs/tiny/tiny.csv")
    assert [r["stage"] for r in log] == ["float.2020", "float.2021", "int8"]
    assert all(float(r["map"]) > 0 and float(r["order"]) > 0 for r in log[:2])
    assert float(log[0]["val_auroc"]) >= 0


@pytest.mark.slow
def test_a_soup_is_the_mean_of_runs_that_go_on_from_one_network(
    graded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(GRADED.replace("seeds = 2", "seeds = 1").format(epochs=1) + "[soup]\nruns = 2\nepochs = 1\n")
    stage, begun, trained = float_stage.train, [], []

    def watched(run: Any, seed: int, begin: Any = None) -> Any:
        begun.append(begin.get_weights() if begin else None)
        network = stage(run, seed, begin)
        trained.append(network.get_weights())
        return network

    kept: list[Any] = []
    monkeypatch.setattr(float_stage, "train", watched)
    monkeypatch.setattr(int8_stage, "_train", lambda _, __, teachers: kept.append(teachers[0].get_weights()))
    finetune.run([graded], read_recipe(recipe), recipe, tmp_path / "runs", quiet=True)
    assert [r["stage"] for r in rows(tmp_path / "runs/tiny/tiny.csv")] == ["float.2020", "float.2021", "float.2022"]
    first, one, other = trained
    for run in begun[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, first))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other))
    assert all(np.allclose(mean, (a + b) / 2, atol=1e-6) for mean, a, b in zip(kept[0], one, other))


@pytest.mark.slow
def test_a_larger_network_teaches_a_trained_one(graded: Path, tmp_path: Path) -> None:
    text = GRADED.replace("seeds = 2", "seeds = 1").format(epochs=1)
    for name, blocks in (("small", 4), ("large", 5)):
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(text.replace("blocks = 4", f"blocks = {blocks}"))
        finetune.run([graded], read_recipe(recipe), recipe, tmp_path / "runs", quiet=True)
    small, large = (tmp_path / f"runs/{name}/{name}.keras" for name in ("small", "large"))
    recipe = tmp_path / "taught.toml"
    named = f'seeds = 0\nbegin = "{small}"\nteachers = ["{large}"]'
    recipe.write_text(text.replace("seeds = 1", named))
    taught = finetune.run([graded], read_recipe(recipe), recipe, tmp_path / "runs", quiet=True)
    assert [r["stage"] for r in rows(tmp_path / "runs/taught/taught.csv")] == ["int8"]
    pixels = np.random.default_rng(0).normal(size=(8, 32, 32, 1)).astype(np.float32)
    before, after, aim = (
        np.asarray(network(pixels)["logits"])
        for network in (
            keras.models.load_model(small, compile=False),
            taught,
            keras.models.load_model(large, compile=False),
        )
    )
    assert np.abs(after - aim).mean() < np.abs(before - aim).mean()
    # Another network in the same file: another run.
    small.write_bytes(large.read_bytes())
    with pytest.raises(DatasetError, match="of another recipe or other data"):
        finetune.run([graded], read_recipe(recipe), recipe, tmp_path / "runs", quiet=True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seeds = 0", "seeds = 0 and a network to begin with"),
        ('begin = "{0}"', "seeds = 0 and a network to begin with"),
        ('seeds = 0\nbegin = "{0}"', "without seeds there must be teachers"),
        ('teachers = ["missing.keras"]', "missing.keras: no such network"),
        ('teachers = ["{0}"]', "is no network that training/finetune.py wrote"),
    ],
)
def test_a_network_that_cannot_teach_is_refused(graded: Path, tmp_path: Path, setting: str, message: str) -> None:
    recipe, damaged = tmp_path / "tiny.toml", tmp_path / "damaged.keras"
    damaged.write_bytes(b"PK")
    text = GRADED.replace("seeds = 2", setting.format(damaged)).format(epochs=1)
    recipe.write_text(text)
    with pytest.raises(DatasetError, match=message):
        finetune.run([graded], read_recipe(recipe), recipe, tmp_path / "runs", quiet=True)


def test_what_would_teach_the_hospital_is_refused(
    graded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        RECIPE.format(epochs=1).replace('labels = ["clear", "clouded"]', 'labels = ["clear", "cloud"]')
        + '[sources.two]\nmeans = {cloud = ["cloud"]}\nbatch = {cloud = 4}\n'
    )
    assert finetune.main(["--data", str(graded), "--recipe", str(recipe), "--out", str(tmp_path / "runs")]) == 1
    assert "the network would learn the hospital" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_frozen_layers_keep_their_weights_in_the_first_stage(chests: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(epochs=1).replace("[augment]", 'freeze = "block2_add"\nvariants = 2\n[augment]'))
    begun = replace(read_recipe(recipe), quantisation_aware=replace(read_recipe(recipe).quantisation_aware, epochs=0))
    start = replace(begun, epochs=0)
    before = finetune.run([chests], start, recipe, tmp_path / "one", quiet=True)
    after = finetune.run([chests], begun, recipe, tmp_path / "two", quiet=True)
    same = [np.allclose(before.get_layer(n).kernel, after.get_layer(n).kernel) for n in ("stem", "block2_project")]
    assert same == [True, True]
    assert not np.allclose(before.get_layer("block5_project").kernel, after.get_layer("block5_project").kernel)
