"""A trained network of any origin -> a float ``.tflite`` with a fixed shape and named outputs."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.float_input import normalise
from convert.source import (
    frozen,
    keras2_network,
    keras_network,
    onnx_network,
    saved_model,
    scaling,
    tflite_network,
    torch_network,
)
from convert.source.frozen import Frozen
from convert.source.keras_file import OUTPUTS
from convert.source.scaling import Scaling, Step
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.lungs import load_finder
from covidnet_lite.network.manifest import is_sealed, unseal

ENTRY, LUNGS = "covidnet_lite.json", "lungs.tflite"  # what training/finetune.py adds to a .keras file


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A float network, ready to be quantised.

    Attributes:
        tflite: the flatbuffer.
        labels: in the order of the logits.
        spec: how the image is prepared.
        outputs: name -> position among the graph's outputs.
        output_tensors: name -> the tensor's name in the flatbuffer.
        facts: what the training left in the file, for the manifest.
        model: the ``keras.Model`` it was made from, or ``None``.
        assumed: what was taken for granted and nothing in the file could confirm, in words.
    """

    tflite: bytes
    labels: tuple[str, ...]
    spec: InputSpec
    outputs: dict[str, int]
    output_tensors: dict[str, str]
    facts: dict[str, Any]
    model: Any = None
    assumed: tuple[str, ...] = ()


def load(
    path: Path,
    labels: tuple[str, ...] | None = None,
    input_range: tuple[float, float] | None = None,
    equalise: bool | None = None,
    scaled: Scaling | None = None,
    colour: str = "",
) -> FloatNetwork:
    """Loads a ``.keras``, ``.h5``, SavedModel, ``.onnx``, ``.pt2`` or float ``.tflite``.

    Args:
        path: the network; one that ``training/finetune.py`` wrote says the rest itself, a ``.tflite`` of ours too.
        labels: names of the classes, in the order of the outputs.
        input_range: what black and white are to the network, such as ``(0, 1)`` or ``(-1, 1)``.
        equalise: whether gray levels are equalised first.
        scaled: the same as ``input_range``, channel by channel.
        colour: ``gray``, ``rgb`` or ``bgr``; empty for what the network says, else ``rgb`` for three channels.

    Raises:
        ConversionError: the file cannot be loaded, or the network is no image classifier.
        MissingExtraError: TensorFlow is not installed.
    """
    if not path.exists():
        raise ConversionError(
            f"{path}: no such network; give a .keras, .h5, .onnx, .pt2 or float .tflite file, or a SavedModel"
        )
    facts = read_facts(path)
    source = _source(path)
    labels = labels or tuple(facts.get("labels", ()))
    if not labels:
        raise ConversionError(
            f"{path}: does not say what its classes are called; pass --labels a,b,c in the order of its outputs"
        )
    assumed = _check_logits(source.output_shapes, labels, path)
    stated_scaling = scaling.of_range(*input_range) if input_range is not None else scaled
    spec, guessed = _spec(path, source, facts, stated_scaling, equalise, colour)
    tflite = tflite_network.canonical(source.make(), str(path))
    positions, tensors = _outputs(tflite, spec, path)
    facts_kept = {k: v for k, v in facts.items() if k not in ("labels", "input", "lungs")}
    return FloatNetwork(tflite, labels, spec, positions, tensors, facts_kept, source.model, (*assumed, *guessed))


@dataclass(frozen=True, eq=False)
class _Source:
    """A network as it was found, before it is made a flatbuffer.

    Attributes:
        shape: ``(height, width, channels)`` of the image.
        output_shapes: shapes of what may be the logits.
        make: gives the float flatbuffer.
        steps: gives what is done to an image first.
        model: of Keras, where it is one.
    """

    shape: tuple[int, int, int]
    output_shapes: set[tuple[int, ...]]
    make: Callable[[], bytes]
    steps: Callable[[], list[Step]]
    model: Any = None


def _source(path: Path) -> _Source:
    if path.suffix == ".tflite":
        data = _read(path)
        tflite = tflite_network.canonical(data, str(path))
        editor = Editor(data, str(path))
        height, width, channels = editor.shape(editor.inputs[0])[1:]
        ends = {editor.shape(i) for i in editor.outputs}
        return _Source((height, width, channels), ends, lambda: data, lambda: scaling.steps_of_tflite(tflite))
    if path.is_dir():
        return _of_function(saved_model.load(path), path)
    if path.suffix == ".onnx":
        return _of_function(onnx_network.load(path), path)
    if path.suffix == ".pt2":
        return _of_function(torch_network.load(path), path)
    if path.suffix in torch_network.PICKLES:
        raise ConversionError(
            f"{path}: holds weights, or a stranger's code, which is not run; {torch_network.EXPORT_HINT}"
        )
    if keras2_network.reads(path):
        model, function = keras2_network.load(path)
        return _of_function(function, path, model)
    model = keras_network.load(path)
    height, width, channels = model.input.shape[1:]

    def steps() -> list[Step]:
        # Without training=False, layers of augmentation would change the image and draw random numbers.
        return frozen.steps(frozen.freeze(partial(model, training=False), (height, width, channels), path))

    ends = {tuple(model.output["logits"].shape)}
    return _Source((height, width, channels), ends, lambda: keras_network.to_tflite(model, path), steps, model)


