"""Synthetic outliers: overlapping shapes of all sizes, as dead leaves on the ground, with texture and shade.

Their statistics are those of photographs (Lee, Mumford and Huang, IJCV 2001), so that a network can be shown what its
images are not without a collection of others (Baradad et al., NeurIPS 2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Array = npt.NDArray[Any]

SIDE = 256  # pixels


def dead_leaves(seed: int, colour: bool = False) -> Image.Image:
    """An image of mode ``L``, or ``RGB``; the same for the same seed."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(_leaves(rng).filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3)))), float)
    if rng.random() < 0.7:
        pixels += rng.uniform(0, 40) * _noise(rng, rng.uniform(0.3, 1.5))[..., None]
    if rng.random() < 0.5:
        pixels *= 0.5 + np.clip(1 + 0.5 * _noise(rng, 2.0), 0, 2)[..., None] / 4
    if not colour:
        pixels = pixels[..., 0]
    low, high = np.quantile(pixels, (0.005, 0.995))
    gamma = rng.uniform(0.5, 2)
    return Image.fromarray((np.clip((pixels - low) / max(high - low, 1.0), 0, 1) ** gamma * 255).astype(np.uint8))


def _leaves(rng: np.random.Generator) -> Image.Image:
    """Ellipses, polygons and strokes, one over the other; their sizes follow a power law."""
    image = Image.new("RGB", (SIDE, SIDE), _shade(rng))
    draw = ImageDraw.Draw(image)
    count, least, exponent = rng.integers(20, 400), rng.uniform(2, 20), rng.uniform(1, 2.2)
    for size in np.minimum(least * rng.uniform(1e-6, 1, count) ** (-1 / exponent), 0.6 * SIDE):
        x, y = rng.uniform(-20, SIDE + 20, 2)
        width, height = size, size * rng.uniform(0.3, 1.6)
        kind = rng.integers(3)
        if kind == 0:
            draw.ellipse((x - width, y - height, x + width, y + height), fill=_shade(rng))
        elif kind == 1:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            draw.polygon([(x + width * np.cos(a), y + height * np.sin(a)) for a in angles], fill=_shade(rng))
        else:
            dx, dy = 2 * size * rng.normal(size=2)
            draw.line([(x, y), (x + dx, y + dy)], fill=_shade(rng), width=int(rng.integers(1, 8)))
    return image


def _shade(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(level) for level in rng.integers(0, 256, 3))


def _noise(rng: np.random.Generator, slope: float) -> Array:
    """``(SIDE, SIDE)`` noise of unit variance whose amplitude falls with frequency to this power."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = np.inf  # no mean
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / frequency**slope).real
    return np.asarray(noise / noise.std())
