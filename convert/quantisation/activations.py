"""What the activations of a float network look like on representative images: numbers instead of images.

They are all that quantisation needs, so a hospital can send them, and a machine without X-rays can convert. They are
told by layer (see :func:`layers_of`), whose name unlike the tensor's is the same in every run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.float_input import normalise
from convert.progress import track
from convert.quantisation.ranges import Range, range_of_logits, range_per_image
from convert.source.network import FloatNetwork
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.input_spec import InputSpec

Array = npt.NDArray[Any]

INPUT = "radiograph"
SAMPLES = 2**15  # values kept of each activation, spread over all images
PERCENTILE = 99.99
_MINMAX = "min-max"
TYPICAL = 0.9  # share of the images whose whole range ``typical`` keeps, at either end
PER_IMAGE = "per image"
MEAN_ENDS, HALFWAY = "mean ends", "halfway"
METHODS = (_MINMAX, "percentile", "typical", PER_IMAGE, MEAN_ENDS, HALFWAY)
NARROW = "narrow"  # the range of the logits in 8 bits, see :func:`range_of_logits`
EQUALISED = "equalised"  # the range to keep once channels are equalised; known where images were shown then


@dataclass(frozen=True, eq=False)
class Activation:
    """One activation over all representative images.

    Attributes:
        ranges: method -> lowest and highest value to keep; ``min-max`` always; ``percentile``, ``typical``
            (the range that nine of ten images keep to), ``per image`` (see :func:`range_per_image`), ``mean ends`` (the
            mean of the images' lowest values to the mean of their highest) and ``halfway`` between these two where they
            were recorded; ``narrow`` for the logits; and maybe ``equalised``.
        lows, highs, means: of each channel, float32; empty where they were not recorded.
    """

    ranges: dict[str, Range]
    lows: Array
    highs: Array
    means: Array

    def range(self, method: str) -> Range:
        """By the method asked for, or the whole range where that was not recorded."""
        return self.ranges.get(method, self.ranges[_MINMAX])

    def range_in_8_bits(self, method: str) -> Range:
        """The same, but for logits the narrow range, where it was recorded; ``mean ends`` clips them like all."""
        return self.range(method) if method == MEAN_ENDS else self.ranges.get(NARROW, self.range(method))

    @property
    def is_full(self) -> bool:
        """Whether more than a range is known."""
        return len(self.means) > 0

    def with_range(self, method: str, ends: Range) -> Activation:
        """The same with another range by a method."""
        return replace(self, ranges={**self.ranges, method: ends})

    def scaled(self, factor: Array) -> Activation:
        """What it becomes when each channel is multiplied by a positive factor."""
        lows, highs = self.lows * factor, self.highs * factor
        return Activation({_MINMAX: (float(lows.min()), float(highs.max()))}, lows, highs, self.means * factor)


Activations = dict[str, Activation]  # by layer


def of_range(low: float, high: float) -> Activation:
    """An activation of which no more than its range is known."""
    nothing = np.zeros(0, np.float32)
    return Activation({_MINMAX: (low, high)}, nothing, nothing, nothing)


def record(network: FloatNetwork, images: npt.NDArray[np.uint8], narrow_logits: bool = True) -> Activations:
    """Runs fitted images, ``(n, height, width)`` uint8, through the float network.

    The values are rounded as :func:`to_table` does, so that those from a file are the same. ``narrow_logits`` also
    records :func:`range_of_logits`, which holds for images like those that the network will see, and for no others.

    Raises:
        ConversionError: LiteRT cannot run the network, or it puts out NaN or infinity.
    """
    tensors = tensors_of(network.tflite)
    layers = layers_of(list(tensors), network)
    interpreter = all_tensors(network.tflite)
    recorders = {name: _Recorder(len(images)) for name in tensors}
    output, logits = network.output_tensors.get("logits", ""), []
    for image in track(images, len(images), "recording activations"):
        run(interpreter, normalise(image[None], network.spec))
        for name, index in tensors.items():
            recorders[name].add(interpreter.get_tensor(index))
        if output in tensors:
            logits.append(interpreter.get_tensor(tensors[output]).reshape(1, -1))
    nonfinite = [layers[name] for name, recorder in recorders.items() if not recorder.is_finite]
    if nonfinite:
        raise ConversionError(
            f"the layer {nonfinite[0]} puts out NaN or infinity on the representative images; "
            "check --input-range, or train the network again"
        )
    activations = {layers[name]: recorder.finish() for name, recorder in recorders.items()}
    if logits and narrow_logits:
        low, high = range_of_logits(np.concatenate(logits))
        activations[layers[output]] = activations[layers[output]].with_range(NARROW, (_rounded(low), _rounded(high)))
    return activations


class _Recorder:
    """Gathers one activation, image by image, in bounded memory."""

    def __init__(self, images: int) -> None:
        self._images, self._count, self._sum = images, 0, np.zeros(())
        self._lows = self._highs = np.zeros(())
        self._samples: list[Array] = []
        self._ends: list[Range] = []  # of each image
        self._powers: list[float] = []  # mean square of each image
        self._size = 1  # values of an image

    def add(self, values: Array) -> None:
        channels = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
        lows, highs, mean = channels.min(axis=0), channels.max(axis=0), channels.mean(axis=0, dtype=np.float64)
        self._lows = np.minimum(self._lows, lows) if self._count else lows
        self._highs = np.maximum(self._highs, highs) if self._count else highs
        self._sum = self._sum + mean
        self._ends.append((float(lows.min()), float(highs.max())))
        self._powers.append(float(np.square(values, dtype=np.float64).mean()))
        self._size = max(values.size, 1)
        step = max(1, values.size * self._images // SAMPLES)
        while math.gcd(step, values.size) > 1:  # or it would see some of the channels only
            step += 1
        self._samples.append(values.ravel()[self._count % step :: step].copy())
        self._count += 1

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self._lows).all() and np.isfinite(self._highs).all())

    def finish(self) -> Activation:
        low, high = float(self._lows.min()), float(self._highs.max())
        samples = np.concatenate(self._samples)
        lows, highs = np.array(self._ends).T
        powers = np.array(self._powers)
        tail = (100 - PERCENTILE) / 2
        per_image = range_per_image(self._samples, lows, highs, powers, self._size)
        mean_ends = min(float(lows.mean()), 0.0), max(float(highs.mean()), 0.0)
        ranges: dict[str, Range] = {
            _MINMAX: (low, high),
            "percentile": (np.percentile(samples, tail), np.percentile(samples, 100 - tail)),
            "typical": (np.quantile(lows, 1 - TYPICAL), np.quantile(highs, TYPICAL)),
            PER_IMAGE: per_image,
            MEAN_ENDS: mean_ends,
            HALFWAY: ((per_image[0] + mean_ends[0]) / 2, (per_image[1] + mean_ends[1]) / 2),
        }
        means = self._sum / max(self._count, 1)
        return Activation(
            {method: (_rounded(ends[0]), _rounded(ends[1])) for method, ends in ranges.items()},
            *(np.array([_rounded(v) for v in values], np.float32) for values in (self._lows, self._highs, means)),
        )


def to_table(activations: Activations) -> dict[str, Any]:
    """Plain types for JSON, for :func:`from_table`."""

    def digits(values: Array) -> list[float]:
        return [_rounded(v) for v in values]

    def entry(a: Activation) -> Any:
        if not a.is_full:
            return list(a.ranges[_MINMAX])
        channels = {"lows": digits(a.lows), "highs": digits(a.highs), "means": digits(a.means)}
        return {**{method: list(ends) for method, ends in a.ranges.items()}, **channels}

    return {layer: entry(a) for layer, a in sorted(activations.items())}


def _rounded(value: float) -> float:
    """Six digits: more than int8 can tell apart, and few enough to survive float32 and text."""
    return float(f"{value:.6g}")


def from_table(table: dict[str, Any]) -> Activations:
    """Reads what :func:`to_table` gave, or a plain table ``{"layer": [low, high]}``.

    Raises:
        ValueError, TypeError, KeyError: it is no such table.
    """

    def ends(pair: Any) -> Range:
        low, high = (float(v) for v in pair)
        if not (np.isfinite([low, high]).all() and low <= high):
            raise ValueError(f"{low} to {high} is no range")
        return low, high

    def entry(value: Any) -> Activation:
        if not isinstance(value, dict):
            return of_range(*ends(value))
        lows, highs, means = (np.asarray(value[key], np.float32) for key in ("lows", "highs", "means"))
        if not len(lows) == len(highs) == len(means):
            raise ValueError("lows, highs and means differ in length")
        if not np.isfinite([lows, highs, means]).all():
            raise ValueError("lows, highs and means must be finite")
        methods = [m for m in (*METHODS, NARROW, EQUALISED) if m in value or m == _MINMAX]
        return Activation({m: ends(value[m]) for m in methods}, lows, highs, means)

    return {str(layer): entry(given) for layer, given in table.items()}


def by_tensor(activations: Activations, network: FloatNetwork) -> Activations:
    """Activations by the tensor's name in the network's graph; the input's range follows from its spec.

    Raises:
        ConversionError: some tensor has none.
    """
    tensors = tensors_of(network.tflite)
    layers = layers_of(list(tensors), network)
    missing = [layers[t] for t in tensors if layers[t] not in activations and layers[t] != INPUT]
    if missing:
        raise ConversionError(
            f"the ranges lack {len(missing)} of {len(tensors)} activations ({', '.join(missing[:5])}): "
            "they belong to another network; record them again with --calibration"
        )
    image = of_range(*input_range(network.spec))
    if (recorded := activations.get(INPUT)) is not None:
        image = replace(recorded, ranges=image.ranges)
    return {tensor: image if layer == INPUT else activations[layer] for tensor, layer in layers.items()}


def layers_of(tensors: Sequence[str], network: FloatNetwork) -> dict[str, str]:
    """Tensor -> the name of the Keras layer it comes from; the first, as in :func:`tensors_of`, is the input.

    ``model/net_1/stem_relu_1/Relu6;model/net_1/stem_1/BiasAdd`` is from
    ``stem_relu``; a layer's second tensor becomes ``stem_relu#2``.
    """
    output_names = {tensor: name for name, tensor in network.output_tensors.items()}
    names = set(_layer_names(network.model))
    occurrences: Counter[str] = Counter()
    layers = {}
    for position, tensor in enumerate(tensors):
        parts = [re.sub(r"_\d+$", "", part) for part in tensor.split(";")[0].split("/")]
        # A layer may be several operations deep, as enlarging is: enlarged/resize/ResizeBilinear.
        keras_name = next((part for part in reversed(parts) if part in names), None)
        layer = output_names.get(tensor) or keras_name or (parts[-2] if len(parts) > 1 else parts[0])
        if position == 0:
            layer = INPUT
        occurrences[layer] += 1
        layers[tensor] = layer if occurrences[layer] == 1 else f"{layer}#{occurrences[layer]}"
    return layers


def _layer_names(model: Any) -> Iterator[str]:
    """Of all layers, those of networks within the network included; none of what is no Keras network."""
    for layer in getattr(model, "layers", ()):
        if hasattr(layer, "layers"):
            yield from _layer_names(layer)
        else:
            yield layer.name


def input_range(spec: InputSpec) -> Range:
    """What black and white are to the network."""
    ends = [((0 - m) / s, (255 - m) / s) for m, s in zip(spec.mean, spec.std)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def tensors_of(tflite: bytes) -> dict[str, int]:
    """Name -> index of the tensors that hold activations: the input, and what operations write, in order.

    What is no number, such as the answer of a comparison, is no activation.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    names = {d["index"]: d["name"] for d in interpreter.get_tensor_details() if d["dtype"] not in (np.bool_, np.bytes_)}
    computed = [int(i) for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE" for i in op["outputs"]]
    inputs = [int(d["index"]) for d in interpreter.get_input_details()]
    return {names[i]: i for i in dict.fromkeys([*inputs, *computed]) if i in names}


def all_tensors(tflite: bytes) -> Any:
    """An interpreter that keeps every activation, for looking at."""
    import warnings

    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that this takes memory is known
        interpreter = Interpreter(model_content=tflite, num_threads=2, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: Any, values: Array) -> None:
    """One inference.

    Raises:
        ConversionError: LiteRT cannot run the network.
    """
    try:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"LiteRT cannot run the network ({error}); convert it again") from error
