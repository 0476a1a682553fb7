from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from training.fit import equalise_channels as e


@pytest.fixture
def network() -> keras.Model:
    """A stem, an inverted bottleneck with a shortcut, a head that may not be scaled."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1))
    stem = layers.ReLU(6.0, name="stem_relu")(layers.Conv2D(8, 3, padding="same", name="stem")(image))
    depthwise = layers.ReLU(6.0, name="dw_relu")(layers.DepthwiseConv2D(3, padding="same", name="dw")(stem))
    low = layers.Conv2D(4, 1, name="project")(depthwise)
    inner = layers.ReLU(6.0, name="expand_relu")(layers.Conv2D(8, 1, name="expand")(low))
    both = layers.Add(name="add")([low, layers.Conv2D(4, 1, name="project2")(inner)])
    head = layers.ReLU(6.0, name="head_relu")(layers.Conv2D(8, 1, name="head")(both))
    made = keras.Model(image, {"logits": layers.GlobalAveragePooling2D()(head)})
    rng = np.random.default_rng(0)
    for name in ("stem", "project", "project2"):  # channels of very different ranges
        layer = made.get_layer(name)
        kernel, bias = layer.get_weights()
        spread = 10 ** rng.uniform(-1.5, 0.3, kernel.shape[-1])
        layer.set_weights([kernel * spread, bias + 0.1 * spread])
    return made


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (32, 16, 16, 1)).astype(np.float32)


def spread(network: keras.Model, name: str, x: np.ndarray) -> float:
    values = np.abs(np.asarray(keras.Model(network.input, network.get_layer(name).output)(x))).max(axis=(0, 1, 2))
    return float(values.max() / values.min())


def test_the_function_stays_the_same_and_the_channels_come_closer(network: keras.Model, inputs: np.ndarray) -> None:
    before = np.asarray(network(inputs)["logits"])
    names = ("stem_relu", "project", "add")
    spreads = {name: spread(network, name, inputs) for name in names}
    e.equalise_channels(network, inputs)
    np.testing.assert_allclose(network(inputs)["logits"], before, rtol=1e-4, atol=1e-5)
    for name in names:
        assert spread(network, name, inputs) < 0.5 * spreads[name], name


def test_what_is_added_is_scaled_alike(network: keras.Model) -> None:
    groups = {frozenset(layer.name for layer in group) for group in e._groups(network) if e._may_be_scaled(group)}
    assert frozenset({"project", "project2", "add"}) in groups
    assert frozenset({"stem", "stem_relu"}) in groups


def test_what_is_pooled_is_left_alone(network: keras.Model, inputs: np.ndarray) -> None:
    groups = [{layer.name for layer in group} for group in e._groups(network) if e._may_be_scaled(group)]
    assert not any("head" in group for group in groups)
