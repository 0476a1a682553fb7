"""Random changes that hide which hospital a radiograph came from, not what it shows.

Public COVID-19 collections differ in resolution, compression, gray scale,
borders and burnt-in letters, and a network learns those first (DeGrave et al.,
Nature Machine Intelligence 2021). Each change here makes one of them useless.
All work on 8-bit gray PIL images and draw from the given generator only, so a
seed repeats a run.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Generator = np.random.Generator
Change = Callable[[Image.Image, Generator, float], Image.Image]


@dataclass(frozen=True)
class Strength:
    """How often each change is made (probability 0 to 1), and how far it goes (1 is the recipe's usual)."""

    geometry: float = 0.9
    flip: float = 0.5
    resolution: float = 0.5
    compression: float = 0.5
    sharpness: float = 0.3
    gamma: float = 0.5
    curve: float = 0.3
    illumination: float = 0.3
    noise: float = 0.4
    border: float = 0.25
    corners: float = 0.5
    spectrum: float = 0.0  # the grain of another image; made by Batches, which has the others
    scale: float = 1.0


def augment(image: Image.Image, rng: Generator, strength: Strength) -> Image.Image:
    """One random variant of a radiograph; its size may change."""
    for name, change in _CHANGES.items():
        if rng.random() < getattr(strength, name):
            image = change(image, rng, strength.scale)
    return image


def geometry(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Crop (which also removes borders), zoom, stretch, rotate, shift."""
    width, height = image.size
    zoom = np.exp(rng.uniform(-0.35, 0.12) * scale)  # the share of the side that stays in view
    aspect = np.exp(rng.uniform(-0.18, 0.18) * scale)
    angle = np.deg2rad(rng.normal(0, 5) * scale)
    view = np.array([width * zoom * aspect, height * zoom / aspect])
    centre = np.array([width, height]) * (0.5 + rng.uniform(-0.5, 0.5, 2) * np.abs(1 - zoom) * 0.9)
    cos, sin = np.cos(angle), np.sin(angle)
    # Output pixel (x, y) is taken from rotation @ ((x, y) - out / 2) + centre.
    a, b, d, e = cos, -sin, sin, cos
    out = np.maximum(view, 32).astype(int)
    c = centre[0] - a * out[0] / 2 - b * out[1] / 2
    f = centre[1] - d * out[0] / 2 - e * out[1] / 2
    fill = int(rng.choice([0, 0, rng.integers(256)]))
    return image.transform(
        tuple(out), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR, fillcolor=fill
    )


def flip(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Left to right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def resolution(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Down to a random share of the pixels and, mostly, up again."""
    factor = np.exp(-rng.uniform(0, 1.1) * scale)
    kernels = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.NEAREST)
    down, up = rng.choice(4, 2, p=(0.4, 0.3, 0.25, 0.05))
    small = image.resize([max(48, round(s * factor)) for s in image.size], kernels[down])
    return small.resize(image.size, kernels[up]) if rng.random() < 0.7 else small


def compression(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """JPEG at a random quality."""
    quality = int(np.clip(92 - rng.gamma(2.0, 14.0) * scale, 12, 95))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


def sharpness(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Softer, or sharpened as vendors' post-processing does."""
    if rng.random() < 0.5:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6) * scale))
    return image.filter(ImageFilter.UnsharpMask(rng.uniform(1, 8), int(rng.uniform(40, 180) * scale), 0))


def gamma(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Brightness, contrast and gamma in one table."""
    level = np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.7, 0.7) * scale)
    level = (level - 0.5) * np.exp(rng.uniform(-0.6, 0.25) * scale) + 0.5 + rng.uniform(-0.1, 0.1) * scale
    return image.point(_table(level))


def curve(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """A random rising curve through the gray levels: another detector, another window."""
    knots = np.concatenate([[0], np.sort(rng.uniform(0, 1, 4)), [1]])
    straight = np.linspace(0, 1, 6)
    level = np.interp(np.linspace(0, 1, 256), straight, straight + (knots - straight) * 0.7 * scale)
    return image.point(_table(level))


def illumination(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """A smooth field over the picture, as scatter, grids and local equalisation leave; a table can't undo it."""
    field = Image.fromarray(rng.normal(0, 1, (3, 3)).astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.float32) + np.asarray(field) * rng.uniform(5, 28) * scale
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def noise(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Gaussian and speckle noise, sometimes coarse."""
    width, height = image.size
    coarse = 2 if rng.random() < 0.3 else 1
    grain = rng.standard_normal((height // coarse + 1, width // coarse + 1), np.float32) * rng.uniform(1, 7) * scale
    grain = grain.repeat(coarse, 0).repeat(coarse, 1)[:height, :width]
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.5:
        grain = grain * (pixels / 128)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def border(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """A frame of one gray on some sides, as collimators and scanners leave."""
    out = image.copy()
    draw = ImageDraw.Draw(out)
    width, height = out.size
    fill = int(rng.choice([0, 0, 255, rng.integers(256)]))
    left, top, right, bottom = rng.uniform(0, 0.08, 4) * (rng.random(4) < 0.6) * scale
    for box in (
        (0, 0, int(left * width), height),
        (0, 0, width, int(top * height)),
        (width - int(right * width), 0, width, height),
        (0, height - int(bottom * height), width, height),
    ):
        if box[2] > box[0] and box[3] > box[1]:
            draw.rectangle(box, fill)
    return out


def corners(image: Image.Image, rng: Generator, scale: float) -> Image.Image:
    """Blots out places where text sits, or writes other text there."""
    out = image.copy()
    draw = ImageDraw.Draw(out)
    width, height = out.size
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        if rng.random() > 0.5:
            continue
        w, h = rng.uniform(0.06, 0.25, 2) * (width, height) * scale
        left, top = x * (width - w), y * (height - h)
        if rng.random() < 0.6:
            draw.rectangle((left, top, left + w, top + h), int(rng.choice([0, 255, rng.integers(256)])))
        else:
            word = "".join(rng.choice(list("LRAPABC0123456789 -:"), rng.integers(1, 10)))
            draw.text((left + 2, top + 2), word, int(rng.integers(160, 256)), font_size=float(rng.uniform(8, 24)))
    return out


def _table(level: np.ndarray) -> list[int]:
    return [int(v) for v in np.clip(np.rint(level * 255), 0, 255)]


_CHANGES: dict[str, Change] = {
    "corners": corners,
    "geometry": geometry,
    "flip": flip,
    "resolution": resolution,
    "sharpness": sharpness,
    "gamma": gamma,
    "curve": curve,
    "illumination": illumination,
    "noise": noise,
    "compression": compression,
    "border": border,
}
