"""A radiograph, or a colour image, of any size -> the bytes that a network takes; all code prepares images here.

One resize, one look-up table. No float image is ever made: the
histogram equalisation, the network's normalisation and the quantisation of its
input are three functions of one gray byte, so they are folded into one table of
256 entries and applied once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..box import WHOLE, Box
from .input_spec import InputSpec

Table = npt.NDArray[Any]  # 256 entries: gray byte -> the network's input value


@dataclass(frozen=True, eq=False)
class Prepared:
    """The image of a radiograph that a network sees.

    Attributes:
        image: at the network's height and width, in 8-bit gray, or in colour for a network in colour.
        spec: of the network.
        view: the part of the radiograph that the image shows.
    """

    image: Image.Image
    spec: InputSpec
    view: Box

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """``(height, width)`` uint8, equalised if the network's input is; ``(height, width, 3)`` in its own order of
        colours. The float network is trained on these."""
        levels = self._levels()
        if self.spec.in_colour:
            return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
        return np.take(self._equalisation(), levels) if self.spec.equalise else levels

    def values(self, tables: Table) -> Table:
        """``(1, height, width, channels)``, contiguous: an interpreter's input.

        Args:
            tables: ``(channels, 256)``, from :func:`input_tables`.
        """
        # Equalisation, normalisation and quantisation in one look-up: (channels, 256)[:, (h, w)].
        return look_up(tables[:, self._equalisation()] if self.spec.equalise else tables, self._levels())

    @cached_property
    def histogram(self) -> list[int]:
        """256 counts: how many pixels of a gray image have each level."""
        return self.image.histogram()

    def _equalisation(self) -> Table:
        """Gray byte -> gray byte: the part of the table that depends on the image, uint8."""
        return equalisation(np.asarray(self.histogram))

    def _levels(self) -> npt.NDArray[np.uint8]:
        """``(height, width)`` uint8 where the image is gray, else ``(height, width, 3)`` in the network's order.

        A gray image stays gray for a network in colour too, which :func:`look_up` spreads over the channels.
        """
        levels: npt.NDArray[np.uint8] = np.asarray(self.image)
        return levels[..., ::-1] if levels.ndim == 3 and self.spec.colour == "bgr" else levels


def prepare(image: Image.Image, spec: InputSpec, view: Box) -> Prepared:
    """A view of an 8-bit image of any size, at the network's height and width, antialiased.

    Args:
        image: gray, or in colour for a network in colour.
        spec: of the network.
        view: the part of the image to use, from :func:`covidnet_lite.network.lungs.view`; ``WHOLE`` for all.
    """
    size = (spec.width, spec.height)
    if view != WHOLE:
        left, top, right, bottom = (share * side for share, side in zip(view, image.size * 2))
        image = image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom), reducing_gap=2.0)
    elif image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return Prepared(image, spec, view)


def equalisation(histogram: npt.NDArray[np.int64]) -> Table:
    """The table that equalises a gray image with this histogram (256 counts).

    Pure black and pure white do not count: they are the frame around a
    radiograph and the letters burnt into it, and their amount depends on the
    hospital, not on the disease.
    """
    counts = histogram.astype(np.float64)
    counts[0] = counts[255] = 0
    total = counts.sum()
    if total == 0:  # nothing between black and white: leave the image as it is
        return np.arange(256, dtype=np.uint8)
    # The middle of each level's share, so that a flat image lands on mid-gray.
    middle = np.cumsum(counts) - counts / 2
    table: Table = np.rint(middle / total * 255).astype(np.uint8)
    return table


def input_tables(spec: InputSpec, dtype: np.dtype[Any], scale: float, zero_point: int) -> Table:
    """Gray byte -> the network's input value, per channel: shape ``(channels, 256)``.

    ``real = (gray - mean) / std`` is what the float network saw; an integer
    network stores ``q = round(real / scale) + zero_point``. With the shipped
    networks' mean 127, std 128, scale 1/128 and zero point -1 this is
    ``q = gray - 128``: the byte itself with its top bit flipped.
    """
    gray = np.arange(256)
    real = (gray - np.asarray(spec.mean)[:, None]) / np.asarray(spec.std)[:, None]
    if dtype.kind == "f":
        return np.asarray(real, dtype)
    limits = np.iinfo(dtype)
    table: Table = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return table


def look_up(tables: Table, pixels: npt.NDArray[np.uint8]) -> Table:
    """``(channels, 256)`` tables and bytes -> ``(1, height, width, channels)``, contiguous.

    The bytes are ``(height, width)`` of a gray image, or ``(height, width, channels)`` in the network's order.
    """
    if pixels.ndim == 3:
        return np.stack([table[pixels[..., i]] for i, table in enumerate(tables)], axis=-1)[None]
    if len(tables) == 1 and tables.itemsize == 1:  # a third of the time of an index
        values = pixels.tobytes().translate(tables[0].tobytes())
        return np.frombuffer(values, tables.dtype).reshape(1, *pixels.shape, 1)
    return np.ascontiguousarray(np.moveaxis(tables[:, pixels], 0, -1)[None])
