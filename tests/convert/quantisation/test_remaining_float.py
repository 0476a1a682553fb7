"""Operations that the quantiser leaves in float although TFLite has int8 for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from float_networks import answers, decibels, image, known, of_keras, ranges, unequal
from keras import layers

from convert.quantisation import activations, scheme
from convert.quantisation.remaining_float import complete, parameters
from convert.tflite_file import flatbuffer
from covidnet_lite.errors import ConversionError


def with_inside(inside: Callable[[Any], Any]) -> keras.Model:
    keras.utils.set_random_seed(2)
    given = image()
    x = layers.Conv2D(8, 3, 2, "same", name="one")(given)
    x = inside(x)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, name="two")(x))
    return unequal(keras.Model(given, layers.Dense(3, name="head")(x)), by=0.3)


def selected(x: Any) -> Any:
    return keras.ops.where(x > 0.1, x * 0.5, x * 0.25)


INSIDE: dict[str, Callable[[Any], Any]] = {
    "LeakyReLU": layers.LeakyReLU(0.2),
    "PReLU": layers.PReLU(alpha_initializer="random_uniform", shared_axes=[1, 2]),
    "ELU": layers.ELU(),
    "an exponential": lambda x: keras.ops.exp(0.3 * x),
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(),
    "UpSampling2D": layers.UpSampling2D(2),
    "UpSampling2D behind LeakyReLU": lambda x: layers.UpSampling2D(2)(layers.LeakyReLU(0.3)(x)),
    "a clipped ReLU": layers.ReLU(max_value=1.0, negative_slope=0.1),
    "a choice": selected,
    "SELU": layers.Activation("selu"),
    "ReLU6 of another's": lambda x: keras.ops.minimum(x, 1.5),
}


@pytest.mark.parametrize("inside", INSIDE)
def test_what_tflite_has_in_int8_is_int8_and_answers_as_float(inside: str) -> None:
    net = of_keras(with_inside(INSIDE[inside]))
    quantised = scheme.quantise(net.tflite, "int8", ranges(known(net)))
    graph = flatbuffer.read(quantised, "net")
    assert {t.type for node in graph.nodes for t in node.activations} <= {"INT8", "BOOL", "INT32"}
    assert "DEQUANTIZE" not in [node.name for node in graph.nodes]
    (expected,), (found,) = answers(net), answers(net, quantised)
    assert decibels(expected - expected.mean(), found - expected.mean()) > 15


def test_what_a_person_keeps_in_float_stays_so_beside_it() -> None:
    net = of_keras(with_inside(lambda x: layers.ELU(name="kept")(layers.LeakyReLU(0.2, name="leaky")(x))))
    (kept,) = (t for t, layer in activations.layers_of(list(known(net)), net).items() if layer == "kept")
    quantised = scheme.quantise(net.tflite, "int8", ranges(known(net)), floats=[kept])
    kinds = {node.name: node.outputs[0].type for node in flatbuffer.read(quantised, "net").nodes}
    assert (kinds["LEAKY_RELU"], kinds["ELU"], kinds["CONV_2D"]) == ("INT8", "FLOAT32", "INT8")
    (expected,), (found,) = answers(net), answers(net, quantised)
    assert decibels(expected - expected.mean(), found - expected.mean()) > 15


def test_a_comparison_that_the_kernel_would_abort_at_is_named() -> None:
    net = of_keras(with_inside(lambda x: keras.ops.where(x > 300.0, x, 2 * x)))
    with pytest.raises(ConversionError, match=r"no int8 kernel for 1 operation: GREATER"):
        scheme.quantise(net.tflite, "int8", ranges(known(net)))


def test_what_is_int8_already_stays_to_the_byte() -> None:
    net = of_keras(with_inside(layers.ReLU(6.0)))
    quantised = scheme.quantise(net.tflite, "int8", ranges(known(net)))
    assert complete(quantised, {}) is quantised


@pytest.mark.parametrize("span", [(-1.0, 3.0), (0.0, 6.0), (2.0, 5.0), (-4.0, -1.0), (0.0, 0.0)])
def test_a_range_becomes_a_scale_that_holds_it_and_zero(span: tuple[float, float]) -> None:
    scale, zero = parameters(span)
    assert -128 <= zero <= 127
    for value in (0.0, *span):
        stored = np.clip(np.rint(value / scale) + zero, -128, 127)
        assert (stored - zero) * scale == pytest.approx(value, abs=scale)
