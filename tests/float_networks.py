"""Small float networks for the tests of ``convert``, and what they put out."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

from convert.float_input import normalise
from convert.quantisation import activations
from convert.quantisation.activations import Activations
from convert.source import network
from convert.source.network import FloatNetwork

SIDE = 16


def of_keras(model: keras.Model) -> FloatNetwork:
    """What ``convert`` makes of a Keras model, for which black is -2 and white is 2."""
    ends = model.output["logits"] if isinstance(model.output, dict) else model.output
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.keras"
        model.save(path)
        return network.load(path, tuple("abcdefghij"[: ends.shape[-1]]), (-2.0, 2.0), colour="gray")


def pictures(count: int = 6, seed: int = 0) -> Any:
    """Fitted noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE), np.uint8)


def known(net: FloatNetwork, count: int = 6) -> Activations:
    """Activations by tensor on noise."""
    return activations.by_tensor(activations.record(net, pictures(count)), net)


def ranges(recorded: Activations, method: str = "min-max", bits: int = 8) -> dict[str, activations.Range]:
    return {t: a.range_in_8_bits(method) if bits == 8 else a.range(method) for t, a in recorded.items()}


def with_graph(net: FloatNetwork, tflite: bytes) -> FloatNetwork:
    return replace(net, tflite=tflite)


def answers(net: FloatNetwork, tflite: bytes | None = None, count: int = 6) -> list[Any]:
    """Every output for noise in real values, ``(count, ...)`` each, by TFLite's plain kernels."""
    interpreter = Interpreter(
        model_content=tflite or net.tflite,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (details,), ends = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for picture in pictures(count):
        values = normalise(picture[None], net.spec)
        if details["dtype"] != np.float32:
            scale, zero = details["quantization"]
            limits = np.iinfo(details["dtype"])
            values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(details["dtype"])
        interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        rows.append([_real(interpreter.get_tensor(e["index"]), e) for e in ends])
    return [np.concatenate(column) for column in zip(*rows)]


def _real(values: Any, details: Any) -> Any:
    if values.dtype == np.float32:
        return values.copy()
    scale, zero = details["quantization"]
    return (values.astype(np.float64) - zero) * scale


def decibels(expected: Any, results: Any) -> float:
    return float(10 * np.log10((expected**2).mean() / max(((expected - results) ** 2).mean(), 1e-30)))


def unequal(model: keras.Model, seed: int = 0, by: float = 1.3) -> keras.Model:
    """The model with channels of very different size, and biases that are not 0."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        for weight in weights:
            if weight.ndim > 1:
                weight *= np.exp(rng.normal(0, by, weight.shape[-1]))
            else:
                weight += rng.normal(0, 0.3, weight.shape)
        if weights:
            layer.set_weights(weights)
    return model


def image(channels: int = 1) -> Any:
    return keras.Input((SIDE, SIDE, channels))


def plain(activation: str = "relu6", seed: int = 0) -> keras.Model:
    """Convolutions plain and depthwise, an addition, pooling and a head, with channels alike."""
    keras.utils.set_random_seed(seed)
    values = image()
    x = layers.Conv2D(8, 3, 2, "same", activation=activation, name="one")(values)
    x = layers.DepthwiseConv2D(3, padding="same", activation=activation, name="depth")(x)
    x = layers.Conv2D(8, 1, name="two")(x)
    x = layers.Add(name="plus")([x, layers.Conv2D(8, 3, padding="same", activation=activation, name="skip")(x)])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(values, layers.Dense(3, name="head")(x))
