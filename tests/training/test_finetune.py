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

import keras
import numpy as np
import pytest

from convert.network import read_facts
from convert.synthetic import read_statistics
from covidnet_lite.cases import read_cases
from covidnet_lite.errors import DatasetError
from training import backbones, finetune
from training.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
backbone = "EfficientNetLite0"
weights = "none"
side = 32
labels = ["clear", "clouded"]
epochs = {epochs}
patience = 9
batch_size = 8
warmup_epochs = 1
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


def test_a_run_leaves_a_network_its_ranges_its_recipe_and_a_log(chests: Path, recipe: Path, tmp_path: Path) -> None:
    assert (
        finetune.main(
            ["--data", str(chests), "--recipe", str(recipe), "--out", str(tmp_path / "runs"), "--verbose", "0"]
        )
        == 0
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
    assert [(r["stage"], r["epoch"]) for r in log] == [("float", "1"), ("float", "2"), ("int8", "1")]
    assert all(float(r["val_loss"]) > 0 for r in log)


def test_a_killed_run_goes_on_where_it_was(chests: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(epochs=4))
    log = tmp_path / "runs/tiny/tiny.csv"
    command = [
        sys.executable,
        str(ROOT / "training/finetune.py"),
        "--data",
        str(chests),
        "--recipe",
        str(recipe),
        "--out",
        str(tmp_path / "runs"),
        "--verbose",
        "0",
    ]
    running = subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while (
        not (log.exists() and (log.parent / "float.json").exists())
        and running.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = json.loads((log.parent / "float.json").read_text())["epoch"]
    assert 1 <= done <= 4
    assert finetune.main(command[2:]) == 0
    log_rows = [(r["stage"], int(r["epoch"])) for r in rows(log)]
    # A kill between the log's line and the state repeats one epoch, never skips one.
    assert list(dict.fromkeys(log_rows)) == [("float", 1), ("float", 2), ("float", 3), ("float", 4), ("int8", 1)]
    assert len(log_rows) <= 6


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
        finetune.main(
            ["--data", str(chests), "--recipe", str(recipe), "--out", str(tmp_path / "runs"), "--verbose", "0"]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_the_shipped_recipe_is_the_one_its_checkpoint_was_made_with() -> None:
    recipes, checkpoints = ROOT / "training/recipes", ROOT / "training/checkpoints"
    for checkpoint in checkpoints.glob("*.keras"):
        assert read_recipe(checkpoints / f"{checkpoint.stem}.toml") == read_recipe(recipes / f"{checkpoint.stem}.toml")


def test_the_mean_of_the_last_epochs_can_be_kept(chests: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    text = RECIPE.format(epochs=3).replace("patience = 9", 'patience = 1\naverage = 2\nfreeze = "block2_add"')
    recipe.write_text(text.replace("epochs = 1\n", "epochs = 0\n"))
    network = finetune.run(chests, read_recipe(recipe), recipe, tmp_path / "runs", verbose=0)
    with np.load(tmp_path / "runs/tiny/float.mean.2.npz") as mean:
        kept = [mean[name] for name in mean.files]
    found = {tuple(w.shape): w for w in network.get_weights() if w.ndim == 4}
    for weights in (w for w in kept if w.ndim == 4 and tuple(w.shape) in found):
        assert any(np.allclose(weights, w) for w in network.get_weights() if w.shape == weights.shape)
    progress = json.loads((tmp_path / "runs/tiny/float.json").read_text())
    assert (progress["epoch"], progress["averaged"]) == (3, 2)
    assert all(layer.trainable for layer in network.layers)


def test_the_mean_counts_every_epoch_alike(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for count, value in enumerate((3.0, 5.0, 10.0), 1):
        model.set_weights([np.full((1, 1), value, np.float32)])
        finetune._write_mean(model, tmp_path / f"{count - 1}.npz", tmp_path / f"{count}.npz", count)
    with np.load(tmp_path / "3.npz") as mean:
        assert mean["arr_0"] == pytest.approx(6.0)


def test_a_run_goes_on_only_with_what_it_was_begun_with(chests: Path, recipe: Path, tmp_path: Path) -> None:
    begun, out = read_recipe(recipe), tmp_path / "runs"
    short = replace(begun, blocks=3, epochs=1, quantisation_aware=replace(begun.quantisation_aware, epochs=0))
    finetune.run(chests, short, recipe, out, verbose=0)
    kept = (out / "tiny/tiny.made_from").read_text()
    with pytest.raises(DatasetError, match="of another recipe or other data"):
        finetune.run(chests, replace(short, dropout=0.1), recipe, out, verbose=0)
    manifest = chests / "manifest.csv"
    manifest.write_text(manifest.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(DatasetError, match="of another recipe or other data"):
        finetune.run(chests, short, recipe, out, verbose=0)
    assert (out / "tiny/tiny.made_from").read_text() == kept
    finetune.run(chests, short, recipe, out, fresh=True, verbose=0)
    assert (out / "tiny/tiny.made_from").read_text() != kept


def test_an_epoch_repeated_after_a_kill_is_the_same_epoch(
    chests: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = replace(read_recipe(recipe), blocks=3, epochs=3, average=2, dropout=0.5)
    given = replace(given, quantisation_aware=replace(given.quantisation_aware, epochs=0))
    unbroken = finetune.run(chests, given, recipe, tmp_path / "one", verbose=0).get_weights()
    save = finetune.Progress.save

    def killed(progress: finetune.Progress, path: Path) -> None:
        if progress.epoch == 3:  # after the weights and their mean are written
            raise KeyboardInterrupt
        save(progress, path)

    monkeypatch.setattr(finetune.Progress, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune.run(chests, given, recipe, tmp_path / "two", verbose=0)
    monkeypatch.setattr(finetune.Progress, "save", save)
    resumed = finetune.run(chests, given, recipe, tmp_path / "two", verbose=0).get_weights()
    for one, other in zip(unbroken, resumed):
        np.testing.assert_allclose(other, one, atol=1e-4)


def test_a_source_that_the_data_do_not_have_is_said(chests: Path, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the data have no source elsewhere"):
        finetune.run(chests, replace(read_recipe(recipe), exclude_sources=("elsewhere",)), recipe, tmp_path, verbose=0)


def test_a_readout_leaves_every_other_layer_as_it_was_and_is_found_once(
    chests: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(
        RECIPE.format(epochs=2).replace("[quantisation_aware]\nepochs = 1", "[quantisation_aware]\nepochs = 0")
        + '[readout]\nlayers = ["block4_add"]\nvariants = 2\n'
    )
    asked = ["--data", str(chests), "--recipe", str(recipe), "--out", str(tmp_path / "runs"), "--verbose", "0"]
    assert finetune.main(asked) == 0
    network = keras.models.load_model(tmp_path / "runs/tiny/tiny.keras")
    keras.utils.set_random_seed(read_recipe(recipe).seed)  # random weights, the same again
    start = backbones.tap(backbones.build("EfficientNetLite0", side=32, weights="none"), ["block4_add"]).network
    for layer in start.layers:
        for before, after in zip(layer.get_weights(), network.get_layer(layer.name).get_weights()):
            np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-6)  # kept in half precision
    log = rows(tmp_path / "runs/tiny/tiny.csv")
    assert [row["stage"] for row in log] == ["readout"]
    assert 0 <= float(log[0]["val_accuracy"]) <= 1
    assert "readout: val_loss" in capsys.readouterr().out
    kept = (tmp_path / "runs/tiny/readout.npz").stat().st_mtime_ns
    assert finetune.main(asked) == 0  # goes on
    assert (tmp_path / "runs/tiny/readout.npz").stat().st_mtime_ns == kept
    assert len(rows(tmp_path / "runs/tiny/tiny.csv")) == 1


def test_images_of_an_unwanted_licence_are_left_out_and_all_must_tell_theirs(
    chests: Path, recipe: Path, tmp_path: Path
) -> None:
    cases = read_cases(chests)
    lines = [f"{c.path},{c.label},{'CC BY-NC 4.0' if i % 4 == 0 else 'CC BY 4.0'}" for i, c in enumerate(cases)]
    told = tmp_path / "told.csv"
    told.write_text("\n".join(["file,label,licence", *lines]))
    free = replace(read_recipe(recipe), exclude_licences=("NC",))
    dealt = finetune.deal(told, free)
    assert len(dealt) == sum(i % 4 != 0 for i in range(len(cases)))
    assert {case.fields["licence"] for case in dealt} == {"CC BY 4.0"}
    with pytest.raises(DatasetError, match="has no licence in the manifest"):
        finetune.deal(chests, free)
