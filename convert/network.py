"""A trained network of any origin -> a float ``.tflite`` with a fixed shape and named outputs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidnet_lite.errors import ConversionError, MissingExtraError
from covidnet_lite.fit import InputSpec

ENTRY = "covidnet_lite.json"  # what training/finetune.py adds to a .keras file
OUTPUTS = ("logits", "evidence", "embedding")


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A float network, ready to be quantised.

    Attributes:
        tflite: the flatbuffer.
        labels: in the order of the logits.
        spec: how the radiograph is prepared.
        outputs: name -> position among the graph's outputs.
        output_tensors: name -> the tensor's name in the flatbuffer.
        facts: what the training left in the file, for the manifest.
    """

    tflite: bytes
    labels: tuple[str, ...]
    spec: InputSpec
    outputs: dict[str, int]
    output_tensors: dict[str, str]
    facts: dict[str, Any]


def load(
    path: Path,
    labels: tuple[str, ...] | None = None,
    input_range: tuple[float, float] | None = None,
    equalise: bool | None = None,
) -> FloatNetwork:
    """Loads a ``.keras``, ``.h5`` or SavedModel and converts it to a float ``.tflite``.

    Args:
        path: the network; one that ``training/finetune.py`` wrote says the rest itself.
        labels: names of the classes, in the order of the outputs.
        input_range: what black and white are to the network, such as ``(0, 1)`` or ``(-1, 1)``.
        equalise: whether gray levels are equalised first.

    Raises:
        ConversionError: the file cannot be loaded, or the network is no image classifier.
        MissingExtraError: TensorFlow is not installed.
    """
    if not path.exists():
        raise ConversionError(f"{path}: no such network; give a .keras or .h5 file, or a SavedModel folder")
    keras = _keras()
    keras.utils.clear_session()  # Keras numbers names as it goes; from zero, the file is the same every time
    facts = read_facts(path)
    model = _as_keras(keras, path)
    shape = _input_shape(model, path)
    labels = labels or tuple(facts.get("labels", ()))
    if not labels:
        raise ConversionError(
            f"{path}: does not say what its classes are called; pass --labels a,b,c in the order of its outputs"
        )
    spec = _spec(path, shape, facts, input_range, equalise)
    fixed = _with_fixed_shape(keras, model, shape, path)
    _check_outputs(fixed, labels, path)
    tflite = _to_tflite(fixed, path)
    positions, tensors = _outputs(tflite, sorted(fixed.output))
    kept = {k: v for k, v in facts.items() if k not in ("labels", "input")}
    return FloatNetwork(tflite, labels, spec, positions, tensors, kept)


