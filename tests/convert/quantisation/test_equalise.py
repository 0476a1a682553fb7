from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from float_networks import (
    answers,
    decibels,
    image,
    known,
    of_keras,
    pictures,
    plain,
    ranges,
    unequal,
    with_graph,
)  # fmt: skip
from keras import layers as K

from convert.quantisation import activations, layers, scheme
from convert.quantisation.equalise import equalise
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor

CONSTANT = np.linspace(-2, 2, 8, dtype=np.float32)


def same_function(net: FloatNetwork, changed: bytes) -> None:
    for before, after in zip(answers(net), answers(net, changed), strict=True):
        assert np.abs(before - after).max() <= 1e-4 * np.abs(before).max()


def scaled_layers(net: FloatNetwork) -> set[str]:
    """Equalises, checks all that must hold of any network, and names the layers whose channels were scaled."""
    before = known(net)
    changed, after = equalise(net.tflite, before)
    same_function(net, changed)
    assert len(changed) <= len(net.tflite) + 1000 * len(before)  # the old weights are gone
    found = activations.by_tensor(activations.record(with_graph(net, changed), pictures()), net)
    names = activations.layers_of(list(before), net)
    scaled = set()
    for tensor, a in after.items():
        size = max(np.abs(a.lows).max(), np.abs(a.highs).max(), 1e-3)
        for told, measured in (
            (a.lows, found[tensor].lows),
            (a.highs, found[tensor].highs),
            (a.means, found[tensor].means),
        ):
            np.testing.assert_allclose(told, measured, atol=1e-4 * size)
        if not (np.array_equal(a.lows, before[tensor].lows) and np.array_equal(a.highs, before[tensor].highs)):
            scaled.add(names[tensor])
    ends = {names[Editor(net.tflite).name(t)] for t in Editor(net.tflite).outputs} | {activations.INPUT}
    assert not scaled & ends
    return scaled


def body(*steps: Callable[[Any], Any]) -> keras.Model:
    """A convolution named one, some steps, a convolution named last, pooling and a head; channels are unequal."""
    keras.utils.set_random_seed(1)
    given = image()
    x = K.Conv2D(8, 3, activation="relu", padding="same", name="one")(given)
    for step in steps:
        x = step(x)
    x = K.Conv2D(6, 3, activation="relu", name="last")(x)
    x = K.GlobalAveragePooling2D(name="pool")(x)
    return unequal(keras.Model(given, K.Dense(2, name="head")(x)))


def shared(x: Any) -> Any:
    layer = K.Conv2D(8, 3, padding="same", name="shared")
    return layer(layer(x))


def two_readers(x: Any) -> Any:
    return K.Add(name="plus")([K.Conv2D(8, 1, name="left")(x), K.DepthwiseConv2D(3, padding="same", name="right")(x)])


