from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from convert.float_input import normalise
from convert.quantisation import synthetic
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.input_spec import InputSpec

SPEC = InputSpec(32, 32, 1, (127.0,), (128.0,))


def features(channels: int = 1, batch: int | None = None) -> keras.Model:
    """Two normalised convolutions."""
    image = keras.Input((32, 32, channels), batch_size=batch)
    x = layers.Conv2D(8, 3, 2, use_bias=False, name="first")(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="first_bn")(x))
    x = layers.Conv2D(8, 3, 2, use_bias=False, name="second")(x)
    return keras.Model(image, layers.BatchNormalization(name="second_bn")(x), name="features")


def taught(network: keras.Model, spec: InputSpec = SPEC) -> keras.Model:
    """Statistics as if it had been trained on dim, streaky pictures, far from the noise one starts with."""
    rng = np.random.default_rng(5)
    streaks = np.clip(60 + 25 * rng.standard_normal((16, spec.height, 1)), 0, 255).astype(np.uint8)
    inputs = normalise(np.repeat(streaks, spec.width, axis=2), spec)
    for layer in network._flatten_layers(include_self=False):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    network(inputs, training=True)
    return network


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "STEPS", 12)


@pytest.fixture
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return taught(features())


def test_the_network_takes_the_images_for_its_training_images(network: keras.Model) -> None:
    made = synthetic.make(network, SPEC, 12)
    assert made.images.shape == (12, 32, 32)
    assert made.images.dtype == np.uint8
    assert made.matched == 2
    assert made.after < 0.4 * made.before
    seen = np.asarray(network.get_layer("first")(normalise(made.images, SPEC)))
    kept = network.get_layer("first_bn")
    far = np.asarray(network.get_layer("first")(normalise(synthetic.make(None, SPEC, 12).images, SPEC)))

    def off(values: np.ndarray) -> float:
        return float(np.abs(values.mean(axis=(0, 1, 2)) - kept.moving_mean).mean())

    assert off(seen) < 0.7 * off(far)


@pytest.mark.usefixtures("brief")
def test_a_seed_gives_the_same_images_and_leaves_other_chance_and_the_network_alone(network: keras.Model) -> None:
    state, weights = np.random.get_state()[1].copy(), network.get_weights()
    one, two, other = (synthetic.make(network, SPEC, 4, seed).images for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).mean() > 0.5
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    for old, new in zip(weights, network.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert all("call" not in vars(layer) for layer in network.layers)


@pytest.mark.usefixtures("brief")
def test_a_network_within_a_network_counts_and_a_fixed_batch_does_not() -> None:
    image = keras.Input(batch_shape=(1, 32, 32, 1))
    x = layers.BatchNormalization(name="own_bn")(features(batch=1)(image))
    whole = taught(keras.Model(image, {"logits": layers.GlobalAveragePooling2D()(x)}))
    made = synthetic.make(whole, SPEC, 5)
    assert len(made.images) == 5
    assert made.matched == 3
    assert made.after < made.before


@pytest.mark.usefixtures("brief")
def test_a_gray_picture_is_shown_to_all_three_channels() -> None:
    keras.utils.set_random_seed(0)
    spec = InputSpec(32, 32, 3, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    made = synthetic.make(taught(features(channels=3), spec), spec, 5)
    assert made.images.shape == (5, 32, 32)
    assert made.after < made.before


def test_without_statistics_the_images_are_smooth_noise(network: keras.Model) -> None:
    image = keras.Input((32, 32, 1))
    plain = keras.Model(image, layers.Conv2D(4, 3)(image))
    for made in (synthetic.make(None, SPEC, 3), synthetic.make(plain, SPEC, 3)):
        assert made.matched == 0
        steps = np.abs(np.diff(made.images.astype(int), axis=2)).mean()
        assert steps < 45  # uniform noise: 85
        assert made.images.min() < 5
        assert made.images.max() > 250


@pytest.mark.usefixtures("brief")
def test_equalised_networks_get_equalised_images(network: keras.Model) -> None:
    spec = InputSpec(32, 32, 1, (127.0,), (128.0,), equalise=True)
    for picture in synthetic.make(network, spec, 3).images:
        quarters = np.histogram(picture[(picture > 0) & (picture < 255)], 4, (0, 255))[0]
        assert quarters.min() > 0.6 * quarters.max()


@pytest.mark.usefixtures("brief")
def test_kept_statistics_stand_in_for_batch_normalisation(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 1))
    x = layers.Conv2D(8, 3, 2, activation="relu", name="c")(image)
    plain = keras.Model(image, layers.Dense(2, name="d")(layers.GlobalAveragePooling2D()(x)))
    dim = np.full((20, 32, 32, 1), -0.6, np.float32) + np.random.default_rng(0).normal(0, 0.1, (20, 1, 32, 1))
    kept = synthetic.record(plain, dim.astype(np.float32))
    assert set(kept) == {"c", "d"}
    values = np.asarray(keras.Model(plain.inputs[0], plain.get_layer("c").output)(dim))
    np.testing.assert_allclose(kept["c"][0], values.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(kept["c"][1], values.std(axis=(0, 1, 2)), atol=1e-5)
    made = synthetic.make(plain, SPEC, 4, statistics=kept)
    assert made.matched == 2
    assert made.after < 0.5 * made.before


def test_statistics_survive_the_file_and_damage_is_told(tmp_path: Path) -> None:
    kept = {"a": (np.float32([1, 2]), np.float32([0.5, 0.25])), "b": (np.float32([3]), np.float32([4]))}
    assert synthetic.to_npz(kept) == synthetic.to_npz(dict(reversed(kept.items())))
    path = tmp_path / "n.keras"
    for data, entry in ((synthetic.to_npz(kept), True), (b"x", True), (b"", False)):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(synthetic.ENTRY if entry else "config.json", data)
        if data == b"x":
            with pytest.raises(ConversionError, match=r"n\.keras: the statistics in it are damaged"):
                synthetic.read_statistics(path)
        elif entry:
            read = synthetic.read_statistics(path) or {}
            assert {n: [list(v) for v in pair] for n, pair in read.items()} == {
                "a": [[1, 2], [0.5, 0.25]],
                "b": [[3], [4]],
            }
        else:
            assert synthetic.read_statistics(path) is None
    (tmp_path / "m.h5").write_bytes(b"no zip")
    assert synthetic.read_statistics(tmp_path / "m.h5") is None


def test_statistics_of_another_network_are_refused(network: keras.Model) -> None:
    pair = (np.zeros(3, np.float32), np.ones(3, np.float32))
    for name in ("first", "nowhere"):
        with pytest.raises(ConversionError, match=f"{name}.*another network"):
            synthetic.make(network, SPEC, 2, statistics={name: pair})
