from __future__ import annotations

import keras
import numpy as np
import pytest
from float_networks import known, of_keras, pictures, plain, ranges

from convert.float_input import normalise
from convert.quantisation import activations, layers, scheme
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return plain()


@pytest.fixture(scope="module")
def net(model: keras.Model) -> FloatNetwork:
    return of_keras(model)


@pytest.fixture(scope="module")
def recorded(net: FloatNetwork) -> activations.Activations:
    return known(net)


@pytest.fixture(scope="module")
def compared(net: FloatNetwork, recorded: activations.Activations) -> list[layers.Layer]:
    return layers.compare(net, scheme.quantise(net.tflite, "int8", ranges(recorded)), pictures())


def test_every_layer_of_a_good_network_has_a_high_ratio(compared: list[layers.Layer]) -> None:
    assert {layer.name for layer in compared} == {"radiograph", "one", "depth", "two", "skip", "plus", "pool", "logits"}
    assert min(layer.snr for layer in compared) > 25
    assert [layer.snr for layer in compared] == sorted(layer.snr for layer in compared)


def test_layers_are_told_by_name_tensor_and_operation(compared: list[layers.Layer], net: FloatNetwork) -> None:
    kinds = {layer.name: layer.operation for layer in compared}
    assert kinds == {
        "radiograph": "INPUT", "one": "CONV_2D", "depth": "DEPTHWISE_CONV_2D", "two": "CONV_2D", "skip": "CONV_2D",
        "plus": "ADD", "pool": "MEAN", "logits": "FULLY_CONNECTED",
    }  # fmt: skip
    assert {layer.tensor for layer in compared} == set(activations.tensors_of(net.tflite))


def test_ranges_are_those_of_the_activations_and_of_the_weights(
    compared: list[layers.Layer], model: keras.Model, recorded: activations.Activations, net: FloatNetwork
) -> None:
    by_name = {layer.name: layer for layer in compared}
    for layer in compared:
        if layer.name != "radiograph":
            assert layer.range == pytest.approx(recorded[layer.tensor].range("min-max"), rel=1e-5, abs=1e-6)
    values = normalise(pictures(), net.spec)
    assert by_name["radiograph"].range == pytest.approx((values.min(), values.max()))
    for name in ("one", "depth", "two", "skip"):
        kernel = np.asarray(model.get_layer(name).get_weights()[0])
        channels = np.abs(kernel.reshape(-1, 8)).max(axis=0)  # (h, w, in, out) and, depthwise, (h, w, in, 1)
        assert by_name[name].weights == pytest.approx((kernel.min(), kernel.max()))
        assert by_name[name].channels == pytest.approx((channels.min(), channels.max()))
    head = np.abs(np.asarray(model.get_layer("head").get_weights()[0])).max(axis=0)
    assert by_name["logits"].channels == pytest.approx((head.min(), head.max()))
    for name in ("radiograph", "plus", "pool"):
        assert (by_name[name].weights, by_name[name].channels) == (None, None)


def test_the_ratio_is_what_its_definition_says(net: FloatNetwork, recorded: activations.Activations) -> None:
    quantised = scheme.quantise(net.tflite, "int8", ranges(recorded))
    ours, theirs = activations.all_tensors(net.tflite), activations.all_tensors(quantised)
    signal = noise = 0.0
    tensor = next(t for t, layer in activations.layers_of(list(recorded), net).items() if layer == "depth")
    index, other = activations.tensors_of(net.tflite)[tensor], activations.tensors_of(quantised)[tensor]
    given = theirs.get_input_details()[0]
    details = {d["index"]: d["quantization"] for d in theirs.get_tensor_details()}
    for picture in pictures(3):
        values = normalise(picture[None], net.spec)
        activations.run(ours, values)
        scale, zero = given["quantization"]
        activations.run(theirs, np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8))
        exact, (scale, zero) = ours.get_tensor(index), details[other]
        signal += float((exact**2).sum())
        noise += float(((exact - (theirs.get_tensor(other).astype(float) - zero) * scale) ** 2).sum())
    found = {layer.name: layer.snr for layer in layers.compare(net, quantised, pictures(3))}
    assert found["depth"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)


@pytest.mark.parametrize("worst", ["plus", "pool", "logits"])
def test_the_layer_that_was_quantised_badly_comes_first(
    worst: str, net: FloatNetwork, recorded: activations.Activations
) -> None:
    names = activations.layers_of(list(recorded), net)
    bad = {
        t: (low, high) if names[t] != worst else (low / 20, high / 20) for t, (low, high) in ranges(recorded).items()
    }
    found = layers.compare(net, scheme.quantise(net.tflite, "int8", bad), pictures())
    assert worst in [layer.name for layer in found[:2]]  # what follows inherits its errors
    assert {layer.name: layer.snr for layer in found}[worst] < 10
    assert min(layer.snr for layer in found if layer.name in ("one", "depth", "two", "skip")) > 25


def test_other_schemes_are_compared_too(net: FloatNetwork, recorded: activations.Activations) -> None:
    worst = {
        name: layers.compare(net, scheme.quantise(net.tflite, name, ranges(recorded)), pictures())[0].snr
        for name in scheme.SCHEMES
    }
    assert worst["float32"] > 100 > worst["float16"] > worst["int16"] > worst["int8"] > 25
    names = activations.layers_of(list(recorded), net)
    wide = [tensor for tensor, layer in names.items() if layer in ("two", "depth")]
    mixed = layers.compare(net, scheme.quantise(net.tflite, "int8", ranges(recorded), wide), pictures())
    assert {layer.name for layer in mixed} == set(names.values())


def test_a_wrong_graph_shows_in_the_layer_where_it_goes_wrong(net: FloatNetwork) -> None:
    editor = Editor(net.tflite)
    weights = int(editor.operators[1].inputs[1])
    editor.set_constant(weights, -editor.constant(weights))
    found = {layer.name: layer.snr for layer in layers.compare(net, editor.finish(), pictures())}
    assert found["one"] > 100
    assert found["depth"] < 5


def test_a_silent_layer_has_a_ratio_all_the_same() -> None:
    model = plain("relu")
    model.get_layer("skip").set_weights([model.get_layer("skip").get_weights()[0] * 0, np.full(8, -1)])
    net = of_keras(model)
    found = layers.compare(net, scheme.quantise(net.tflite, "int8", ranges(known(net))), pictures())
    assert all(np.isfinite(layer.snr) for layer in found)


def test_the_layer_that_makes_the_noise_lost_most_and_those_behind_inherit_it(
    net: FloatNetwork, recorded: activations.Activations
) -> None:
    spoilt = ranges(recorded)
    tensor = next(t for t, layer in activations.layers_of(list(spoilt), net).items() if layer == "one")
    spoilt[tensor] = (spoilt[tensor][0] * 20, spoilt[tensor][1] * 20)
    found = layers.compare(net, scheme.quantise(net.tflite, "int8", spoilt), pictures())
    assert max(found, key=lambda layer: layer.lost).name == "one"
