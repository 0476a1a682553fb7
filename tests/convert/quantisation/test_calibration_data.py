from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert.quantisation import calibration_data
from convert.quantisation.activations import of_range
from convert.source import network
from convert.source.network import FloatNetwork
from covidnet_lite.errors import ConversionError


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FloatNetwork:
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, 4, activation="relu", name="stem")(image))
    path = tmp_path_factory.mktemp("small") / "small.tflite"
    model = keras.Model(image, layers.Dense(2)(x))
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return network.load(path, ("a", "b"), (0, 1))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", np.random.default_rng(0).integers(0, 256, (5, 64, 64), np.uint8))
    return tmp_path / "x.npz"


def test_what_is_recorded_reads_back_as_it_was_used(small: FloatNetwork, archive: Path, tmp_path: Path) -> None:
    made = calibration_data.from_npz(small, archive, 4)
    assert made.origin == "4 representative images"
    assert made.images is not None
    assert made.images.shape == (4, 64, 64)
    (tmp_path / "r.json").write_text(calibration_data.to_json(made, "bias", "typical", ["stem"]))
    again = calibration_data.read(tmp_path / "r.json")
    assert (again.origin, again.fallback, again.clip, again.wide) == (made.origin, "bias", "typical", ("stem",))
    assert again.images is None
    assert again.activations.keys() == made.activations.keys()
    for layer, activation in made.activations.items():
        assert again.activations[layer].ranges == activation.ranges
        for part in ("lows", "highs", "means"):
            np.testing.assert_array_equal(getattr(again.activations[layer], part), getattr(activation, part))


def test_a_plain_table_is_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"b": [-1, 2], "a": [0, 6]}')
    made = calibration_data.read(tmp_path / "r.json")
    assert made.origin == "recorded ranges"
    assert made.activations["b"].ranges == {"min-max": (-1, 2)}
    assert json.loads(calibration_data.to_json(made, "min-max", "min-max", ())) == {"a": [0, 6], "b": [-1, 2]}


def test_one_layer_a_line(tmp_path: Path) -> None:
    made = calibration_data.CalibrationData({"b": of_range(0, 1), "a": of_range(0, 6)}, "")
    assert len(calibration_data.to_json(made, "", "", ()).splitlines()) == 4


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "1", "null", '{"a": 1}', '{"a": [1]}', '{"a": ["x", "y"]}', '{"a": [1, 0]}', '{"a": [0, Infinity]}',
     '{"activations": 5}', '{"activations": {"a": [0, 1]}, "wide": 3}', '{"a": {"min-max": [0, 1]}}',
     '{"a": {"min-max": [0, 1], "lows": [1], "highs": [1, 2], "means": [1]}}'],
)  # fmt: skip
def test_a_file_without_ranges_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConversionError, match=r"r\.json: holds no ranges"):
        calibration_data.read(tmp_path / "r.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"r\.json: no such file of ranges; pass --calibration"):
        calibration_data.read(tmp_path / "r.json")
    with pytest.raises(ConversionError, match="holds no ranges"):
        calibration_data.read(tmp_path)


def test_a_network_that_overflows_is_named_by_its_layer(small: FloatNetwork, archive: Path) -> None:
    mad = replace(small, spec=replace(small.spec, std=(2e-6,), mean=(0.0,)), tflite=multiplied(small.tflite))
    with pytest.raises(ConversionError, match="layer stem puts out NaN or infinity"):
        calibration_data.from_npz(mad, archive, 2)


def multiplied(tflite: bytes) -> bytes:
    """Its first weights a great deal larger."""
    from convert.tflite_file.editor import Editor

    editor = Editor(tflite)
    weights = int(editor.operators[0].inputs[1])
    editor.set_constant(weights, np.full_like(editor.constant(weights), 3e37))
    return editor.finish()


def test_pictures_of_its_own_are_counted_and_told(small: FloatNetwork, tmp_path: Path) -> None:
    made = calibration_data.from_network(small, tmp_path / "none", 3)
    assert made.origin == "3 synthetic images, no statistics to match"
    assert made.images is not None
    assert made.images.shape == (3, 64, 64)
    with pytest.raises(ConversionError, match="2001 synthetic images are too many"):
        calibration_data.from_network(small, tmp_path / "none", 2001)
