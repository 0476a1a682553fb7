from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from float_networks import SIDE, answers, of_keras, pictures, plain, unequal, with_graph

from convert.float_input import normalise
from convert.quantisation import activations, ranges
from convert.quantisation.activations import Activation
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.prediction import softmax


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return unequal(plain())


@pytest.fixture(scope="module")
def net(model: keras.Model) -> FloatNetwork:
    return of_keras(model)


@pytest.fixture(scope="module")
def recorded(net: FloatNetwork) -> activations.Activations:
    return activations.record(net, pictures())


def test_every_activation_is_recorded_by_its_layer(recorded: activations.Activations) -> None:
    assert set(recorded) == {"radiograph", "one", "depth", "two", "skip", "plus", "pool", "logits"}
    assert all(a.is_full for a in recorded.values())


def test_channels_are_those_that_keras_computes(
    model: keras.Model, net: FloatNetwork, recorded: activations.Activations
) -> None:
    values = normalise(pictures(), net.spec)
    for layer, name in (
        ("one", "one"),
        ("depth", "depth"),
        ("two", "two"),
        ("skip", "skip"),
        ("plus", "plus"),
        ("pool", "pool"),
        ("head", "logits"),
    ):
        expected = np.asarray(keras.Model(model.inputs[0], model.get_layer(layer).output)(values))
        channels = expected.reshape(-1, expected.shape[-1])
        a, size = recorded[name], float(np.abs(expected).max())
        for found, wanted in ((a.lows, channels.min(0)), (a.highs, channels.max(0)), (a.means, channels.mean(0))):
            np.testing.assert_allclose(found, wanted, atol=1e-5 * size)
        assert a.range("min-max") == pytest.approx((channels.min(), channels.max()), rel=1e-5, abs=1e-5 * size)


def test_clipped_ranges_lie_within_the_whole_one(recorded: activations.Activations) -> None:
    for layer, a in recorded.items():
        low, high = a.range("min-max")
        for method in ("percentile", "typical", "per image", "mean ends", "halfway"):
            clipped = a.range(method)
            assert min(low, 0) <= clipped[0] <= clipped[1] <= max(high, 0), (layer, method)


def recorder(*batches: Any) -> Activation:
    gathered = activations._Recorder(len(batches))
    for values in batches:
        gathered.add(np.asarray(values, np.float32))
    return gathered.finish()


def test_outliers_are_clipped_by_percentile_and_kept_by_min_max() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (4, 1, 64, 64, 8)).astype(np.float32)
    values[0, 0, 0, 0, 0], values[1, 0, 0, 0, 1] = 1000, -1000
    a = recorder(*values)
    assert a.range("min-max") == (-1000, 1000)
    assert -10 < a.range("percentile")[0] < -3 < 3 < a.range("percentile")[1] < 10
    assert a.range("of another name") == (-1000, 1000)


def test_every_channel_is_sampled_though_their_number_divides_the_step() -> None:
    values = np.zeros((8, 1, 64, 64, 32), np.float32)
    values[..., 31] = 7
    a = recorder(*values)
    assert a.range("percentile") == (0, 7)
    assert a.range("typical") == (0, 7)


def test_the_typical_range_is_that_of_nine_images_of_ten() -> None:
    batches = [np.full((1, 4, 4, 2), 2.0) for _ in range(19)] + [np.full((1, 4, 4, 2), 100.0)]
    a = recorder(*batches)
    assert a.range("min-max") == (2, 100)
    assert a.range("typical") == (2, 2)


def test_the_mean_ends_are_those_of_each_image_and_halfway_lies_between_them_and_those_per_image() -> None:
    rng = np.random.default_rng(0)
    images = [np.append(rng.uniform(-1, 1, 511), end).reshape(1, 8, 8, 8) for end in (10, 20, 30)]
    images[0][0, 0, 0, 0] = -7
    a = recorder(*images)
    assert a.range("mean ends") == pytest.approx((-3, 20), abs=0.01)
    assert a.range("halfway") == pytest.approx((np.array(a.range("per image")) + a.range("mean ends")) / 2, rel=1e-5)
    assert recorder(np.full((1, 2, 2, 3), 5.0)).range("mean ends") == (0, 5)  # 0 is always within 8 bits