def _of_function(function: Frozen, path: Path, model: Any = None) -> _Source:
    height, width, channels = function.function.inputs[0].shape[1:]
    return _Source(
        (height, width, channels),
        {function.outputs["logits"]},
        lambda: frozen.to_tflite(function, path),
        lambda: frozen.steps(function),
        model,
    )


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
        identity = {
            "name": manifest.name,
            "version": manifest.version,
            "licence": manifest.licence,
            "manifest": manifest,
        }
        input_facts = {"input": manifest.input.to_dict(), "lungs": manifest.input.lungs}
        return {"labels": list(manifest.labels), **input_facts, **identity}
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
    source: _Source,
    facts: dict[str, Any],
    stated_scaling: Scaling | None,
    equalise: bool | None,
    colour: str,
) -> tuple[InputSpec, tuple[str, ...]]:
    """How the image is prepared, and what of that was taken for granted."""
    height, width, channels = source.shape
    input_facts = facts.get("input")
    if isinstance(input_facts, dict):
        equalise = input_facts.get("equalise") is True if equalise is None else equalise
        colour = colour or input_facts.get("colour", "gray")
    if input_facts is not None and stated_scaling is None:
        try:
            spec = InputSpec.from_dict({**input_facts, "equalise": equalise, "colour": colour}, facts.get("lungs", b""))
            if (spec.height, spec.width, spec.channels) != source.shape:
                raise ValueError(f"{(spec.height, spec.width, spec.channels)}, but the network takes {source.shape}")
            load_finder(spec, None, str(path))
            return spec, ()
        except (ValueError, TypeError, AttributeError) as error:
            raise ConversionError(f"{path}: what it says of its input is wrong ({error}); save it again") from error
    assumed = []
    if stated_scaling is None and (stated_scaling := scaling.of_steps(source.steps(), channels)):
        assumed.append(
            f"its first layers scale images of 0 to {255 / stated_scaling.std[0]:g} themselves, "
            "so it is given those; --input-range says otherwise"
        )
    if stated_scaling is None:
        raise ConversionError(
            f"{path}: does not say how levels of 0 to 255 are scaled; pass --input-range LOW HIGH, what black and "
            "white are to the network ('-1 1' for MobileNet, '0 255' for EfficientNet, '0 1' after division by 255), "
            f"--mean and --std, or --preset {'|'.join(scaling.PRESETS)}"
        )
    colour = colour or ("gray" if channels == 1 or equalise else stated_scaling.colour)
    if not colour:
        colour = "rgb"
        assumed.append("its channels are red, green and blue in this order; --colour bgr or gray says otherwise")
    mean, std = stated_scaling.of_channels(channels)
    lungs = facts.get("lungs", b"")  # what else was done to the images still holds
    try:
        return InputSpec(height, width, channels, mean, std, bool(equalise), lungs, colour), tuple(assumed)
    except ValueError as error:
        raise ConversionError(f"{path}: its images cannot be prepared so: {error}") from error


def _check_logits(output_shapes: set[tuple[int, ...]], labels: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Whether there is one output a class; what one output alone is taken for."""
    if (1, len(labels)) in output_shapes:
        return ()
    if (1, 1) in output_shapes and len(labels) == 2:
        return (
            f"its one output is the logit or the probability of {labels[1]!r}, and the rest that of {labels[0]!r}; "
            "--labels in the other order says otherwise",
        )
    if output_shapes == {(1, 1)}:
        raise ConversionError(
            f"{path}: has one output, which tells two classes apart, but {len(labels)} labels ({', '.join(labels)}); "
            "pass both, that of a low output first: --labels no,yes"
        )
    shapes = " and ".join(map(str, sorted(output_shapes)))
    raise ConversionError(
        f"{path}: has outputs of shape {shapes} but {len(labels)} labels ({', '.join(labels)}); they must match"
    )


def _outputs(tflite: bytes, spec: InputSpec, path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Where each named output ended up: the signature knows, the order does not."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=tflite)
        interpreter.allocate_tensors()
        details, signatures = interpreter.get_output_details(), interpreter._get_full_signature_list()
        noise_outputs = _noise_outputs(interpreter, spec)
    except (RuntimeError, ValueError) as error:
        cause = str(error).strip().split("\n")[0]
        raise ConversionError(f"{path}: LiteRT cannot run it ({cause}); convert it again") from error
    signature = next(iter(signatures.values()))["outputs"] if signatures else {}
    position_of = {detail["index"]: i for i, detail in enumerate(details)}
    positions = {
        name: position_of[index]
        for name, index in sorted(signature.items())
        if index in position_of and name in OUTPUTS
    }
    if "logits" not in positions:
        if len(details) != 1:
            raise ConversionError(
                f"{path}: has {len(details)} outputs, none called logits; name them {', '.join(OUTPUTS)}"
            )
        positions = {"logits": 0}
    _check_outputs([values[positions["logits"]] for values in noise_outputs], path)
    return positions, {name: details[i]["name"] for name, i in positions.items()}


def _noise_outputs(interpreter: Any, spec: InputSpec) -> list[list[npt.NDArray[Any]]]:
    """Every output for some images of noise."""
    results = []
    shape = (3, spec.height, spec.width, *([3] if spec.in_colour else []))
    for image in np.random.default_rng(0).integers(0, 256, shape, np.uint8):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], normalise(image[None], spec))
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    return results


def _check_outputs(logits: list[npt.NDArray[Any]], path: Path) -> None:
    if not all(np.isfinite(values).all() for values in logits):
        raise ConversionError(f"{path}: answers NaN or infinity to noise; check --input-range, or train it again")
    if all((values >= 0).all() and abs(float(values.sum()) - 1) < 1e-4 for values in logits):
        raise ConversionError(
            f"{path}: puts out probabilities by something else than a softmax at its very end; "
            "let it end in the softmax, or in logits"
        )
