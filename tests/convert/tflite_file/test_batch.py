"""Networks for several images at a time."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from float_networks import image, known, of_keras, ranges
from keras import layers
from tflites import Net

from convert import quantize
from convert.quantisation import scheme
from convert.tflite_file import batch
from covidnet_lite.errors import ConversionError


def flattened() -> keras.Model:
    """A map flattened, whose shape the file says, before a dense layer."""
    keras.utils.set_random_seed(0)
    given = image()
    x = layers.Conv2D(4, 3, 4, "same", activation="relu")(given)
    return keras.Model(given, layers.Dense(3)(layers.Reshape((-1,))(layers.Flatten()(x))))


@pytest.mark.parametrize("name", ["int8", "float32"])
def test_images_are_answered_together_as_one_by_one(name: str) -> None:
    net = of_keras(flattened())
    one = scheme.quantise(net.tflite, name, ranges(known(net)))

    many = Interpreter(model_content=batch.with_batch(one, 3))

    many.allocate_tensors()
    given, end = many.get_input_details()[0], many.get_output_details()[0]
    assert list(given["shape"]) == [3, 16, 16, 1]
    images = np.random.default_rng(0).integers(-128, 128, given["shape"]).astype(given["dtype"])
    many.set_tensor(given["index"], images)
    many.invoke()
    result = many.get_tensor(end["index"])
    alone = Interpreter(model_content=one)
    alone.allocate_tensors()
    for row, picture in zip(result, images):
        alone.set_tensor(alone.get_input_details()[0]["index"], picture[None])
        alone.invoke()
        assert row == pytest.approx(alone.get_tensor(alone.get_output_details()[0]["index"])[0], rel=1e-4, abs=1e-4)


def test_a_network_that_mixes_images_is_refused() -> None:
    net = Net()
    picture, mean = net.tensor(1, 4, 4, 2), net.tensor(4, 4, 2)
    net.op("MEAN", [picture, net.constant(np.int32([0]), scales=0)], [mean], options=schema.ReducerOptionsT())

    with pytest.raises(ConversionError, match="--batch 2"):
        batch.with_batch(net.bytes([picture], [mean]), 2)


def test_the_command_writes_the_second_file(tmp_path: Path) -> None:
    flattened().save(tmp_path / "net.keras")
    told = ["--labels", "a,b,c", "--input-range", "-1", "1", "--calibration", "synthetic", "--count", "2"]

    assert quantize.main([str(tmp_path / "net.keras"), *told, "--batch", "2"]) == 0

    result = Interpreter(model_path=str(tmp_path / "net_batch2.tflite"))
    assert list(result.get_input_details()[0]["shape"]) == [2, 16, 16, 1]