def test_the_range_of_the_mean_image_does_not_stretch_for_an_extreme_one_or_a_rare_value() -> None:
    rng = np.random.default_rng(0)
    usual, extreme = rng.normal(0, 1, (19, 1, 8, 8, 2)), rng.normal(0, 50, (1, 1, 8, 8, 2))
    usual[0, 0, 0, 0, 0] = 20
    low, high = recorder(*usual, *extreme).range("per image")
    assert -5 < low < -1.5 < 1.5 < high < 5
    assert recorder(*extreme).range("per image")[1] > 80  # which alone is the usual one
    assert recorder(*[np.zeros((1, 2, 2, 3))] * 4).range("per image") == (0, 0)


def test_the_range_of_the_mean_image_gives_the_most_decibels() -> None:
    images = np.abs(np.random.default_rng(0).normal(0, 1, (20, 1, 16, 16, 4)))
    images[18:] *= 20
    low, high = recorder(*images).range("per image")

    def decibels_within(end: float) -> float:
        step = end / 255
        errors = images - np.clip(np.rint(images / step), 0, 255) * step
        return float(10 * np.log10((images**2).mean(axis=(1, 2, 3, 4)) / (errors**2).mean(axis=(1, 2, 3, 4))).mean())

    assert low == 0
    best = max(decibels_within(images.max() * share) for share in np.linspace(0.02, 1, 99))
    assert decibels_within(images.max()) < best - 3
    assert decibels_within(high) > best - 0.5


def test_logits_are_clipped_where_answers_change_least(net: FloatNetwork) -> None:
    exact, recorded = answers(net)[0], activations.record(net, pictures())["logits"]
    whole, clipped = recorded.range("min-max"), recorded.range_in_8_bits("min-max")
    assert whole[0] <= clipped[0] < clipped[1] <= whole[1]
    assert clipped == recorded.range_in_8_bits("typical") == recorded.range_in_8_bits("halfway")
    assert recorded.range_in_8_bits("mean ends") == recorded.range("mean ends") != clipped
    costs = [ranges._cost_of_rounding(exact, softmax(exact), ends) for ends in (clipped, whole)]
    assert costs[0] <= costs[1]


def test_recording_repeats(net: FloatNetwork, recorded: activations.Activations) -> None:
    again = activations.record(net, pictures())
    assert activations.to_table(again) == activations.to_table(recorded)
    assert json.dumps(activations.to_table(again)) == json.dumps(activations.to_table(recorded))


def test_numbers_survive_the_table_exactly(recorded: activations.Activations) -> None:
    kept = recorded | {"logits": recorded["logits"].with_range(activations.EQUALISED, (-1.5, 2.5))}
    read = activations.from_table(json.loads(json.dumps(activations.to_table(kept))))
    assert list(read) == sorted(kept)
    for layer, a in kept.items():
        assert read[layer].ranges == a.ranges
        for values in ("lows", "highs", "means"):
            assert getattr(read[layer], values).dtype == np.float32
            np.testing.assert_array_equal(getattr(read[layer], values), getattr(a, values))


def test_a_plain_table_of_ranges_is_read_and_written_as_it_is() -> None:
    table = {"a": [0.0, 6.0], "b": [-72.10932922363281, 1.0]}
    read = activations.from_table(table)
    assert not read["a"].is_full
    assert read["b"].range("typical") == (-72.10932922363281, 1.0)
    assert activations.to_table(read) == table


FULL = {"min-max": [0, 1], "lows": [0.0], "highs": [1.0], "means": [0.5]}


