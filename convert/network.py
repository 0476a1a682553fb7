"""A trained network of any origin -> a float ``.tflite`` with a fixed shape and named outputs."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import keras_network, tflite_network
from convert.editor import Editor
from convert.keras_network import OUTPUTS
from covidnet_lite.errors import ConversionError
from covidnet_lite.fit import InputSpec, normalise
from covidnet_lite.lungs import load_finder
from covidnet_lite.manifest import is_sealed, unseal

ENTRY, LUNGS = "covidnet_lite.json", "lungs.tflite"  # what training/finetune.py adds to a .keras file


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
        model: the ``keras.Model`` it was made from, or ``None``.
    """

    tflite: bytes
    labels: tuple[str, ...]
    spec: InputSpec
    outputs: dict[str, int]
    output_tensors: dict[str, str]
    facts: dict[str, Any]
    model: Any = None


def load(
    path: Path,
    labels: tuple[str, ...] | None = None,
    input_range: tuple[float, float] | None = None,
    equalise: bool | None = None,
) -> FloatNetwork:
    """Loads a ``.keras``, ``.h5``, SavedModel or float ``.tflite``, the first three by way of TensorFlow.

    Args:
        path: the network; one that ``training/finetune.py`` wrote says the rest itself, a ``.tflite`` of ours too.
        labels: names of the classes, in the order of the outputs.
        input_range: what black and white are to the network, such as ``(0, 1)`` or ``(-1, 1)``.
        equalise: whether gray levels are equalised first.

    Raises:
        ConversionError: the file cannot be loaded, or the network is no image classifier.
        MissingExtraError: TensorFlow is not installed.
    """
    if not path.exists():
        raise ConversionError(f"{path}: no such network; give a .keras, .h5 or float .tflite file, or a SavedModel")
    facts = read_facts(path)
    ready, model = b"", None
    if path.suffix == ".tflite":
        ready = tflite_network.canonical(_read(path), str(path))
        editor = Editor(ready, str(path))
        shape = tuple(int(n) for n in editor.tensors[editor.inputs[0]].shape[1:])
        ends = {tuple(int(n) for n in editor.tensors[i].shape) for i in editor.outputs}
    else:
        model = keras_network.load(path)
        shape = tuple(model.input.shape[1:])
        ends = {tuple(model.output["logits"].shape)}
    labels = labels or tuple(facts.get("labels", ()))
    if not labels:
        raise ConversionError(
            f"{path}: does not say what its classes are called; pass --labels a,b,c in the order of its outputs"
        )
    height, width, channels = shape
    spec = _spec(path, (height, width, channels), facts, input_range, equalise)
    _check_logits(ends, labels, path)
    if model is not None:
        ready = tflite_network.canonical(keras_network.to_tflite(model, path), str(path))
    positions, tensors = _outputs(ready, spec, path)
    kept = {k: v for k, v in facts.items() if k not in ("labels", "input", "lungs")}
    return FloatNetwork(ready, labels, spec, positions, tensors, kept, model)