PASSED: dict[str, tuple[list[Callable[[Any], Any]], set[str]]] = {
    "convolutions in a row": ([K.Conv2D(5, 3, 2, name="two")], {"one", "two"}),
    "dilation": ([K.Conv2D(5, 3, dilation_rate=2, name="two")], {"one", "two"}),
    "depthwise": ([K.DepthwiseConv2D(3, 2, activation="relu", name="two")], {"one", "two"}),
    "depth multiplier": ([K.DepthwiseConv2D(3, depth_multiplier=3, activation="relu", name="two")], {"one", "two"}),
    "fully connected": ([K.Dense(7, activation="relu", name="two")], {"one", "two"}),
    "pooling of negative values": (
        [K.Conv2D(8, 3, name="two"), K.MaxPooling2D(name="max"), K.AveragePooling2D(2, padding="same", name="mean")],
        {"one", "two", "max", "mean"},
    ),
    "padding": ([K.ZeroPadding2D(2, name="pad")], {"one", "pad"}),
    "ReLU after an addition": ([two_readers, K.ReLU(name="relu")], {"one", "left", "right", "plus", "relu"}),
    "residual": ([lambda x: K.Add(name="plus")([x, K.Conv2D(8, 3, padding="same", name="two")(x)])], {"one", "two", "plus"}),
    "two additions of one": (
        [lambda x: K.Add(name="more")([x, K.Add(name="plus")([x, K.Conv2D(8, 1, name="two")(x)])])],
        {"one", "two", "plus", "more"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSED)
def test_channels_are_scaled_through_what_passes_factors_on_and_the_function_stays(name: str) -> None:
    steps, expected = PASSED[name]
    scaled = scaled_layers(of_keras(body(*steps)))
    # ReLU may be fused into the addition, and then goes by either name.
    assert scaled - {"relu", "plus", "pool", "last"} == expected - {"relu", "plus"}
    assert scaled >= {"pool", "last"}


FIXED: dict[str, Callable[[Any], Any]] = {
    "padding with a value": lambda x: keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0),
    "a mean over channels": lambda x: x + keras.ops.mean(x, axis=-1, keepdims=True),
    "a mean over channels, as many as columns": lambda x: (y := K.MaxPooling2D(2)(x)) + keras.ops.mean(y, axis=-1),
    "a mean over everything": lambda x: x + keras.ops.mean(x),
    "a constant added": lambda x: x + CONSTANT,
    "a constant multiplied": lambda x: x * CONSTANT,
    "a sigmoid": K.Activation("sigmoid"),
    "squeeze and excite": lambda x: x * K.Conv2D(8, 1, activation="sigmoid")(K.GlobalAveragePooling2D(keepdims=True)(x)),
    "a concatenation": lambda x: K.Concatenate()([x, x]),
    "channels moved": lambda x: keras.ops.transpose(x[:, :8, :8], (0, 3, 1, 2)),
    "a transposed convolution": K.Conv2DTranspose(8, 3),
    "a leaky ReLU": K.LeakyReLU(),
    "weights that two operations read": shared,
    "a convolution in groups": K.Conv2D(8, 3, groups=2),
    "one channel added to many": lambda x: x + K.Conv2D(1, 1)(x),
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_nothing_is_scaled_through_what_does_not_pass_factors_on_and_the_function_stays(name: str) -> None:
    assert "one" not in scaled_layers(of_keras(body(FIXED[name])))


def test_a_network_in_which_nothing_may_be_scaled_stays_as_it_is() -> None:
    given = image()
    x = K.Conv2D(4, 3, activation="tanh", name="one")(given)
    net = of_keras(unequal(keras.Model(given, K.Dense(2)(K.Flatten()(x)))))
    assert scaled_layers(net) == set()


def test_every_output_is_left_alone() -> None:
    given = image()
    x = evidence = K.Conv2D(6, 3, activation="relu", name="one")(given)
    x = K.Conv2D(6, 3, activation="relu", name="two")(x)
    x = K.Conv2D(6, 3, activation="relu", name="three")(x)
    x = K.GlobalAveragePooling2D(name="pool")(x)
    net = of_keras(unequal(keras.Model(given, {"logits": K.Dense(2)(x), "embedding": x, "evidence": evidence})))
    assert scaled_layers(net) == {"two"}


def test_equal_biases_that_the_file_holds_once_are_scaled_each_by_its_own() -> None:
    keras.utils.set_random_seed(0)
    x = given = image()
    for name in ("one", "two", "three"):
        x = K.Conv2D(8, 3, activation="relu", bias_initializer="ones", name=name)(x)
    model = keras.Model(given, K.Dense(2)(K.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    for layer in model.layers[1:4]:
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * np.exp(rng.normal(0, 1.3, 8)), bias])
    net = of_keras(model)
    editor = Editor(net.tflite)
    assert len({int(o.inputs[2]) for o in editor.operators if editor.kind(o) == "CONV_2D"}) == 1
    assert {"one", "two", "three"} <= scaled_layers(net)


def near_six(peak: float) -> keras.Model:
    """A ReLU6 whose first channel reaches a peak and whose second, which weighs more, reaches 0.5."""
    given = image()
    x = K.Conv2D(2, 1, activation="relu6", name="one")(given)
    model = keras.Model(given, K.Dense(2)(K.GlobalAveragePooling2D()(K.Conv2D(3, 1, name="two")(x))))
    model.get_layer("one").set_weights([np.float32([peak / 2, 0.25]).reshape(1, 1, 1, 2), np.float32([0, 0])])
    weights = np.float32([[0.02, -0.01, 0.02], [1, 0.5, -0.8]]).reshape(1, 1, 2, 3)
    model.get_layer("two").set_weights([weights, np.float32([0, 0, 0])])
    return model


@pytest.mark.parametrize("peak", [2.0, 4.7, 30.0])
def test_no_channel_is_scaled_into_or_below_the_ceiling_of_a_relu6(peak: float) -> None:
    net = of_keras(near_six(peak))
    assert "one" in scaled_layers(net)
    before = known(net)
    _, after = equalise(net.tflite, before)
    tensor = next(t for t, layer in activations.layers_of(list(before), net).items() if layer == "one")
    factor = after[tensor].highs / before[tensor].highs
    assert factor.min() >= 1
    assert (after[tensor].highs <= np.maximum(4.8 + 1e-4, before[tensor].highs)).all()
    assert factor[1] > 1.5


def test_a_channel_that_is_always_nothing_does_no_harm() -> None:
    model = body(K.Conv2D(5, 3, activation="relu", name="two"))
    for name in ("one", "two"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[..., 0], bias[0] = 0, 0
        model.get_layer(name).set_weights([kernel, bias])
    assert {"one", "two"} <= scaled_layers(of_keras(model))


def test_without_the_range_of_each_channel_nothing_is_scaled() -> None:
    net = of_keras(body())
    given = {t: activations.of_range(*a.range("min-max")) for t, a in known(net).items()}
    changed, after = equalise(net.tflite, given)
    assert after == given
    for before, now in zip(answers(net), answers(net, changed), strict=True):
        np.testing.assert_array_equal(before, now)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_int8_holds_unequal_channels_better_once_they_are_level(activation: str) -> None:
    model = plain(activation, seed=3)
    for layer, drift_monitor in (
        ("one", "depth"),
        ("depth", "two"),
    ):  # the same function, badly spread over its channels
        factor = np.float32([1, 1, 1, 1, 1, 1, 0.02, 0.02])
        first, then = model.get_layer(layer), model.get_layer(drift_monitor)
        kernel, bias = first.get_weights()
        own = factor.reshape(-1, 1) if layer == "depth" else factor
        first.set_weights([kernel * own, bias * factor])
        kernel, bias = then.get_weights()
        then.set_weights([kernel / factor.reshape(-1, 1), bias])
    net = of_keras(model)
    before = known(net)
    changed, after = equalise(net.tflite, before)
    same_function(net, changed)
    found = {}
    for name, graph, recorded in (("before", net.tflite, before), ("after", changed, after)):
        quantised = scheme.quantise(graph, "int8", ranges(recorded))
        noise = {layer.name: layer.snr for layer in layers.compare(with_graph(net, graph), quantised, pictures())}
        found[name] = noise["two"]
        exact = answers(net)[0]
        found[f"{name}, logits"] = decibels(exact, answers(net, quantised)[0])
    assert found["after"] > found["before"] + 6
    assert found["after, logits"] > found["before, logits"]


def test_the_same_network_gives_the_same_bytes() -> None:
    net = of_keras(body())
    assert equalise(net.tflite, known(net))[0] == equalise(net.tflite, known(net))[0]


def drawn(seed: int) -> keras.Model:
    """A network drawn by lot from what networks are made of."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high))

    def convolution(x: Any) -> Any:
        ends = str(rng.choice(["zeros", "ones"]))
        return K.Conv2D(number(2, 9), 3, number(1, 3), "same", activation=any_of(), bias_initializer=ends)(x)

    def any_of() -> str:
        return str(rng.choice(["linear", "relu", "relu6"]))

    def other(x: Any) -> Any:
        alike = [y for y in made if y.shape == x.shape]
        return alike[number(0, len(alike))]

    steps: list[Callable[[Any], Any]] = [
        convolution,
        convolution,
        lambda x: K.DepthwiseConv2D(3, 1, "same", depth_multiplier=number(1, 4), activation=any_of())(x),
        lambda x: K.Conv2D(x.shape[-1], 3, padding="same", groups=1 + x.shape[-1] % 2, activation=any_of())(x)
        if x.shape[-1] % 2 == 0 else K.Dense(4, activation=any_of())(x),
        lambda x: K.ReLU(6.0)(x),
        lambda x: K.MaxPooling2D(2, padding="same")(x),
        lambda x: K.AveragePooling2D(2, padding="same")(x),
        lambda x: K.ZeroPadding2D(1)(x),
        lambda x: K.Add()([x, other(x)]),
        lambda x: K.Add()([x, K.Conv2D(x.shape[-1], 3, padding="same", activation=any_of())(x)]),
        lambda x: K.Concatenate()([x, other(x)]),
        lambda x: x + rng.normal(size=x.shape[-1]).astype(np.float32),
        lambda x: x + keras.ops.mean(x, axis=(1, 2) if number(0, 2) else -1, keepdims=True),
    ]  # fmt: skip
    given = image((1, 3)[number(0, 2)])
    made = [convolution(given)]
    for _ in range(number(5, 12)):
        made.append(steps[number(0, len(steps))](made[-1] if rng.random() < 0.7 else made[number(0, len(made))]))
    pooled = K.GlobalAveragePooling2D()(made[-1])
    ends = {"logits": K.Dense(3)(K.Dense(5, activation="relu")(pooled))}
    if number(0, 2):
        ends |= {"embedding": pooled, "evidence": made[number(0, len(made))]}
    return unequal(keras.Model(given, ends), seed)


@pytest.mark.parametrize("seed", range(6))
def test_the_function_of_networks_drawn_by_lot_stays(seed: int) -> None:
    scaled_layers(of_keras(drawn(seed)))