@pytest.mark.parametrize(
    "entry",
    [
        1, [1], [1, 2, 3], [2, 1], ["x", "y"], [0, float("nan")], [0, float("inf")], None, "ab",
        {}, FULL | {"min-max": [1, 0]}, FULL | {"typical": [0]}, FULL | {"lows": [0.0, 1.0]}, FULL | {"means": ["x"]},
        FULL | {"means": [float("nan")]}, FULL | {"highs": [float("inf")]}, FULL | {"equalised": [2, 1]},
        {k: v for k, v in FULL.items() if k != "min-max"}, {k: v for k, v in FULL.items() if k != "means"},
    ],
)  # fmt: skip
def test_what_is_no_table_of_ranges_is_refused(entry: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        activations.from_table({"layer": entry})
    assert activations.from_table({"layer": FULL})["layer"].is_full


def test_the_input_s_range_follows_from_its_spec(net: FloatNetwork, recorded: activations.Activations) -> None:
    dark = activations.record(net, pictures() // 4)
    assert dark["radiograph"].range("min-max")[1] < 0
    for given in (dark, recorded, {layer: a for layer, a in recorded.items() if layer != "radiograph"}):
        told = activations.by_tensor(given, net)
        assert list(told) == list(activations.tensors_of(net.tflite))
        for method in activations.METHODS:
            assert told["serving_default_radiograph:0"].range(method) == pytest.approx((-2, 2))
    assert activations.by_tensor(dark, net)["serving_default_radiograph:0"].is_full
    assert activations.input_range(InputSpec(8, 8, 3, (0.0, 127.5, 255.0), (255.0, 127.5, 51.0))) == pytest.approx(
        (-5, 1)
    )


def test_activations_of_another_network_are_refused(net: FloatNetwork, recorded: activations.Activations) -> None:
    with pytest.raises(ConversionError, match=r"lack 2 of 8 activations \(two, logits\).*another network"):
        activations.by_tensor({k: a for k, a in recorded.items() if k not in ("two", "logits")}, net)


def test_tensors_are_named_by_the_layer_they_come_from(net: FloatNetwork) -> None:
    tensors = [
        "serving_default_radiograph:0",
        "functional_1/EfficientNetLite0_1/stem_relu_1/Relu6;functional_1/EfficientNetLite0_1/stem_1/BiasAdd",
        "functional_1/net_1/block2_add_1/Add",
        "functional_1/net_1/block2_add_1/Add_1",
        "lonely",
        net.output_tensors["logits"],
    ]
    assert list(activations.layers_of(tensors, net).values()) == [
        "radiograph", "stem_relu", "block2_add", "block2_add#2", "lonely", "logits",
    ]  # fmt: skip


def test_the_input_is_told_by_its_place_and_not_by_what_it_is_called(net: FloatNetwork) -> None:
    tensors = ["serving_default_x:0", "radiograph_net/conv_1/Relu", "radiograph_net/conv_2/Relu"]
    assert list(activations.layers_of(tensors, net).values()) == ["radiograph", "conv", "conv#2"]


def test_names_are_the_same_when_the_network_is_converted_again(
    recorded: activations.Activations, model: keras.Model
) -> None:
    assert list(activations.record(of_keras(model), pictures(1))) == list(recorded)


def test_scaling_channels_scales_all_that_is_known_of_them() -> None:
    a = Activation(
        {"min-max": (-2.0, 4.0), "typical": (-1.0, 3.0)}, np.float32([-2, 0]), np.float32([1, 4]), np.float32([0, 2])
    )
    scaled = a.scaled(np.float32([2, 0.5]))
    assert scaled.ranges == {"min-max": (-4.0, 2.0)}
    assert [list(v) for v in (scaled.lows, scaled.highs, scaled.means)] == [[-4, 0], [2, 2], [0, 1]]


def test_a_network_that_puts_out_nan_is_named_by_its_layer(net: FloatNetwork) -> None:
    editor = Editor(net.tflite)
    bias = int(editor.operators[1].inputs[2])
    editor.set_constant(bias, np.append(editor.constant(bias)[1:], np.nan))
    with pytest.raises(ConversionError, match="the layer depth puts out NaN or infinity"):
        activations.record(with_graph(net, editor.finish()), pictures(2))


def test_what_litert_cannot_run_is_told(net: FloatNetwork) -> None:
    small = replace(net, spec=replace(net.spec, width=SIDE // 2))
    with pytest.raises(ConversionError, match="LiteRT cannot run the network"):
        activations.record(small, pictures()[:, :, : SIDE // 2])
