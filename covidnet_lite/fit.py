"""A radiograph, or a colour picture, of any size -> the bytes a network takes.

One resize, one look-up table. Nothing here ever touches a float image: the
histogram equalisation, the network's normalisation and the quantisation of its
input are three functions of one gray byte, so they are folded into one table of
256 entries and applied once.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .box import WHOLE, Box

Table = npt.NDArray[Any]  # 256 entries: gray byte -> value the network takes
COLOURS = ("gray", "rgb", "bgr")


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its picture.

    Attributes:
        height, width: pixels.
        channels: 1, or 3 for a network that expects three colours, or a gray picture three times.
        mean, std: per channel in the network's order, in levels of 0 to 255; the network sees
            ``(level - mean) / std``.
        equalise: whether gray levels are equalised first (see :func:`equalisation`).
        lungs: a ``.tflite`` that finds the lungs, to which the radiograph is cropped (see
            :mod:`covidnet_lite.lungs`); empty where the network sees all of it.
        colour: ``gray``, or the order in which the network takes three colours, ``rgb`` or ``bgr``.
    """

    height: int
    width: int
    channels: int = 1
    mean: tuple[float, ...] = (127.0,)
    std: tuple[float, ...] = (128.0,)
    equalise: bool = False
    lungs: bytes = field(default=b"", repr=False)
    colour: str = "gray"

    def __post_init__(self) -> None:
        if type(self.height) is not int or type(self.width) is not int or min(self.height, self.width) < 1:
            raise ValueError(f"height and width must be positive whole numbers, not {self.height} x {self.width}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} needs one value per channel ({self.channels})")
            if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in getattr(self, name)):
                raise ValueError(f"{name} must be finite numbers, not {getattr(self, name)}")
        if not all(1e-6 < std < 1e9 for std in self.std):
            raise ValueError(f"std must be positive, not {self.std}")
        if not isinstance(self.lungs, bytes):
            raise ValueError(f"lungs must be the bytes of a .tflite, not {type(self.lungs).__name__}")
        if self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}, not {self.colour!r}")
        if self.in_colour and (self.channels != 3 or self.equalise or self.lungs):
            raise ValueError(
                f"colour {self.colour} needs 3 channels, and neither equalise nor lungs, which are for gray radiographs"
            )

    @property
    def in_colour(self) -> bool:
        """Whether the network sees the colours of a colour picture."""
        return self.colour != "gray"

    @property
    def at_least(self) -> tuple[int, int]:
        """``(width, height)`` below which a radiograph must not be reduced before it is fitted.

        Lungs take some seven tenths of a radiograph's side: with fewer pixels their crop would be enlarged.
        """
        share = 0.7 if self.lungs else 1.0
        return math.ceil(self.width / share), math.ceil(self.height / share)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON; of the network that finds the lungs, the SHA-256."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        del values["lungs"]
        if not self.in_colour:  # older readers know gray networks only
            del values["colour"]
        return {**values, "lungs": hashlib.sha256(self.lungs).hexdigest()} if self.lungs else values

    @classmethod
    def from_dict(cls, fields: dict[str, Any], lungs: bytes = b"") -> InputSpec:
        """The reverse of :meth:`to_dict`; ``lungs`` is the network that finds them, which is kept elsewhere.

        Raises:
            ValueError, TypeError: a field is unknown, missing or out of range, or that network is another.
        """
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        if values.pop("lungs", "") != (hashlib.sha256(lungs).hexdigest() if lungs else ""):
            raise ValueError("the network that finds the lungs is missing, or is another than was named")
        return cls(**values, lungs=lungs)


def resize(image: Image.Image, spec: InputSpec, view: Box = WHOLE) -> Image.Image:
    """A view of an 8-bit image of any size -> the network's height and width, antialiased."""
    size = (spec.width, spec.height)
    if view == WHOLE:
        return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    left, top, right, bottom = (share * side for share, side in zip(view, image.size * 2))
    return image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom), reducing_gap=2.0)


