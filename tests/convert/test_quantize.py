from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import drawn_chest
from keras import layers
from tflites import as_compiled, fake_compiler

import covidnet_lite
from convert import edgetpu_ops, quantize
from covidnet_lite import model as models
from covidnet_lite.interpreter import Interpreter

ROOT = Path(__file__).resolve().parents[2]


def classifier(head: str = "logits", units: int = 2) -> keras.Model:
    """A small network of one's own, three channels, as Keras users write them."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((48, 48, 3))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU(6.0)(x)
    x = layers.GlobalAveragePooling2D()(x)
    activation = {"softmax": "softmax", "sigmoid": "sigmoid"}.get(head)
    x = layers.Dense(units, activation=activation)(x)
    if head == "softmax layer":
        x = layers.Softmax()(x)
    return keras.Model(image, x)


def own(path: Path, **options: object) -> Path:
    classifier(**options).save(path)  # type: ignore[arg-type]
    return path


def arguments(network: Path, chests: Path, *more: str) -> list[str]:
    return [str(network), "--calibration", str(chests), "--labels", "clear,clouded", "--input-range", "0", "1", *more]


def test_without_arguments_it_makes_the_shipped_file_byte_for_byte(tmp_path: Path) -> None:
    out = tmp_path / "again.tflite"
    command = [sys.executable, str(ROOT / "convert/quantize.py"), "-o", str(out)]
    for _ in range(2):
        done = subprocess.run([*command, "--force"], capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert out.read_bytes() == models.load("base").data
    assert "latency, one thread" in done.stdout
    assert "top-1 agreement" in done.stdout


@pytest.mark.parametrize("form", ["own.keras", "own.h5", "own_saved"])
def test_a_network_of_ones_own_in_every_format(
    form: str, chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / form
    if network.suffix:
        own(network)
    else:
        classifier().export(network, verbose=False)
    out = tmp_path / "own.tflite"
    assert quantize.main(arguments(network, chests, "-o", str(out))) == 0
    printed = capsys.readouterr().out
    for figure in ("size", "latency", "accuracy", "top-1 agreement", "mean confidence drift"):
        assert figure in printed, figure
    loaded = models.load(out)
    assert Interpreter(loaded).input_dtype == np.int8
    assert loaded.manifest.input.channels == 3
    prediction = covidnet_lite.classify(chests / "0.png", model=out)
    assert set(prediction.probabilities) == {"clear", "clouded"}


@pytest.mark.parametrize("head", ["softmax", "softmax layer"])
def test_a_softmax_end_gives_the_answers_of_the_network_itself(head: str, chests: Path, tmp_path: Path) -> None:
    network = own(tmp_path / "own.keras", head=head)
    assert quantize.main(arguments(network, chests)) == 0
    loaded = models.load(tmp_path / "own.tflite")
    from PIL import Image

    pixels = np.asarray(Image.open(chests / "1.png").resize((48, 48), Image.Resampling.BILINEAR, reducing_gap=2.0))
    expected = np.asarray(keras.models.load_model(network)(np.repeat(pixels[None, ..., None] / 255, 3, axis=3)))[0]
    found = covidnet_lite.Classifier(tmp_path / "own.tflite", manifest=None).classify(chests / "1.png").probabilities
    if loaded.manifest.temperature == 1:
        assert list(found.values()) == pytest.approx(expected, abs=0.05)
    assert max(found, key=found.__getitem__) == ("clear", "clouded")[int(expected.argmax())]


def test_recorded_ranges_make_the_same_file_without_images(chests: Path, tmp_path: Path) -> None:
    network = own(tmp_path / "own.keras")
    assert quantize.main(arguments(network, chests, "--record", "-o", str(tmp_path / "a.tflite"))) == 0
    ranges = json.loads((tmp_path / "own.ranges.json").read_text())
    assert all(low <= high for low, high in ranges.values())
    assert (
        quantize.main(
            [str(network), "--labels", "clear,clouded", "--input-range", "0", "1", "-o", str(tmp_path / "b.tflite")]
        )
        == 0
    )
    a, b = models.load(tmp_path / "a.tflite"), models.load(tmp_path / "b.tflite")
    assert (a.manifest.temperature, a.manifest.threshold) == (b.manifest.temperature, b.manifest.threshold)
    graph = Interpreter(a), Interpreter(b)
    values = np.zeros(graph[0].input_shape, np.int8)
    np.testing.assert_array_equal(graph[0].run(values)[0], graph[1].run(values)[0])


def test_a_file_that_is_there_is_not_written_over(
    chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, out = own(tmp_path / "own.keras"), tmp_path / "own.tflite"
    out.write_bytes(b"precious")
    assert quantize.main(arguments(network, chests)) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert quantize.main(arguments(network, chests, "--force")) == 0
    assert len(out.read_bytes()) > 1000


COMPILED = """Edge TPU Compiler version 16.0.384591198
Number of operations that will run on Edge TPU: 4
Number of operations that will run on CPU: 1
Compilation succeeded!
"""


def test_with_edgetpu_the_compiled_file_lies_beside(
    chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network, out, compiled = (tmp_path / name for name in ("own.keras", "own.tflite", "own_edgetpu.tflite"))
    monkeypatch.setenv("PATH", str(tmp_path))
    command = arguments(own(network), chests, "--edgetpu")
    assert quantize.main(command) == 0
    printed = capsys.readouterr().out
    assert printed.index("latency") < printed.index("own.tflite: ") < printed.index("edgetpu_compiler is not installed")
    assert "operations map to the Edge TPU" in printed
    assert out.is_file()
    assert not compiled.exists()

    folder = fake_compiler(tmp_path / "bin", COMPILED, as_compiled(out.read_bytes()))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    assert quantize.main([*command, "--force"]) == 0
    assert f"wrote {compiled}  4 operations on the Edge TPU" in capsys.readouterr().out
    assert models.load(compiled).manifest.labels == models.load(out).manifest.labels
    assert compiled.with_suffix(".log").read_text() == COMPILED

    out.unlink()
    assert quantize.main(command) == 1
    assert f"{compiled}: is there already" in capsys.readouterr().err


def test_with_edgetpu_nothing_is_written_where_it_cannot_be_compiled(
    chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(own(tmp_path / "own.keras"), chests, "--edgetpu", "--record")
    folder = fake_compiler(tmp_path / "bin", "Internal compiler error\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    assert quantize.main(command) == 1
    assert "edgetpu_compiler failed: Internal compiler error" in capsys.readouterr().err
    monkeypatch.setattr(edgetpu_ops, "VERSIONS", {})  # as if the Edge TPU had no operation at all
    assert quantize.main(command) == 1
    assert "no operation maps to the Edge TPU" in capsys.readouterr().err
    assert [p.name for p in tmp_path.glob("own*")] == ["own.keras"]


def weights_only(path: Path) -> list[str]:
    classifier().save_weights(path / "own.weights.h5")
    return [str(path / "own.weights.h5")]


def not_finite(path: Path) -> list[str]:
    network = classifier()
    network.layers[1].set_weights([np.full_like(network.layers[1].get_weights()[0], np.nan)])
    network.save(path / "own.keras")
    return [str(path / "own.keras")]


def two_inputs(path: Path) -> list[str]:
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    keras.Model([a, b], layers.Dense(2)(layers.Flatten()(layers.Add()([a, b])))).save(path / "own.keras")
    return [str(path / "own.keras")]


def pictures(path: Path) -> Path:
    drawn_chest(0, opaque=True).save(path / "0.png")
    return path


def text_file(path: Path) -> list[str]:
    (path / "own.keras").write_text("no network")
    return [str(path / "own.keras")]


BAD = {
    "missing": (lambda d: [str(d / "none.keras")], "no such network"),
    "a text file": (text_file, "Keras cannot load it"),
    "weights only": (weights_only, "save the whole model"),
    "an empty folder": (lambda d: [str(d)], "no SavedModel"),
    "no labels": (lambda d: [str(own(d / "own.keras"))], "pass --labels"),
    "too few labels": (lambda d: [str(own(d / "own.keras", units=3)), "--labels", "a,b", "--input-range", "0", "1"], "they must match"),
    "no input range": (lambda d: [str(own(d / "own.keras")), "--labels", "a,b"], "--input-range LOW HIGH"),
    "input range turned round": (lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "1", "0"], "must be above"),
    "one sigmoid unit": (lambda d: [str(own(d / "own.keras", head="sigmoid", units=1)), "--labels", "a,b", "--input-range", "0", "1"], "one unit"),
    "two sigmoid units": (lambda d: [str(own(d / "own.keras", head="sigmoid")), "--labels", "a,b", "--input-range", "0", "1"], "sigmoids"),
    "a label twice": (lambda d: [str(own(d / "own.keras")), "--labels", "a,a", "--input-range", "0", "1", "--calibration", str(pictures(d))], "two or more different"),
    "an infinite range": (lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "0", "inf"], "no range of gray levels"),
    "a folder as output": (lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "0", "1", "-o", str(d)], "is a folder"),
    "itself as output": (lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "0", "1", "--force", "-o", str(d / "own.keras")], "choose another name"),
    "NaN weights": (lambda d: [*not_finite(d), "--labels", "a,b", "--input-range", "0", "1"], "NaN"),
    "two inputs": (lambda d: [*two_inputs(d), "--labels", "a,b", "--input-range", "0", "1"], "2 inputs"),
    "no ranges": (lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "0", "1"], "pass --calibration"),
    "ranges of another network": (
        lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "0", "1", "--ranges", str(ROOT / "training/checkpoints/base.ranges.json")],
        "belong to another network",
    ),
    "a missing folder of images": (
        lambda d: [str(own(d / "own.keras")), "--labels", "a,b", "--input-range", "0", "1", "--calibration", str(d / "none")],
        "no such manifest or folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_converted_is_said_in_one_line_and_nothing_is_written(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[what]
    assert quantize.main(make(tmp_path)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.glob("*.tflite")) == []


def test_every_option_has_help() -> None:
    assert [a.option_strings or a.dest for a in quantize.build_parser()._actions if not a.help] == []
