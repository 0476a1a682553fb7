"""Files that Keras 2 wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from convert.quantisation import synthetic
from convert.source import keras2_network, network
from covidnet_lite.errors import ConversionError

tf_keras = pytest.importorskip("tf_keras", reason="files of Keras 2 need the extra keras2")
layers = tf_keras.layers
SHAPE = (32, 32, 3)
LABELS = ("a", "b", "c")
PICTURE = np.random.default_rng(0).uniform(-1, 1, (1, *SHAPE)).astype(np.float32)


def base() -> Any:
    """A depthwise convolution, which Keras 3 does not read of Keras 2, and batch normalisation."""
    image = tf_keras.Input(SHAPE)
    x = layers.DepthwiseConv2D(3, 2)(layers.Conv2D(4, 3, 2, use_bias=False)(image))
    return tf_keras.Model(image, layers.ReLU(6.0)(layers.BatchNormalization()(x)))


def teachable(units: int = 3, activation: str | None = "softmax") -> Any:
    """Networks in a network, as Teachable Machine saves them."""
    tf_keras.utils.set_random_seed(1)
    features = tf_keras.Sequential([base(), layers.GlobalAveragePooling2D()])
    return tf_keras.Sequential([features, tf_keras.Sequential([layers.Dense(units, activation)])])


def functional(inside: Any = lambda x: x) -> Any:
    tf_keras.utils.set_random_seed(1)
    image = tf_keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(base()(inside(image), training=False))
    return tf_keras.Model(image, layers.Dense(3, "softmax")(layers.Dropout(0.2)(x)))


NETWORKS = {
    "networks in a network": teachable,
    "functional": functional,
    "preprocess_input": lambda: functional(tf_keras.applications.mobilenet_v2.preprocess_input),
    "augmentation": lambda: functional(layers.RandomFlip()),
}


def probabilities(net: network.FloatNetwork, picture: Any = PICTURE) -> Any:
    interpreter = Interpreter(model_content=net.tflite)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    powers = np.exp(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return powers / powers.sum()


@pytest.mark.parametrize("what", NETWORKS)
@pytest.mark.parametrize("name", ["net.h5", "net.keras"])
def test_a_network_of_keras_2_answers_as_it_did(what: str, name: str, tmp_path: Path) -> None:
    model = NETWORKS[what]()
    expected = np.asarray(model(PICTURE, training=False))
    model.save(tmp_path / name)
    net = network.load(tmp_path / name, LABELS, (-1, 1))
    np.testing.assert_allclose(probabilities(net), expected, atol=1e-4)


def test_hdf5_is_known_by_its_bytes(tmp_path: Path) -> None:
    model = teachable()
    expected = np.asarray(model(PICTURE, training=False))
    model.save(tmp_path / "net.h5")
    (tmp_path / "net.h5").rename(tmp_path / "net.keras")
    np.testing.assert_allclose(
        probabilities(network.load(tmp_path / "net.keras", LABELS, (-1, 1))), expected, atol=1e-4
    )


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_output_is_two_classes(activation: str | None, tmp_path: Path) -> None:
    model = teachable(1, activation)
    (told,) = np.asarray(model(PICTURE, training=False))[0]
    model.save(tmp_path / "net.h5")
    result = probabilities(network.load(tmp_path / "net.h5", ("no", "yes"), (-1, 1)))
    yes = told if activation else 1 / (1 + np.exp(-told))
    np.testing.assert_allclose(result, [[1 - yes, yes]], atol=1e-4)


def test_what_it_does_first_tells_what_it_takes(tmp_path: Path) -> None:
    functional(tf_keras.applications.mobilenet_v2.preprocess_input).save(tmp_path / "net.h5")
    assert network.load(tmp_path / "net.h5", LABELS).spec.std == (1.0,) * 3


def test_its_batch_statistics_make_synthetic_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "STEPS", 2)
    teachable().save(tmp_path / "net.h5")
    net = network.load(tmp_path / "net.h5", LABELS, (-1, 1))
    result = synthetic.make(net.model, net.spec, 3)
    assert result.matched == 1
    assert result.images.shape == (3, *SHAPE)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    functional(layers.Lambda(lambda x: x * 2)).save(tmp_path / "net.h5")
    with pytest.raises(ConversionError, match="has a Lambda layer"):
        network.load(tmp_path / "net.h5", LABELS, (-1, 1))


def test_without_tf_keras_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teachable().save(tmp_path / "net.h5")
    monkeypatch.setattr(keras2_network, "find_spec", lambda name: None)
    with pytest.raises(ConversionError, match=r"pip install 'covidnet-lite\[keras2\]'[^{}]*Functional[^{}]*$"):
        network.load(tmp_path / "net.h5", LABELS, (-1, 1))
