"""TensorFlow's functions with the weights in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from convert.source import frozen, network, saved_model
from covidnet_lite.errors import ConversionError

SHAPE = (12, 12, 3)
PICTURE = np.random.default_rng(0).uniform(0, 1, (1, *SHAPE)).astype(np.float32)


class Trained(tf.Module):
    """Something to serve, with more in it than the network: a table that no TFLite file could hold."""

    def __init__(self, names: tuple[str, ...] = ("scores",)) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(1).normal(size=(SHAPE[2], 2)).astype(np.float32))
        self.slots = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
        self.names = names

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32, name="picture")])
    def __call__(self, picture: Any) -> Any:
        features = tf.reduce_mean(picture / 255, (1, 2))
        return dict(zip(self.names, (features @ self.kernel, features)))


def serve(module: Trained, path: Path) -> Path:
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.__call__})
    return path


def run(tflite: bytes, picture: Any = PICTURE) -> list[Any]:
    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def test_a_convolution_in_groups_is_served_run_and_made_a_flatbuffer(tmp_path: Path) -> None:
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu")(image)
    x = layers.Conv2D(6, 3, groups=2, activation="relu")(x)
    net = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    net.export(tmp_path / "net", verbose=False)

    served = saved_model.load(tmp_path / "net")

    assert list(served.outputs.values()) == [(1, 3)]
    expected = net(PICTURE, training=False).numpy()
    assert next(iter(frozen.run(served, PICTURE).values())) == pytest.approx(expected, abs=1e-5)
    assert run(frozen.to_tflite(served, tmp_path))[0] == pytest.approx(expected, abs=1e-5)


def test_a_saved_model_leaves_behind_what_is_not_the_network(tmp_path: Path) -> None:
    module = Trained()
    net = network.load(serve(module, tmp_path / "net"), ("a", "b"))
    assert net.outputs == {"logits": 0}
    assert net.spec.std == (1.0,) * 3, "it divides by 255 itself"
    np.testing.assert_allclose(run(net.tflite)[0], module(PICTURE)["scores"], rtol=1e-4)


def test_named_outputs_keep_their_names(tmp_path: Path) -> None:
    module = Trained(("logits", "embedding"))
    net = network.load(serve(module, tmp_path / "net"), ("a", "b"), (0, 1))
    result = run(net.tflite)
    for name, position in net.outputs.items():
        np.testing.assert_allclose(result[position], module(PICTURE)[name], rtol=1e-4)
    with pytest.raises(ConversionError, match="has outputs embedding, scores"):
        saved_model.load(serve(Trained(("scores", "embedding")), tmp_path / "other"))


def test_a_function_that_cannot_be_traced_says_its_first_cause() -> None:
    def call(image: Any) -> Any:
        try:
            raise ValueError("the first cause" + "!" * 400)
        except ValueError as error:
            raise RuntimeError("pages\nof settings") from error

    with pytest.raises(ConversionError, match=f"the first cause{'!' * 400}"):
        frozen.freeze(call, SHAPE, Path("net"))


def test_what_keras_wraps_is_unwrapped() -> None:
    wrapped = TypeError(
        "Error when deserializing class 'A' using config={...}.\n\nException encountered: no such 'groups'"
    )
    assert frozen.first_cause(wrapped) == "no such 'groups'"


def test_the_first_steps_are_found_where_a_convolution_would_swallow_them() -> None:
    network = keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(2, 3)])
    result = frozen.steps(frozen.freeze(network, SHAPE, Path("net")))
    assert [step.kind for step in result] == ["MUL", "ADD"]
    assert float(result[0].constant) == pytest.approx(1 / 127.5)
