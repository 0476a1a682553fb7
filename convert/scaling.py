"""How a network wants 0 to 255 scaled: as it is told, by a preset's name, or as its own first layers show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convert.editor import Editor
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
        ConversionError: they are no such numbers; those for pictures from 0 to 1 are recognised.
    """
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise ConversionError("--mean and --std: must be finite numbers, and --std above 0")
    if max(std) < 1:
        scaled = " ".join(f"{255 * v:.6g}" for v in mean), " ".join(f"{255 * v:.6g}" for v in std)
        raise ConversionError(
            f"--std: {' '.join(map(str, std))} is meant for pictures from 0 to 1; "
            f"give both in levels of 0 to 255: --mean {scaled[0]} --std {scaled[1]}"
        )
    return Scaling(tuple(mean), tuple(std))


def of_first_layers(tflite: bytes) -> Scaling | None:
    """What pictures a float network takes, where it begins with scaling of its own; ``None`` where that says nothing.

    Rescaling, Normalization and ``preprocess_input`` inside a network are products and sums with constants. If they
    bring 0..255 to a range of a few units, or take ImageNet's mean off it, the network takes 0..255; if they do so
    with 0..1, it takes that.
    """
    factor, shift = _affine(Editor(tflite))
    if (factor == 1).all() and (shift == 0).all():
        return None
    for taken, wide in ((RAW, 255.0), (TO_ONE, 1.0)):
        if _is_a_few_units(factor * wide, shift) and (taken is RAW or shift.any()):
            return taken
    by_mean = np.allclose(factor, 1, atol=0.05) and ((-160 < shift) & (shift < -80)).all()
    return RAW if by_mean else None


def _is_a_few_units(span: Floats, shift: Floats) -> bool:
    ends = np.abs(np.stack([shift, shift + span])).max(axis=0)
    return bool(((np.abs(span) > 0.4) & (np.abs(span) < 12) & (ends < 12)).all())


def _affine(editor: Editor) -> tuple[Floats, Floats]:
    """``factor`` and ``shift``, per channel, of the operations that only scale, from the input on."""
    (tensor,) = editor.inputs
    channels = editor.shape(tensor)[-1]
    factor, shift = np.ones(channels), np.zeros(channels)
    while len(readers := editor.readers(tensor)) == 1:
        (operator,) = readers
        kind, inputs = editor.kind(operator), [int(i) for i in operator.inputs]
        if kind not in ("MUL", "ADD", "SUB", "DIV") or editor.activation(operator) != "NONE":
            break
        known = [i for i in inputs if editor.is_constant(i)]
        if len(known) != 1 or editor.constant(known[0]).size not in (1, channels):
            break
        value = editor.constant(known[0]).astype(np.float64).ravel()
        first = inputs[0] == known[0]
        if kind == "MUL":
            factor, shift = factor * value, shift * value
        elif kind == "DIV" and not first:
            factor, shift = factor / value, shift / value
        elif kind == "ADD":
            shift = shift + value
        elif kind == "SUB":
            factor, shift = (-factor, value - shift) if first else (factor, shift - value)
        else:
            break
        tensor = int(operator.outputs[0])
    return factor, shift
