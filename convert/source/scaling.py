"""How a network wants 0 to 255 scaled: as it is told, by a preset's name, or as its own first layers show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """The network sees ``(level - mean) / std``.

    Attributes:
        mean, std: one value, or one a channel in the network's order, in levels of 0 to 255.
        colour: the order of the channels, ``rgb`` or ``bgr``; empty where the scaling does not say.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    colour: str = ""

    def of_channels(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """``mean`` and ``std`` with one value a channel.

        Raises:
            ConversionError: there is another number of values.
        """
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in (1, channels):
                raise ConversionError(f"{name}: has {len(values)} values, but the network takes {channels} channels")
        mean, std = (v if len(v) == channels else v * channels for v in (self.mean, self.std))
        return mean, std


RAW = Scaling((0.0,), (1.0,))
TO_ONE = Scaling((0.0,), (255.0,))
# As keras.applications.imagenet_utils.preprocess_input has them; "torch" is torchvision's too.
PRESETS = {
    "imagenet-torch": Scaling((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "rgb"),
    "caffe": Scaling((103.939, 116.779, 123.68), (1.0,), "bgr"),
    "tf": Scaling((127.5,), (127.5,)),
    "0-1": TO_ONE,
    "raw": RAW,
}


def of_range(black: float, white: float) -> Scaling:
    """By what black and white are to the network.

    Raises:
        ConversionError: they are no range.
    """
    if not white > black:
        raise ConversionError(f"--input-range: white ({white}) must be above black ({black})")
    if not (math.isfinite(black) and math.isfinite(white) and 1e-3 <= white - black <= 1e6):
        raise ConversionError(f"--input-range: {black} to {white} is no range of gray levels")
    std = 255.0 / (white - black)
    return Scaling((-black * std,), (std,))


def of_numbers(mean: Sequence[float], std: Sequence[float]) -> Scaling:
    """By mean and standard deviation in levels of 0 to 255.

    Raises:
        ConversionError: they are no such numbers; those for images from 0 to 1 are recognised.
    """
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise ConversionError("--mean and --std: must be finite numbers, and --std above 0")
    if max(std) < 1:
        scaled = " ".join(f"{255 * v:.6g}" for v in mean), " ".join(f"{255 * v:.6g}" for v in std)
        raise ConversionError(
            f"--std: {' '.join(map(str, std))} is meant for images from 0 to 1; "
            f"give both in levels of 0 to 255: --mean {scaled[0]} --std {scaled[1]}"
        )
    return Scaling(tuple(mean), tuple(std))


@dataclass(frozen=True)
class Step:
    """One operation with a constant that a network begins with.

    Attributes:
        kind: ``MUL``, ``ADD``, ``SUB`` or ``DIV``.
        constant: one value, or one a channel.
        is_first: whether the constant is the first operand.
    """

    kind: str
    constant: npt.NDArray[Any]
    is_first: bool


def of_steps(steps: Sequence[Step], channels: int) -> Scaling | None:
    """What images a network takes, by what it does to them first; ``None`` where that says nothing.

    Rescaling, Normalization and ``preprocess_input`` inside a network are products and sums with constants. If they
    bring 0..255 to a range of a few units, or take ImageNet's mean off it, the network takes 0..255; if they do so
    with 0..1, it takes that.
    """
    factor, shift = _affine(steps, channels)
    if (factor == 1).all() and (shift == 0).all():
        return None
    for scaling, white in ((RAW, 255.0), (TO_ONE, 1.0)):
        if _is_a_few_units(factor * white, shift) and (scaling is RAW or shift.any()):
            return scaling
    by_mean = np.allclose(factor, 1, atol=0.05) and ((-160 < shift) & (shift < -80)).all()
    return RAW if by_mean else None


def _is_a_few_units(span: Floats, shift: Floats) -> bool:
    ends = np.abs(np.stack([shift, shift + span])).max(axis=0)
    return bool(((np.abs(span) > 0.4) & (np.abs(span) < 12) & (ends < 12)).all())


def _affine(steps: Sequence[Step], channels: int) -> tuple[Floats, Floats]:
    """``factor`` and ``shift``, per channel, of as many steps as only scale."""
    factor, shift = np.ones(channels), np.zeros(channels)
    for step in steps:
        value = step.constant.astype(np.float64).ravel()
        if value.size not in (1, channels) or (step.kind == "DIV" and step.is_first):
            break
        if step.kind == "MUL":
            factor, shift = factor * value, shift * value
        elif step.kind == "DIV":
            factor, shift = factor / value, shift / value
        elif step.kind == "ADD":
            shift = shift + value
        elif step.is_first:
            factor, shift = -factor, value - shift
        else:
            shift = shift - value
    return factor, shift


def steps_of_tflite(tflite: bytes) -> list[Step]:
    """What is done first in a float flatbuffer; a converter may have folded it into the first convolution."""
    editor = Editor(tflite)
    (tensor,) = editor.inputs
    steps: list[Step] = []
    while (operator := _reader(editor, tensor)) is not None:
        kind, output = editor.kind(operator), int(operator.outputs[0])
        if kind in ("MUL", "ADD", "SUB", "DIV") and editor.activation(operator) == "NONE":
            constants = [int(i) for i in operator.inputs if editor.is_constant(int(i))]
            if len(constants) != 1:
                break
            steps.append(Step(kind, editor.constant(constants[0]), int(operator.inputs[0]) == constants[0]))
        elif kind not in ("STRIDED_SLICE", "REVERSE_V2", "PACK") or editor.shape(output) != editor.shape(tensor):
            break
        tensor = output
    return steps


def _reader(editor: Editor, tensor: int) -> Any:
    """What alone reads a tensor, or puts its slices together again, as the exchange of red and blue does."""
    readers = editor.readers(tensor)
    if len(readers) > 1 and all(editor.kind(o) == "STRIDED_SLICE" for o in readers):
        packs = {id(o): o for s in readers for o in editor.readers(int(s.outputs[0]))}
        only = next(iter(packs.values()), None)
        return only if len(packs) == 1 and editor.kind(only) == "PACK" else None
    return readers[0] if len(readers) == 1 else None
