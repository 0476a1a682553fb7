"""A network of three channels sees the colours of a picture, from calibration to the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image
from tflites import Net

import covidnet_lite
from convert import quantize
from covidnet_lite.network import model as models

LABELS = ("r", "g", "b")


def names_the_strongest_channel() -> bytes:
    """The mean of each channel, ten times over."""
    net = Net()
    image, means, answer = (net.tensor(*shape, kind="FLOAT32", scales=0) for shape in ((1, 32, 32, 3), (1, 3), (1, 3)))
    net.op("MEAN", [image, net.constant(np.int32([1, 2]), scales=0)], [means], options=schema.ReducerOptionsT())
    weights = net.constant(np.eye(3, dtype=np.float32) * 10, scales=0)
    net.op("FULLY_CONNECTED", [means, weights], [answer], options=schema.FullyConnectedOptionsT())
    return net.bytes([image], [answer])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, each with one colour that is stronger than the others, and named by it."""
    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for i in range(24):
        levels = rng.integers(0, 90, (40, 48, 3), np.uint8)
        levels[..., i % 3] += 120
        Image.fromarray(levels).save(folder / f"{LABELS[i % 3]}{i:02d}.png")
    return folder


@pytest.mark.parametrize(("order", "labels"), [("rgb", "r,g,b"), ("bgr", "b,g,r")])
@pytest.mark.parametrize("calibration", ["pictures", "synthetic"])
def test_colours_reach_the_network(order: str, labels: str, calibration: str, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(names_the_strongest_channel())
    given = ["--calibration", str(pictures) if calibration == "pictures" else "synthetic", "--count", "6"]
    told = ["--labels", labels, "--preset", "0-1", "--colour", order, "-o", str(tmp_path / "out.tflite")]
    assert quantize.main([str(tmp_path / "net.tflite"), *given, *told]) == 0
    classify = covidnet_lite.Classifier(tmp_path / "out.tflite").classify
    assert [classify(p).label for p in sorted(pictures.iterdir())] == [p.name[0] for p in sorted(pictures.iterdir())]
    assert models.load(tmp_path / "out.tflite").manifest.input.colour == order


def test_an_even_picture_is_answered_and_a_gray_one_is_the_same_in_all_colours(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(names_the_strongest_channel())
    told = ["--labels", "r,g,b", "--preset", "0-1", "--calibration", str(pictures)]
    assert quantize.main([str(tmp_path / "net.tflite"), *told, "-o", str(tmp_path / "out.tflite")]) == 0
    classify = covidnet_lite.Classifier(tmp_path / "out.tflite").classify
    assert classify(Image.new("RGB", (20, 20), (0, 0, 200))).label == "b"
    assert classify(Image.new("RGB", (80, 80), (7, 0, 0))).status != "refused"
    gray = classify(Image.new("L", (20, 20), 100)).probabilities
    assert gray == pytest.approx(dict.fromkeys(LABELS, 1 / 3), abs=0.01)


def test_the_report_begins_with_what_was_assumed(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.tflite").write_bytes(names_the_strongest_channel())
    told = ["--labels", "r,g,b", "--preset", "0-1", "--calibration", str(pictures)]
    assert quantize.main([str(tmp_path / "net.tflite"), *told, "-o", str(tmp_path / "out.tflite")]) == 0
    assert capsys.readouterr().out.startswith("assumed, not checked: its channels are red, green and blue")