def read_facts(path: Path) -> dict[str, Any]:
    """Labels, input and origin, as a ``.keras`` file of ours or a ``.tflite`` of ours says them; else empty.

    Raises:
        ConversionError, ModelError: they are damaged.
    """
    if path.suffix == ".tflite":
        data = _read(path)
        if not is_sealed(data):
            return {}
        manifest = unseal(data, str(path))
        told = {"name": manifest.name, "version": manifest.version, "licence": manifest.licence, "manifest": manifest}
        said = {"input": manifest.input.to_dict(), "lungs": manifest.input.lungs}
        return {"labels": list(manifest.labels), **said, **told}
    if not path.is_file() or not zipfile.is_zipfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            if ENTRY not in archive.namelist():
                return {}
            facts = json.loads(archive.read(ENTRY))
            finder = archive.read(LUNGS) if LUNGS in archive.namelist() else b""
        if not isinstance(facts, dict) or not isinstance(facts.get("labels", []), list):
            raise ValueError("it is no table")
        if not all(isinstance(label, str) for label in facts.get("labels", [])):
            raise ValueError("its labels are no names")
        return {**facts, "lungs": finder} if finder else facts
    except (ValueError, RuntimeError, NotImplementedError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ConversionError(f"{path}: what it says of itself is damaged ({error}); save it again") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read ({error.strerror}); give a .tflite file") from error


def _spec(
    path: Path,
    shape: tuple[int, int, int],
    facts: dict[str, Any],
    input_range: tuple[float, float] | None,
    equalise: bool | None,
) -> InputSpec:
    height, width, channels = shape
    known = facts.get("input")
    if equalise is None and isinstance(known, dict):
        equalise = known.get("equalise") is True
    if known is not None and input_range is None:
        try:
            spec = InputSpec.from_dict({**known, "equalise": equalise}, facts.get("lungs", b""))
            if (spec.height, spec.width, spec.channels) != shape:
                raise ValueError(f"{(spec.height, spec.width, spec.channels)}, but the network takes {shape}")
            load_finder(spec, None, str(path))
            return spec
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
    mean, lungs = -black * std, facts.get("lungs", b"")  # what else was done to the pictures still holds
    return InputSpec(height, width, channels, (mean,) * channels, (std,) * channels, bool(equalise), lungs)


def _check_logits(ends: set[tuple[int, ...]], labels: tuple[str, ...], path: Path) -> None:
    if ends == {(1, 1)}:
        raise ConversionError(
            f"{path}: ends in one unit that is no Dense layer with a sigmoid at the end of a Keras file; "
            "end it so, or in one output a class"
        )
    if (1, len(labels)) not in ends:
        found = " and ".join(map(str, sorted(ends)))
        raise ConversionError(
            f"{path}: has outputs of shape {found} but {len(labels)} labels ({', '.join(labels)}); they must match"
        )


def _outputs(tflite: bytes, spec: InputSpec, path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Where each named output ended up: the signature knows, the order does not."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=tflite)
        interpreter.allocate_tensors()
        details, signatures = interpreter.get_output_details(), interpreter._get_full_signature_list()
        answers = _answers(interpreter, spec)
    except (RuntimeError, ValueError) as error:
        why = str(error).strip().split("\n")[0]
        raise ConversionError(f"{path}: LiteRT cannot run it ({why}); convert it again") from error
    signature = next(iter(signatures.values()))["outputs"] if signatures else {}
    at = {detail["index"]: i for i, detail in enumerate(details)}
    positions = {name: at[index] for name, index in sorted(signature.items()) if index in at and name in OUTPUTS}
    if "logits" not in positions:
        if len(details) != 1:
            raise ConversionError(
                f"{path}: has {len(details)} outputs, none called logits; name them {', '.join(OUTPUTS)}"
            )
        positions = {"logits": 0}
    _check_answers([answer[positions["logits"]] for answer in answers], path)
    return positions, {name: details[i]["name"] for name, i in positions.items()}


def _answers(interpreter: Any, spec: InputSpec) -> list[list[npt.NDArray[Any]]]:
    """Every output for some pictures of noise."""
    found = []
    for picture in np.random.default_rng(0).integers(0, 256, (3, spec.height, spec.width), np.uint8):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], normalise(picture[None], spec))
        interpreter.invoke()
        found.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    return found


def _check_answers(logits: list[npt.NDArray[Any]], path: Path) -> None:
    if not all(np.isfinite(values).all() for values in logits):
        raise ConversionError(f"{path}: answers NaN or infinity to noise; check --input-range, or train it again")
    if all((values >= 0).all() and abs(float(values.sum()) - 1) < 1e-4 for values in logits):
        raise ConversionError(
            f"{path}: puts out probabilities by something else than a softmax at its very end; "
            "let it end in the softmax, or in logits"
        )
