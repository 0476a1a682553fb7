"""The evidence map over the radiograph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..box import WHOLE, Box

LONGEST = 1024  # pixels of the longer side, for a screen
SIZE = (LONGEST, LONGEST)  # below which a radiograph for a heat map is not reduced

# Dark violet over red to yellow, even steps of lightness, readable when colour-blind or printed gray
# (after matplotlib's "inferno", CC0): five of its colours, interpolated.
_COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


def colour_table() -> npt.NDArray[np.uint8]:
    """``(256, 3)`` uint8."""
    at = np.linspace(0, 255, len(_COLOURS))
    channels = [np.interp(np.arange(256), at, channel) for channel in zip(*_COLOURS)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def strongest(evidence: npt.NDArray[Any]) -> float:
    """The strongest contrast of any class, in logits above the mean of the classes at that place; :func:`strength`
    scales it to 1."""
    return float((evidence - evidence.mean(axis=-1, keepdims=True)).max())


def strength(evidence: npt.NDArray[Any], index: int) -> npt.NDArray[np.float32]:
    """``(h, w, classes)`` logits by place -> ``(h, w)`` float32, 0 to 1: where this class outweighs the others.

    Scaled by the strongest contrast of any class, so a class without evidence stays dark.
    """
    contrast = evidence - evidence.mean(axis=-1, keepdims=True)
    scale = strongest(evidence)
    return np.asarray(
        np.clip(contrast[..., index] / scale, 0, 1) if scale > 0 else np.zeros(evidence.shape[:2]), np.float32
    )


def overlay(
    image: Image.Image, evidence: npt.NDArray[Any], index: int, opacity: float = 0.45, view: Box = WHOLE
) -> Image.Image:
    """A gray radiograph and ``(h, w, classes)`` evidence -> RGB, the longer side at most ``LONGEST`` pixels.

    ``view`` is the part of the radiograph that the evidence covers.
    """
    image = image.copy()
    image.thumbnail((LONGEST, LONGEST))
    heat = Image.fromarray(np.rint(strength(evidence, index) * 255).astype(np.uint8))
    left, top, right, bottom = (round(share * side) for share, side in zip(view, image.size * 2))
    patch = heat.resize((max(1, right - left), max(1, bottom - top)), Image.Resampling.BICUBIC)
    heat = Image.new("L", image.size)
    heat.paste(patch, (left, top))
    colours = Image.fromarray(colour_table()[np.asarray(heat)])
    mask = heat.point([round(level * opacity) for level in range(256)])
    return Image.composite(colours, image.convert("RGB"), mask)


def with_legend(image: Image.Image, title: str, strongest_contrast: float) -> Image.Image:
    """An overlay with a band below it that holds the title and explains the colours.

    Args:
        image: the overlay, RGB.
        title: whose evidence it shows.
        strongest_contrast: logits above the mean of the classes, of the brightest colour.
    """
    from PIL import ImageDraw, ImageFont  # not needed to classify

    width = image.width
    size = max(8, min(18, width // 40))
    font = ImageFont.load_default(size)
    text = f"{title}, logits above the mean of the classes:  0"
    end = f"{max(strongest_contrast, 0):.1f}"
    ramp = size * 5
    while size > 6 and font.getlength(text) + ramp + font.getlength(end) + 3 * size > width:
        size -= 1
        font, ramp = ImageFont.load_default(size), size * 5
    band = Image.new("RGB", (width, size * 2), "black")
    draw = ImageDraw.Draw(band)
    middle = band.height // 2
    draw.text((size // 2, middle), text, fill="white", font=font, anchor="lm")
    at = round(font.getlength(text)) + size
    colours = Image.fromarray(colour_table()[None].repeat(size, axis=0)).resize((ramp, size))
    band.paste(colours, (at, middle - size // 2))
    draw.text((at + ramp + size // 2, middle), end, fill="white", font=font, anchor="lm")
    page = Image.new("RGB", (width, image.height + band.height))
    page.paste(image, (0, 0))
    page.paste(band, (0, image.height))
    return page