def read_facts(path: Path) -> dict[str, Any]:
    """Labels, input and origin, as :func:`training.checkpoint.save` left them in a ``.keras`` file; else empty."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if ENTRY not in archive.namelist():
            return {}
        try:
            facts = json.loads(archive.read(ENTRY))
            if not isinstance(facts, dict) or not isinstance(facts.get("labels", []), list):
                raise ValueError("it is no table")
            return facts
        except (ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ConversionError(f"{path}: what it says of itself is damaged ({error}); save it again") from error


# What Keras raises on files it cannot load.
_UNLOADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def _keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
    except ImportError as error:
        raise MissingExtraError(
            f"converting needs TensorFlow: pip install 'covidnet-lite[convert]' ({error})"
        ) from error
    return keras


def _as_keras(keras: Any, path: Path) -> Any:
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ConversionError(f"{path}: is a folder without saved_model.pb, so no SavedModel")
        return path  # called through its signature, see _with_fixed_shape
    try:
        return keras.models.load_model(path, compile=False)
    except _UNLOADABLE as error:
        hint = (
            "weights alone cannot be converted: save the whole model"
            if "weights" in path.name
            else "is it a whole Keras model without layers of your own?"
        )
        raise ConversionError(
            f"{path}: Keras cannot load it; {hint} ({str(error).strip().splitlines()[0][:300]})"
        ) from error


def _input_shape(model: Any, path: Path) -> tuple[int, int, int]:
    if isinstance(model, Path):
        import tensorflow as tf

        (spec,) = _only(
            tf.saved_model.load(str(model)).signatures["serving_default"].structured_input_signature[1].values(), path
        )
        shape = tuple(spec.shape)[1:]
    else:
        (tensor,) = _only(model.inputs, path)
        shape = tuple(tensor.shape)[1:]
    if len(shape) != 3 or None in shape or shape[2] not in (1, 3):
        raise ConversionError(f"{path}: takes {shape}; an image classifier takes (height, width, 1 or 3), all fixed")
    return shape


def _only(inputs: Any, path: Path) -> Any:
    inputs = list(inputs)
    if len(inputs) != 1:
        raise ConversionError(f"{path}: has {len(inputs)} inputs; only networks of one image can be converted")
    return inputs


def _spec(
    path: Path,
    shape: tuple[int, int, int],
    facts: dict[str, Any],
    input_range: tuple[float, float] | None,
    equalise: bool | None,
) -> InputSpec:
    height, width, channels = shape
    if "input" in facts and input_range is None:
        try:
            return InputSpec.from_dict(facts["input"])
        except (ValueError, TypeError, AttributeError) as error:
            raise ConversionError(f"{path}: what it says of its input is wrong ({error}); save it again") from error
    if input_range is None:
        raise ConversionError(
            f"{path}: does not say how gray levels are scaled; pass --input-range LOW HIGH, what black and white "
            "are to the network: '-1 1' for MobileNet, '0 255' for EfficientNet, '0 1' after division by 255"
        )
    black, white = input_range
    if not white > black:
        raise ConversionError(f"--input-range: white ({white}) must be above black ({black})")
    if not (np.isfinite([black, white]).all() and 1e-3 <= white - black <= 1e6):
        raise ConversionError(f"--input-range: {black} to {white} is no range of gray levels")
    std = 255.0 / (white - black)
    return InputSpec(height, width, channels, (-black * std,) * channels, (std,) * channels, bool(equalise))


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
    if isinstance(model, Path):
        probe = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
        total = float(np.sum(fixed(probe)["logits"]))
        if abs(total - 1) < 1e-4:
            raise ConversionError(
                f"{path}: ends in a softmax, which cannot be taken off a SavedModel; export it with logits"
            )
    return fixed


def _without_softmax(keras: Any, model: Any, path: Path) -> Any:
    last = model.layers[-1]
    if isinstance(model.output, dict):  # named outputs: logits are what they say they are
        return model
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.input, last.input)
    name = getattr(getattr(last, "activation", None), "__name__", "linear")
    if name == "sigmoid" and last.output.shape[-1] > 1:
        raise ConversionError(
            f"{path}: ends in {last.output.shape[-1]} sigmoids, one answer each; "
            "only networks that choose one class (softmax or logits) can be converted"
        )
    if name == "softmax" and isinstance(last, keras.layers.Activation):
        return keras.Model(model.input, last.input)
    if name == "softmax":
        last.activation = keras.activations.linear
    return model


def _check_outputs(fixed: Any, labels: tuple[str, ...], path: Path) -> None:
    logits = tuple(fixed.output["logits"].shape)
    if logits == (1, 1):
        raise ConversionError(f"{path}: ends in one unit; give a binary classifier two outputs, one per class")
    if logits != (1, len(labels)):
        raise ConversionError(
            f"{path}: has outputs of shape {logits} but {len(labels)} labels ({', '.join(labels)}); they must match"
        )
    for variable in fixed.weights:
        if not np.isfinite(np.asarray(variable)).all():
            raise ConversionError(f"{path}: the weights {variable.path} hold NaN or infinity; train it again")


def _to_tflite(fixed: Any, path: Path) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    try:
        with quiet():
            return bytes(converter.convert())
    except (ValueError, RuntimeError, TypeError) as error:
        raise ConversionError(f"{path}: TensorFlow cannot convert it: {str(error).strip()[-600:]}") from error


def _outputs(tflite: bytes, names: list[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Where each named output ended up: the signature knows, the order does not."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    details = interpreter.get_output_details()
    signature = interpreter._get_full_signature_list()["serving_default"]["outputs"]
    at = {detail["index"]: i for i, detail in enumerate(details)}
    positions = {name: at[signature[name]] for name in names}
    return positions, {name: details[i]["name"] for name, i in positions.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """TensorFlow prints every captured tensor while it converts; nobody reads that."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
