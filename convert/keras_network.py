"""A Keras model of any origin -> one with a fixed shape, named outputs and logits at its end."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from convert.quiet import quiet
from covidnet_lite.errors import ConversionError, MissingExtraError

OUTPUTS = ("logits", "evidence", "embedding")

HALF_OR_DOUBLE = ("float16", "bfloat16", "float64")  # TFLite's convolutions know none of them

# What Keras raises on files it cannot load.
_UNLOADABLE = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def load(path: Path) -> Any:
    """A ``keras.Model`` of one image, ``(1, height, width, channels)``, with a dict of outputs.

    Raises:
        ConversionError: the file cannot be loaded, or the network is no classifier of one image.
        MissingExtraError: TensorFlow is not installed.
    """
    keras = _keras()
    keras.utils.clear_session()  # Keras numbers names as it goes; from zero, the file is the same every time
    model = _saved_model(path) if path.is_dir() else _keras_model(keras, path)
    return _with_fixed_shape(keras, model, _input_shape(model, path), path)


def to_tflite(model: Any, path: Path) -> bytes:
    """The float flatbuffer of what :func:`load` gave.

    Raises:
        ConversionError: TensorFlow cannot convert it.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    try:
        with quiet():
            return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError, TypeError) as error:
        raise ConversionError(
            f"{path}: TensorFlow cannot convert it; replace by layers that TFLite has, in float32: {_lacking(error)}"
        ) from error


def _lacking(error: Exception) -> str:
    """The operations that TFLite lacks, out of pages of text; or its first line."""
    named = re.findall(r'fused\["(\w+):", "([^"@]+)@', str(error))
    lacking = dict.fromkeys(f"{kind} ({where})" for kind, where in named if not kind.endswith("PartitionedCall"))
    return ", ".join([*lacking][:5]) or _first_line(str(error).strip())


def _keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError(
            f"converting needs TensorFlow: pip install 'covidnet-lite[convert]' ({error})"
        ) from error
    return keras


def _saved_model(path: Path) -> Path:
    if not (path / "saved_model.pb").is_file():
        raise ConversionError(f"{path}: is a folder without saved_model.pb, so no SavedModel")
    return path  # called through its signature, see _with_fixed_shape


def _keras_model(keras: Any, path: Path) -> Any:
    try:
        model = keras.models.load_model(path, compile=False)
    except _UNLOADABLE as error:
        why = str(error).strip()
        if "weights" in path.name or "no model config" in why.lower():
            hint = "it holds weights alone; save the whole model with model.save('NAME.keras')"
        elif "lambda" in why.lower():
            hint = "it has a Lambda layer, whose code a file cannot hold safely; write it with Keras' own layers"
        elif "custom" in why.lower() or "Could not locate class" in why:
            hint = (
                "it has a layer of your own, which Keras knows only where its code is; "
                "export it there with model.export('FOLDER') and give the SavedModel"
            )
        else:
            hint = "is it a whole Keras model?"
        raise ConversionError(f"{path}: Keras cannot load it: {hint} ({_first_line(why)})") from error
    try:
        # A Sequential knows its input and output no longer once it is saved.
        ready = keras.Model(model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else model
        kinds = [layer.compute_dtype for layer in ready._flatten_layers()]
        ready.output  # noqa: B018 - a network that was never called has none
    except (AttributeError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{path}: does not say what it takes; begin it with keras.Input((height, width, 3)) and save it again"
        ) from error
    _check_kinds(kinds, path)
    return ready


def _check_kinds(kinds: list[str], path: Path) -> None:
    for kind in kinds:
        if kind in HALF_OR_DOUBLE:
            raise ConversionError(
                f"{path}: computes in {kind}; build it again under keras.config.set_dtype_policy('float32') "
                "and copy the weights"
            )


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0][:300]


def _input_shape(model: Any, path: Path) -> tuple[int, int, int]:
    if isinstance(model, Path):
        inputs = list(_signature(model).structured_input_signature[1].values())
    else:
        inputs = list(model.inputs)
    if len(inputs) != 1:
        raise ConversionError(f"{path}: has {len(inputs)} inputs; only networks of one image can be converted")
    (tensor,) = inputs
    shape = () if getattr(tensor.shape, "rank", 4) is None else tuple(tensor.shape)[1:]
    if None in shape:
        raise ConversionError(
            f"{path}: takes images of any size {shape}; int8 needs one: build it again with a fixed input, "
            "such as keras.Input((224, 224, 3)), and copy the weights"
        )
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ConversionError(f"{path}: takes {shape}; an image classifier takes (height, width, 1 or 3)")
    kind = getattr(tensor.dtype, "name", tensor.dtype)
    _check_kinds([kind], path)
    if kind != "float32":
        raise ConversionError(f"{path}: takes {kind}; an image classifier takes float32, scaled as --input-range says")
    if tensor.shape[0] not in (None, 1):
        raise ConversionError(
            f"{path}: takes {tensor.shape[0]} images at a time; build it again with the batch left open "
            "and copy the weights"
        )
    return shape


def _signature(path: Path) -> Any:
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(path)).signatures["serving_default"]
    except (*_UNLOADABLE, tf.errors.OpError) as error:
        raise ConversionError(
            f"{path}: cannot be served; make it with model.export('FOLDER') ({_first_line(str(error))})"
        ) from error


def _with_fixed_shape(keras: Any, model: Any, shape: tuple[int, int, int], path: Path) -> Any:
    """One image at a time (accelerators want no -1 in a shape), outputs by name, logits at the end."""
    image = keras.Input(batch_shape=(1, *shape), name="radiograph")
    if isinstance(model, Path):
        out = keras.layers.TFSMLayer(str(model), call_endpoint="serving_default")(image)
    else:
        out = _without_softmax(keras, model, path)(image)
    if isinstance(out, dict) and len(out) == 1:
        out = next(iter(out.values()))
    if isinstance(out, (list, tuple)):
        raise ConversionError(f"{path}: has {len(out)} unnamed outputs; name them with a dict: {', '.join(OUTPUTS)}")
    if not isinstance(out, dict):
        out = {"logits": out}
    if "logits" not in out or not set(out) <= set(OUTPUTS):
        raise ConversionError(f"{path}: has outputs {', '.join(out)}; expected logits and maybe evidence and embedding")
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
    if name == "sigmoid" and last.output.shape[-1] == 1:
        return _with_two_logits(keras, model, path)
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


def _with_two_logits(keras: Any, model: Any, path: Path) -> Any:
    """A binary classifier's one unit ``z`` becomes the logits ``(0, z)``: their softmax is the sigmoid of ``z``."""
    last = model.outputs[0]._keras_history.operation
    if not isinstance(last, keras.layers.Dense):
        raise ConversionError(f"{path}: ends in a sigmoid behind {last.name}; let the sigmoid be that of a Dense layer")
    two = keras.layers.Dense(2, name=f"{last.name}_two")
    logits = two(last.input)
    kernel, *bias = last.get_weights()
    two.set_weights([np.hstack([0 * kernel, kernel]), np.hstack([0, *(bias or [0])])])
    return keras.Model(model.input, logits)


def _check_weights(model: Any, path: Path) -> None:
    for variable in model.weights:
        if not np.isfinite(np.asarray(variable)).all():
            raise ConversionError(f"{path}: the weights {variable.path} hold NaN or infinity; train it again")
