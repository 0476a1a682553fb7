"""Random variants of a training radiograph that change which hospital it seems to come from, not what it shows.

Collections differ in resolution, compression, grey scale, borders and burnt-in letters, and a network learns those
first (DeGrave et al., Nature Machine Intelligence 2021). Each change here makes one of them useless. One variant is
cropped, changed and equalised in about 2 ms on one core; OpenCV releases the interpreter lock while it works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from covidnet_lite.box import Box
from covidnet_lite.network.preprocess import equalisation

Generator = np.random.Generator
Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]  # (2, 3), places in a variant (pixels) -> places in the radiograph (pixels)
Change = Callable[[Pixels, Generator, float], Pixels]


@dataclass(frozen=True)
class Strength:
    """How often each change is made (probability 0 to 1), and how far it goes (``scale``, 1 is usual)."""

    flip: float = 0.5
    whole: float = 0.05  # the whole radiograph instead of the lung box, as where no lungs are found
    resolution: float = 0.5
    sharpness: float = 0.3
    grain: float = 0.4
    contrast: float = 0.15
    gamma: float = 0.3
    illumination: float = 0.5
    noise: float = 0.4
    compression: float = 0.25
    border: float = 0.2
    corners: float = 0.5
    scale: float = 1.0


def variant(
    image: Pixels, box: Box, side: int, rng: Generator, strength: Strength, equalised: bool = True
) -> tuple[Pixels, Matrix]:
    """One random variant of a radiograph.

    Args:
        image: ``(height, width)`` uint8.
        box: around the lungs, in fractions of the sides.
        side: pixels of the variant's height and width.
        equalised: whether its grey levels are equalised in the end.

    Returns:
        ``(side, side)`` uint8, and the matrix from its places to those of the radiograph.
    """
    matrix = place(image.shape, box, side, rng, strength)
    fill = int(rng.choice([0, 0, int(rng.integers(256))]))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))  # pixels of the radiograph for one of the variant
    if step > 1.5:  # a bilinear look-up would skip pixels
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 * step), np.uint8)
    pixels = np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=flags, borderValue=fill), np.uint8)
    for name, change in CHANGES.items():
        if rng.random() < getattr(strength, name):
            pixels = change(pixels, rng, strength.scale)
    return equalise(pixels) if equalised else pixels, matrix


def plain(shape: tuple[int, ...], box: Box, side: int) -> Matrix:
    """The matrix of the unchanged crop of a ``(height, width)`` radiograph to ``box``."""
    height, width = shape
    left, top, right, bottom = box
    across, down = (right - left) * width / side, (bottom - top) * height / side
    return np.array([[across, 0, left * width + (across - 1) / 2], [0, down, top * height + (down - 1) / 2]])


def place(shape: tuple[int, ...], box: Box, side: int, rng: Generator, strength: Strength) -> Matrix:
    """A random crop near ``box``: shifted, zoomed, stretched, turned, perhaps mirrored."""
    height, width = shape
    left, top, right, bottom = (0.0, 0.0, 1.0, 1.0) if rng.random() < strength.whole else box
    centre = np.array([(left + right) / 2 * width, (top + bottom) / 2 * height])
    extent = np.array([(right - left) * width, (bottom - top) * height])
    zoom, aspect = np.exp(rng.uniform(-0.16, 0.16) * strength.scale), np.exp(rng.uniform(-0.14, 0.14) * strength.scale)
    centre = centre + rng.normal(0, 0.03 * strength.scale, 2) * extent
    angle = np.deg2rad(np.clip(rng.normal(0, 6), -15, 15) * strength.scale)
    scale = extent * zoom * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)]) / side
    if rng.random() < strength.flip:
        scale[0] = -scale[0]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    # Places are centres of pixels: the first lies at 0, and half a pixel from the image's edge.
    return np.column_stack([turn, centre - 0.5 - turn @ np.full(2, (side - 1) / 2)])


def coverage(
    boxes: Sequence[Box], shape: tuple[int, ...], matrix: Matrix, side: int, cells: int, points: int = 4
) -> npt.NDArray[np.float32]:
    """The share of each cell of a variant that lies in one of the radiograph's boxes, ``(cells, cells)``."""
    n = cells * points
    at = (np.arange(n) + 0.5) * side / n - 0.5
    across, down = np.meshgrid(at, at)
    x = (matrix[0, 0] * across + matrix[0, 1] * down + matrix[0, 2] + 0.5) / shape[1]
    y = (matrix[1, 0] * across + matrix[1, 1] * down + matrix[1, 2] + 0.5) / shape[0]
    inside = np.zeros((n, n), bool)
    for left, top, right, bottom in boxes:
        inside |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return np.asarray(inside.reshape(cells, points, cells, points).mean((1, 3), dtype=np.float32))


