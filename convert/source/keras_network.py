"""A Keras model of any origin -> one with a fixed shape, named outputs and logits at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from convert.source.frozen import converted, first_cause, only
from convert.source.keras_file import (
    OUTPUTS,
    UNLOADABLE,
    check_kinds,
    check_outputs,
    input_shape,
    missing,
    named_as_hdf5,
    writer,
)
from covidnet_lite.errors import ConversionError


def load(path: Path) -> Any:
    """A ``keras.Model`` of one image, ``(1, height, width, channels)``, with a dict of outputs.

    Raises:
        ConversionError: the file cannot be loaded, or the network is no classifier of one image.
        MissingExtraError: TensorFlow is not installed.
    """
    keras = _keras()
    keras.utils.clear_session()  # Keras numbers names as it goes; from zero, the file is the same every time
    model = _keras_model(keras, path)
    return _with_fixed_shape(keras, model, input_shape(list(model.inputs), path), path)


def to_tflite(model: Any, path: Path) -> bytes:
    """The float flatbuffer of what :func:`load` gave.

    Raises:
        ConversionError: TensorFlow cannot convert it.
    """
    import tensorflow as tf

    return converted(tf.lite.TFLiteConverter.from_keras_model(model), path)


def _keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
    except ImportError as error:
        raise missing(error) from error
    return keras


def _keras_model(keras: Any, path: Path) -> Any:
    try:
        with named_as_hdf5(path) as hdf5_path:
            model = keras.models.load_model(hdf5_path, compile=False)
    except UNLOADABLE as error:
        cause, message = first_cause(error), str(error)
        if "weights" in path.name or "no model config" in message.lower():
            hint = "it holds weights alone; save the whole model with model.save('NAME.keras')"
        elif "lambda" in message.lower():
            hint = "it has a Lambda layer, whose code a file cannot hold safely; write it with Keras' own layers"
        elif "custom" in message.lower() or "Could not locate class" in message:
            hint = (
                "it has a layer of your own, which Keras knows only where its code is; "
                "export it there with model.export('FOLDER') and give the SavedModel"
            )
        else:
            hint = "is it a whole Keras model?"
        if writer(path).startswith("2."):
            hint = "Keras 2 wrote it; pip install 'covidnet-lite[keras2]', which can read all of it, and try again"
        raise ConversionError(f"{path}: Keras cannot load it: {hint} ({cause})") from error
    try:
        # A Sequential knows its input and output no longer once it is saved.
        functional = keras.Model(model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else model
        kinds = [layer.compute_dtype for layer in functional._flatten_layers()]
        functional.output  # noqa: B018 - a network that was never called has none
    except (AttributeError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{path}: does not say what it takes; begin it with keras.Input((height, width, 3)) and save it again"
        ) from error
    check_kinds(kinds, path)
    return functional


def _with_fixed_shape(keras: Any, model: Any, shape: tuple[int, int, int], path: Path) -> Any:
    """One image at a time (accelerators want no -1 in a shape), outputs by name, logits at the end."""
    image = keras.Input(batch_shape=(1, *shape), name="radiograph")
    out = only(_without_softmax(keras, model, path)(image))
    if isinstance(out, (list, tuple)):
        raise ConversionError(f"{path}: has {len(out)} unnamed outputs; name them with a dict: {', '.join(OUTPUTS)}")
    if not isinstance(out, dict):
        out = {"logits": out}
    check_outputs(list(out), path)
    fixed = keras.Model(image, out)
    _check_weights(fixed, path)
    return fixed


def _without_softmax(keras: Any, model: Any, path: Path) -> Any:
    if len(model.outputs) > 1 or isinstance(model.output, dict):  # named: logits are what they say they are
        return model
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.input, last.input)
    name = getattr(getattr(last, "activation", None), "__name__", "linear")
    if name == "sigmoid" and last.output.shape[-1] == 1:  # behind another layer: see convert.source.tflite_network
        return _with_two_logits(keras, model) if isinstance(last, keras.layers.Dense) else model
    if name == "sigmoid":
        raise ConversionError(
            f"{path}: ends in {last.output.shape[-1]} sigmoids, one answer each; "
            "only networks that choose one class (softmax or logits) can be converted"
        )
    if name == "softmax" and isinstance(last, keras.layers.Activation):
        return keras.Model(model.input, last.input)
    if name == "softmax":
        last.activation = keras.activations.linear
    return model


def _with_two_logits(keras: Any, model: Any) -> Any:
    """A binary classifier's one unit ``z`` becomes the logits ``(0, z)``: their softmax is the sigmoid of ``z``."""
    last = model.outputs[0]._keras_history.operation
    two = keras.layers.Dense(2, name=f"{last.name}_two")
    logits = two(last.input)
    kernel, *bias = last.get_weights()
    two.set_weights([np.hstack([0 * kernel, kernel]), np.hstack([0, *(bias or [0])])])
    return keras.Model(model.input, logits)


def _check_weights(model: Any, path: Path) -> None:
    for variable in model.weights:
        if not np.isfinite(np.asarray(variable)).all():
            raise ConversionError(f"{path}: the weights {variable.path} hold NaN or infinity; train it again")
