from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from convert.float_input import normalise
from covidnet_lite.network.input_spec import InputSpec
from training.fit.equalise_channels import equalise_channels

SPEC = InputSpec(16, 16)


@pytest.fixture
def network() -> keras.Model:
    """A stem, an inverted bottleneck with a shortcut, a head; channels of very different ranges."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1))
    stem = layers.ReLU(6.0, name="stem_relu")(layers.Conv2D(8, 3, padding="same", name="stem")(image))
    depthwise = layers.ReLU(6.0, name="dw_relu")(layers.DepthwiseConv2D(3, padding="same", name="dw")(stem))
    low = layers.Conv2D(4, 1, name="project")(depthwise)
    inner = layers.ReLU(6.0, name="expand_relu")(layers.Conv2D(8, 1, use_bias=False, name="expand")(low))
    both = layers.Add(name="add")([low, layers.Conv2D(4, 1, name="project2")(inner)])
    head = layers.ReLU(6.0, name="head_relu")(layers.Conv2D(8, 1, name="head")(both))
    logits = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(head))
    result = keras.Model(image, {"logits": logits})
    rng = np.random.default_rng(0)
    for name in ("stem", "project", "project2"):
        layer = result.get_layer(name)
        kernel, bias = layer.get_weights()
        spread = 10 ** rng.uniform(-1.5, 0.3, kernel.shape[-1])
        layer.set_weights([kernel * spread, bias + 0.1 * spread])
    return result


def spread(network: keras.Model, name: str, inputs: np.ndarray) -> float:
    values = np.abs(np.asarray(keras.Model(network.input, network.get_layer(name).output)(inputs))).max(axis=(0, 1, 2))
    return float(values.max() / values.min())


def test_the_function_stays_the_same_and_the_channels_come_closer(network: keras.Model) -> None:
    images = np.random.default_rng(1).integers(0, 256, (32, 16, 16), dtype=np.uint8)
    inputs = normalise(images, SPEC)
    before = np.asarray(network(inputs)["logits"])
    names = ("stem_relu", "project", "add")
    spreads = {name: spread(network, name, inputs) for name in names}
    equalise_channels(network, images, SPEC)
    np.testing.assert_allclose(network(inputs)["logits"], before, rtol=1e-4, atol=1e-5)
    for name in names:
        assert spread(network, name, inputs) < 0.7 * spreads[name], name