def equalise(pixels: Pixels) -> Pixels:
    """As the runtime does it: black and white do not count."""
    return np.asarray(equalisation(np.bincount(pixels.ravel(), minlength=256))[pixels])


def resolution(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """Down to a random share of the pixels and up again."""
    side = pixels.shape[0]
    small = max(48, round(side * float(np.exp(-rng.uniform(0, 0.9) * scale))))
    down = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
    up = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
    reduced = cv2.resize(pixels, (small, small), interpolation=down)
    return np.asarray(cv2.resize(reduced, (side, side), interpolation=up))


def sharpness(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """Softer, or sharpened as vendors' post-processing does."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.4) * scale))
    soft = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(1, 6))
    gain = rng.uniform(0.3, 1.5) * scale
    return np.asarray(cv2.addWeighted(pixels, 1 + gain, soft, -gain, 0))


def grain(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """More or less of the fine detail, as detectors and dose leave it."""
    soft = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.7, 2))
    gain = float(np.exp(rng.uniform(-0.8, 0.6) * scale))
    return np.asarray(cv2.addWeighted(pixels, gain, soft, 1 - gain, 0))


def contrast(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """Local equalisation, as some consoles apply it."""
    tiles = int(rng.integers(2, 6))
    return np.asarray(cv2.createCLAHE(float(rng.uniform(1, 3) * scale), (tiles, tiles)).apply(pixels))


def gamma(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """Brightness, contrast and gamma in one table; clipped ends stay clipped after equalisation."""
    level = np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.7, 0.7) * scale)
    level = (level - 0.5) * np.exp(rng.uniform(-0.5, 0.3) * scale) + 0.5 + rng.uniform(-0.1, 0.1) * scale
    return np.asarray(cv2.LUT(pixels, np.clip(np.rint(level * 255), 0, 255).astype(np.uint8)))


def illumination(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """A smooth field over the image, as scatter and grids leave; a table cannot undo it."""
    side = pixels.shape[0]
    field = cv2.resize(rng.normal(0, rng.uniform(4, 22) * scale, (3, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(pixels + field, 0, 255), np.uint8)


def noise(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """Gaussian noise, sometimes coarse, sometimes growing with the grey level."""
    side = pixels.shape[0]
    coarse = side // 2 if rng.random() < 0.3 else side
    specks = rng.standard_normal((coarse, coarse), np.float32) * np.float32(rng.uniform(1, 7) * scale)
    specks = cv2.resize(specks, (side, side), interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        specks = specks * (pixels / np.float32(128))
    return np.asarray(np.clip(pixels + specks, 0, 255), np.uint8)


def compression(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """JPEG at a random quality."""
    quality = int(np.clip(92 - rng.gamma(2.0, 14.0) * scale, 15, 95))
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], 0), np.uint8)


def border(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """A frame of one grey level on some sides, as collimators and scanners leave."""
    out: Pixels = pixels.copy()
    side = pixels.shape[0]
    fill = int(rng.choice([0, 0, 255, int(rng.integers(256))]))
    left, top, right, bottom = np.rint(rng.uniform(0, 0.08, 4) * (rng.random(4) < 0.6) * scale * side).astype(int)
    out[:top], out[side - bottom :], out[:, :left], out[:, side - right :] = fill, fill, fill, fill
    return out


def corners(pixels: Pixels, rng: Generator, scale: float) -> Pixels:
    """Blots out places where letters sit, or writes other letters there."""
    out: Pixels = pixels.copy()
    side = pixels.shape[0]
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        if rng.random() > 0.4:
            continue
        w, h = np.rint(rng.uniform(0.06, 0.22, 2) * side * scale).astype(int)
        left, top = x * (side - w), y * (side - h)
        if rng.random() < 0.6:
            out[top : top + h, left : left + w] = int(rng.choice([0, 255, int(rng.integers(256))]))
        else:
            word = "".join(rng.choice(list("LRDIAPBC0123456789 -:"), rng.integers(1, 8)))
            size, level = float(rng.uniform(0.3, 0.9)), int(rng.integers(160, 256))
            cv2.putText(out, word, (int(left) + 2, int(top + h) - 2), cv2.FONT_HERSHEY_SIMPLEX, size, level, 1)
    return out


CHANGES: dict[str, Change] = {
    "corners": corners,
    "resolution": resolution,
    "sharpness": sharpness,
    "grain": grain,
    "contrast": contrast,
    "gamma": gamma,
    "illumination": illumination,
    "noise": noise,
    "compression": compression,
    "border": border,
}