def equalisation(histogram: npt.NDArray[np.int64]) -> Table:
    """The table that equalises a gray image with this histogram (256 counts).

    Pure black and pure white do not count: they are the frame around a
    radiograph and the letters burnt into it, and how much of them there is
    tells the hospital, not the disease.
    """
    counts = histogram.astype(np.float64)
    counts[0] = counts[255] = 0
    total = counts.sum()
    if total == 0:  # nothing between black and white: leave it alone
        return np.arange(256, dtype=np.uint8)
    # The middle of each level's share, so that a flat image lands on mid-gray.
    middle = np.cumsum(counts) - counts / 2
    table: Table = np.rint(middle / total * 255).astype(np.uint8)
    table[0], table[255] = 0, 255
    return table


def gray_table(image: Image.Image, spec: InputSpec) -> Table:
    """Gray byte -> gray byte: the part of the table that depends on the image, uint8."""
    if spec.equalise:
        return equalisation(np.asarray(image.histogram(), dtype=np.int64))
    return np.arange(256, dtype=np.uint8)


def input_tables(spec: InputSpec, dtype: np.dtype[Any], scale: float, zero_point: int) -> Table:
    """Gray byte -> the network's input value, per channel: shape ``(channels, 256)``.

    ``real = (gray - mean) / std`` is what the float network saw; an integer
    network stores ``q = round(real / scale) + zero_point``. With the shipped
    networks' mean 127, std 128, scale 1/128 and zero point -1 this is
    ``q = gray - 128``: the byte itself with its top bit flipped.
    """
    gray = np.arange(256, dtype=np.float64)
    real = (gray - np.asarray(spec.mean)[:, None]) / np.asarray(spec.std)[:, None]
    if dtype.kind == "f":
        return np.asarray(real, dtype)
    limits = np.iinfo(dtype)
    stored: Table = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return stored


def look_up(tables: Table, pixels: npt.NDArray[np.uint8]) -> Table:
    """``(channels, 256)`` tables and bytes -> ``(1, height, width, channels)``, contiguous.

    The bytes are ``(height, width)`` of a gray picture, or ``(height, width, channels)`` in the network's order.
    """
    if pixels.ndim == 3:
        return np.stack([table[pixels[..., i]] for i, table in enumerate(tables)], axis=-1)[None]
    if len(tables) == 1:
        return np.asarray(tables[0][pixels][None, ..., None])
    return np.ascontiguousarray(np.moveaxis(tables[:, pixels], 0, -1)[None])


def fit(image: Image.Image, spec: InputSpec, seen: Box | None = None) -> npt.NDArray[np.uint8]:
    """An 8-bit image -> ``(height, width)`` uint8 as the network will see it, ``(height, width, 3)`` in colour.

    ``seen`` is its view, where that was found beforehand.
    """
    from .lungs import view  # which runs a network, and so stands on this module

    return pixels(image, spec, seen or view(image, spec))


def pixels(image: Image.Image, spec: InputSpec, view: Box = WHOLE) -> npt.NDArray[np.uint8]:
    """A view of an 8-bit image -> as :func:`fit` returns it, without a search for the lungs."""
    small = resize(image, spec, view)
    found = levels(small, spec)
    if spec.in_colour:
        return found if found.ndim == 3 else np.repeat(found[..., None], 3, axis=2)
    return np.asarray(gray_table(small, spec)[found]) if spec.equalise else found


def levels(image: Image.Image, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """A fitted image -> ``(height, width)`` uint8 where it is gray, else ``(height, width, 3)`` in the network's order.

    A gray image stays gray for a network in colour too, which :func:`look_up` spreads over the channels.
    """
    pixels: npt.NDArray[np.uint8] = np.asarray(image)
    return pixels[..., ::-1] if pixels.ndim == 3 and spec.colour == "bgr" else pixels


def normalise(pixels: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.float32]:
    """``(..., height, width)`` uint8 from :func:`fit` -> ``(..., height, width, channels)`` float32.

    A network in colour takes ``(..., height, width, 3)``.

    The float network's view, for training and calibration; the runtime never
    makes it.
    """
    values = (pixels if spec.in_colour else pixels[..., None]).astype(np.float32)
    return np.asarray((values - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32), np.float32)
