"""What int8 needs to know of real images: the range of every activation.

Either representative radiographs are run through the float network here, or the
ranges recorded in an earlier run are read: numbers instead of images, so a
hospital can send them and a machine without X-rays can convert.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.flatbuffer import portable
from convert.network import FloatNetwork, quiet
from covidnet_lite import radiograph
from covidnet_lite.cases import Case
from covidnet_lite.errors import ConversionError, CovidNetLiteError, DatasetError
from covidnet_lite.fit import InputSpec, fit, normalise

Ranges = dict[str, tuple[float, float]]  # layer (see `layers_of`) -> lowest, highest value it puts out

INPUT = "radiograph"


def choose(cases: Sequence[Case], count: int, seed: int = 0) -> list[Case]:
    """A representative choice: labels and sources in turn, from the training split where there is one."""
    pool = [c for c in cases if c.split == "train"] or [c for c in cases if not c.split]
    if not pool:
        raise DatasetError(
            "no case is in the train split or without a split, and those to be judged must not calibrate"
        )
    rng = np.random.default_rng(seed)
    cells: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for index in rng.permutation(len(pool)):
        cells[pool[index].label, pool[index].source].append(pool[index])
    chosen: list[Case] = []
    while len(chosen) < min(count, len(pool)):
        for _, members in sorted(cells.items()):
            if members and len(chosen) < count:
                chosen.append(members.pop())
    return chosen


def pixels(cases: Sequence[Case], spec: InputSpec) -> npt.NDArray[np.uint8]:
    """``(n, height, width)`` uint8, read and fitted exactly as the device does.

    Raises:
        DatasetError: at least one cannot be read; all such are named.
    """

    def one(case: Case) -> npt.NDArray[np.uint8] | str:
        try:
            return fit(radiograph.read(case.path, at_least=(spec.width, spec.height)).image, spec)
        except CovidNetLiteError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        read = list(pool.map(one, cases))
    broken = [r for r in read if isinstance(r, str)]
    if broken:
        raise DatasetError("these radiographs cannot be read:\n  " + "\n  ".join(broken[:20]))
    return np.stack([r for r in read if not isinstance(r, str)])


def record(network: FloatNetwork, images: npt.NDArray[np.uint8]) -> Ranges:
    """Runs fitted images through the float network: the lowest and highest value of every activation."""
    quantizer = _quantizer(network.tflite)
    inputs = [{"radiograph": normalise(image[None], network.spec)} for image in images]
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that keeping all tensors takes memory is known
        try:
            statistics = quantizer.calibrate({"serving_default": inputs}, num_threads=2)
        except (ValueError, RuntimeError) as error:
            raise ConversionError(
                f"the network cannot be run for calibration ({error}); is it a plain convolutional one?"
            ) from error
    layers = layers_of(list(statistics), network)
    return {layers[name]: (float(np.min(s["min"])), float(np.max(s["max"]))) for name, s in statistics.items() if s}


def read_ranges(path: Path) -> Ranges:
    """Reads recorded ranges.

    Raises:
        ConversionError: the file is missing or no table of ranges.
    """
    try:
        given = json.loads(path.read_text())
        return {str(name): (float(low), float(high)) for name, (low, high) in given.items()}
    except FileNotFoundError:
        raise ConversionError(
            f"{path}: no such file of ranges; pass --calibration FOLDER to record them from images"
        ) from None
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise ConversionError(f'{path}: holds no ranges ({error}); they look like {{"layer": [low, high]}}') from error


def quantise(network: FloatNetwork, ranges: Ranges) -> bytes:
    """The full-integer int8 flatbuffer: per-channel weights, int8 in and out, readable by old and new readers.

    Raises:
        ConversionError: a tensor has no range.
    """
    quantizer = _quantizer(network.tflite)
    names = _activations(network.tflite)
    matched = match(ranges, names, network)
    statistics = {name: {"min": np.float32(matched[name][0]), "max": np.float32(matched[name][1])} for name in names}
    statistics = {name: {k: v.reshape(1, 1, 1, 1) for k, v in s.items()} for name, s in statistics.items()}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # casts of tensors it then replaces
        done = quantizer.quantize(statistics, enable_progress_report=False, enable_progress_bar=False)
    return portable(bytes(done.quantized_model), "the quantised network")


def match(ranges: Ranges, tensors: Sequence[str], network: FloatNetwork) -> Ranges:
    """Ranges by tensor, from ranges by layer; the input's range follows from its spec.

    Raises:
        ConversionError: some tensor has none.
    """
    layers = layers_of(tensors, network)
    missing = [layers[t] for t in tensors if layers[t] not in ranges and layers[t] != INPUT]
    if missing:
        raise ConversionError(
            f"the ranges lack {len(missing)} of {len(tensors)} activations ({', '.join(missing[:5])}): "
            "they belong to another network; record them again with --calibration"
        )
    ranges = {**ranges, INPUT: _input_range(network.spec)}
    return {tensor: ranges[layer] for tensor, layer in layers.items()}


def layers_of(tensors: Sequence[str], network: FloatNetwork) -> dict[str, str]:
    """Tensor -> the name of the Keras layer it comes from, which unlike the tensor's is the same in every run.

    ``model/net_1/stem_relu_1/Relu6;model/net_1/stem_1/BiasAdd`` is from
    ``stem_relu``; a layer's second tensor becomes ``stem_relu#2``.
    """
    known = {tensor: name for name, tensor in network.output_tensors.items()}
    seen: Counter[str] = Counter()
    layers = {}
    for tensor in tensors:
        parts = tensor.split(";")[0].split("/")
        layer = known.get(tensor) or re.sub(r"_\d+$", "", parts[-2] if len(parts) > 1 else parts[0])
        if "radiograph" in parts[0]:
            layer = INPUT
        seen[layer] += 1
        layers[tensor] = layer if seen[layer] == 1 else f"{layer}#{seen[layer]}"
    return layers


def _input_range(spec: InputSpec) -> tuple[float, float]:
    ends = [((0 - m) / s, (255 - m) / s) for m, s in zip(spec.mean, spec.std)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _quantizer(tflite: bytes) -> Any:
    from litert_quantizer import quantizer, recipe

    return quantizer.Quantizer(tflite, recipe.static_wi8_ai8())


def _activations(tflite: bytes) -> list[str]:
    """Names of the tensors that hold activations: what operators write, and the input."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    names = {d["index"]: d["name"] for d in interpreter.get_tensor_details()}
    written = [int(i) for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE" for i in op["outputs"]]
    inputs = [int(d["index"]) for d in interpreter.get_input_details()]
    return [names[i] for i in dict.fromkeys([*inputs, *written])]
