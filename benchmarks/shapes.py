"""Made-up images that classifiers can learn to tell apart: a shape on a clouded ground, many of them hard to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("disc", "ring", "square", "cross", "stripes")
COLOURED = ("red disc", "blue disc", *SHAPES[1:])  # two classes that colour alone tells apart


def draw_image(label: str, side: int, rng: np.random.Generator) -> Image.Image:
    """One image of a class, ``side`` by ``side`` in colour."""
    large = 4 * side
    ground = _clouds(rng, side).resize((large, large), Image.Resampling.BILINEAR)
    hue = {"red disc": (230, 60, 50), "blue disc": (60, 90, 230)}.get(label, tuple(rng.integers(40, 240, 3)))
    mask = Image.new("L", (large, large))
    _draw(ImageDraw.Draw(mask), label.split()[-1], large, rng)
    mask = mask.rotate(
        rng.uniform(-25, 25), Image.Resampling.BILINEAR, translate=tuple(rng.uniform(-0.15, 0.15, 2) * large)
    )
    strength = rng.uniform(0.12, 0.9)
    mask = mask.point(lambda level: round(level * strength))
    image = Image.composite(Image.new("RGB", ground.size, tuple(int(v) for v in hue)), ground, mask)
    image = image.resize((side, side), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    noise = rng.normal(0, rng.uniform(2, 14), (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _clouds(rng: np.random.Generator, side: int) -> Image.Image:
    coarse = rng.integers(30, 220, (5, 5, 1)) + rng.integers(-25, 25, (5, 5, 3))
    return Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def _draw(pen: ImageDraw.ImageDraw, shape: str, large: int, rng: np.random.Generator) -> None:
    extent = rng.uniform(0.18, 0.34) * large
    low, high = large / 2 - extent, large / 2 + extent
    width = round(extent * rng.uniform(0.3, 0.5))
    if shape == "disc":
        pen.ellipse((low, low, high, high), 255)
    elif shape == "ring":
        pen.ellipse((low, low, high, high), outline=255, width=width)
    elif shape == "square":
        pen.rectangle((low, low, high, high), 255)
    elif shape == "cross":
        pen.line((low, large / 2, high, large / 2), 255, width)
        pen.line((large / 2, low, large / 2, high), 255, width)
    else:
        for at in np.arange(low, high, width * 1.6):
            pen.rectangle((low, at, high, at + width * 0.8), 255)


def arrays(
    labels: tuple[str, ...], count: int, side: int, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """``(count, side, side, 3)`` images, class after class in turn, and their classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % len(labels)
    return np.stack([np.asarray(draw_image(labels[t], side, rng)) for t in targets]), targets


def write(folder: Path, labels: tuple[str, ...], count: int, side: int, seed: int) -> list[Path]:
    """The same as PNG files, a folder for each class."""
    paths = []
    for at, (pixels, target) in enumerate(zip(*arrays(labels, count, side, seed))):
        path = folder / labels[target] / f"{at:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths
