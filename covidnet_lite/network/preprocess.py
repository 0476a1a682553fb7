"""A radiograph, or a colour picture, of any size -> the bytes a network takes.

One resize, one look-up table. Nothing here ever touches a float image: the
histogram equalisation, the network's normalisation and the quantisation of its
input are three functions of one gray byte, so they are folded into one table of
256 entries and applied once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..box import WHOLE, Box
from .input_spec import InputSpec

Table = npt.NDArray[Any]  # 256 entries: gray byte -> value the network takes


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
