from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from convert.source import keras_network
from convert.source.frozen import only
from covidnet_lite.errors import ConversionError

SHAPE = (16, 16, 3)


def features() -> tuple[Any, Any]:
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    return image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="stem")(image))


def ending(*ends: Callable[[Any], Any]) -> keras.Model:
    image, x = features()
    for end in ends:
        x = end(x)
    return keras.Model(image, x)


def steep(units: int, activation: str | None = None, **more: Any) -> layers.Dense:
    return layers.Dense(
        units,
        activation,
        kernel_initializer=keras.initializers.RandomNormal(0, 5, seed=3),
        bias_initializer="ones",
        name="head",
        **more,
    )


def reload(network: keras.Model, path: Path, name: str = "net.keras") -> Any:
    network.save(path / name)
    return keras_network.load(path / name)


def pictures() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE)).astype(np.float32)


def logits(network: Any) -> np.ndarray:
    return np.stack([np.asarray(network(image[None])["logits"])[0] for image in pictures()])


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


ENDS = {
    "Dense": lambda: ending(steep(3, "softmax")),
    "Softmax": lambda: ending(steep(3), layers.Softmax()),
    "Activation": lambda: ending(steep(3), layers.Activation("softmax")),
    "Sequential": lambda: keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), steep(3, "softmax")]),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_softmax_is_taken_off(end: str, name: str, tmp_path: Path) -> None:
    network = ENDS[end]()
    expected = np.asarray(network(pictures()))
    loaded = reload(network, tmp_path, name)
    result = logits(loaded)
    assert abs(result.sum(axis=1) - 1).min() > 1e-3  # no probabilities
    np.testing.assert_allclose(softmax(result), expected, atol=1e-5)
    assert tuple(loaded.input.shape) == (1, *SHAPE)


def test_logits_stay_as_they_are(tmp_path: Path) -> None:
    network = ending(steep(3))
    np.testing.assert_allclose(logits(reload(network, tmp_path)), np.asarray(network(pictures())), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_one_sigmoid_becomes_two_logits_that_say_the_same(bias: bool, tmp_path: Path) -> None:
    network = ending(steep(1, "sigmoid", use_bias=bias))
    result = logits(reload(network, tmp_path))
    assert result.shape == (4, 2)
    np.testing.assert_array_equal(result[:, 0], 0)
    np.testing.assert_allclose(softmax(result)[:, 1:], np.asarray(network(pictures())), atol=1e-5)


def test_named_outputs_stay(tmp_path: Path) -> None:
    image, x = features()
    network = keras.Model(image, {"logits": steep(3)(x), "embedding": x})
    assert set(reload(network, tmp_path).output) == {"logits", "embedding"}


def test_an_only_output_may_come_in_a_list(tmp_path: Path) -> None:
    image, x = features()
    network = keras.Model([image], [steep(3, "softmax")(x)])
    expected = np.asarray(only(network([pictures()])))
    np.testing.assert_allclose(softmax(logits(reload(network, tmp_path))), expected, atol=1e-5)


def test_hdf5_under_another_name_is_read(tmp_path: Path) -> None:
    network = ending(steep(3))
    network.save(tmp_path / "net.h5")
    (tmp_path / "net.h5").rename(tmp_path / "net.keras")
    np.testing.assert_allclose(
        logits(keras_network.load(tmp_path / "net.keras")), np.asarray(network(pictures())), atol=1e-5
    )


def test_the_flatbuffer_is_the_same_network_and_the_same_every_time(tmp_path: Path) -> None:
    network = ending(steep(3))
    network.save(tmp_path / "net.keras")
    once, again = (keras_network.to_tflite(keras_network.load(tmp_path / "net.keras"), tmp_path) for _ in range(2))
    assert once == again
    interpreter = Interpreter(model_content=once)
    interpreter.allocate_tensors()
    (given,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert tuple(given["shape"]) == (1, *SHAPE)
    interpreter.set_tensor(given["index"], pictures()[:1])
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(out["index"]), np.asarray(network(pictures()[:1])), atol=1e-4)


def with_dtype(policy: str) -> keras.Model:
    return ending(layers.Dense(8, dtype=policy), steep(3))


REFUSED = {
    "sigmoids": (lambda: ending(steep(3, "sigmoid")), "ends in 3 sigmoids"),
    "two outputs": (lambda: keras.Model((f := features())[0], [steep(3)(f[1]), f[1]]), "has 2 unnamed outputs"),
    "other names": (lambda: keras.Model((f := features())[0], {"scores": steep(3)(f[1]), "x": f[1]}), "has outputs scores, x"),
    "one layer in float16": (lambda: with_dtype("mixed_float16"), "computes in float16"),
    "one layer in bfloat16": (lambda: with_dtype("mixed_bfloat16"), "computes in bfloat16"),
    "one layer in float64": (lambda: with_dtype("float64"), "computes in float64"),
    "integers in": (lambda: keras.Model(i := keras.Input(SHAPE, dtype="int32"), layers.Flatten()(i)), "takes int32"),
    "a row": (lambda: keras.Model(i := keras.Input((16,)), layers.Dense(2)(i)), r"takes \(16,\)"),
    "one side open": (lambda: keras.Model(i := keras.Input((16, None, 3)), layers.GlobalAveragePooling2D()(i)), "images of any size"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_classifier_of_one_image_is_refused(what: str, tmp_path: Path) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ConversionError, match=message):
        reload(make(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_a_damaged_file_is_refused_wherever_the_damage_is(name: str, tmp_path: Path) -> None:
    ending(steep(3)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.95):
        broken = bytearray(whole)
        start = int(share * len(whole))
        broken[start : start + 40] = rng.bytes(min(40, len(whole) - start))
        for data in (bytes(broken), whole[:start]):
            (tmp_path / f"broken_{name}").write_bytes(data)
            said = name
            try:
                keras_network.load(tmp_path / f"broken_{name}")
            except ConversionError as error:  # any other exception fails
                said = str(error)
            assert name in said
            assert "\n" not in said
