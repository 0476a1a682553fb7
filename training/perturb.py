"""Deterministic changes of a radiograph, to see what a network's answer hangs on, and pictures changed by them.

Every change works on the 8-bit gray radiograph, before it is fitted to a network.
What is taken away is painted black: pure black is what frames a radiograph anyway,
and equalisation leaves it out of account (:func:`covidnet_lite.fit.equalisation`).
A network that crops to the lungs would look for them in vain where they are black,
so the crop is that of the untouched radiograph. What should change nothing goes
through everything that the device does, the search for the lungs included.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from convert.calibration import gather
from covidnet_lite import lungs, radiograph
from covidnet_lite.cases import Case
from covidnet_lite.errors import DatasetError
from covidnet_lite.fit import WHOLE, Box, InputSpec, fit

Change = Callable[[Image.Image, Case], Image.Image]
T = TypeVar("T")

BORDER = 0.1  # of each side
BLACK = 0


def pictures(cases: Sequence[Case], spec: InputSpec, change: Change | None = None) -> npt.NDArray[np.uint8]:
    """``(n, height, width)`` uint8, read as the device does, changed, and fitted as the device does.

    Of a radiograph that is painted over (:data:`PAINTED`) the network is shown the part that it sees of the untouched
    one, so that what is missing is the paint's doing alone.

    Raises:
        DatasetError: at least one cannot be read; the first such are named.
    """

    def one(image: Image.Image, case: Case) -> npt.NDArray[np.uint8]:
        if change in PAINTED:
            return fit(change(image, case), spec, lungs.view(image, spec))
        return fit(image if change is None else change(image, case), spec)

    return np.stack(_each(cases, spec, one))


def views(cases: Sequence[Case], spec: InputSpec) -> list[Box]:
    """The part of each radiograph that a network sees.

    Raises:
        DatasetError: as for :func:`pictures`.
    """
    return _each(cases, spec, lambda image, case: lungs.view(image, spec))


def _each(cases: Sequence[Case], spec: InputSpec, make: Callable[[Image.Image, Case], T]) -> list[T]:
    return gather(cases, lambda case: make(radiograph.read(case.path, spec.at_least).image, case))


# --- lungs


def lung_boxes(case: Case) -> list[Box]:
    """The boxes of a manifest's column ``lung_boxes`` (``x0 y0 x1 y1;...``), none where it is empty.

    Raises:
        DatasetError: the column holds something else.
    """
    text = case.fields.get("lung_boxes", "")
    try:
        boxes = [tuple(float(v) for v in part.split()) for part in text.split(";") if part.strip()]
    except ValueError:
        boxes = [()]
    if not all(len(b) == 4 and 0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in boxes):
        raise DatasetError(
            f"{case.path}: lung_boxes is {text!r}; give fractions of the sides as 'x0 y0 x1 y1;x0 y0 x1 y1'"
        )
    return [(b[0], b[1], b[2], b[3]) for b in boxes]


def lung_mask(case: Case, size: tuple[int, int], view: Box = WHOLE) -> Image.Image:
    """White where a box lies, of ``(width, height)`` pixels; of a view of the radiograph, or of all of it."""
    mask = Image.new("L", size, 0)
    draw, (width, height) = ImageDraw.Draw(mask), size
    left, top, right, bottom = view
    for box in lung_boxes(case):
        x0, x1 = ((min(max(x, left), right) - left) / (right - left) for x in box[::2])
        y0, y1 = ((min(max(y, top), bottom) - top) / (bottom - top) for y in box[1::2])
        if x0 == x1 or y0 == y1:  # out of view
            continue
        # The far corner of Pillow's rectangle belongs to it.
        corner = (max(round(x0 * width), round(x1 * width) - 1), max(round(y0 * height), round(y1 * height) - 1))
        draw.rectangle([(round(x0 * width), round(y0 * height)), corner], fill=255)
    return mask


def without_lungs(image: Image.Image, case: Case) -> Image.Image:
    """The boxes black, the rest as it is."""
    return Image.composite(Image.new("L", image.size, BLACK), image, lung_mask(case, image.size))


def lungs_only(image: Image.Image, case: Case) -> Image.Image:
    """All black but the boxes."""
    return Image.composite(image, Image.new("L", image.size, BLACK), lung_mask(case, image.size))


def without_border(image: Image.Image, case: Case) -> Image.Image:
    """The outer tenth of each side black."""
    (width, height), kept = image.size, Image.new("L", image.size, BLACK)
    x, y = round(BORDER * width), round(BORDER * height)
    kept.paste(image.crop((x, y, width - x, height - y)), (x, y))
    return kept


PAINTED: frozenset[Change | None] = frozenset({without_lungs, lungs_only, without_border})


# --- what should change nothing


def brightness(factor: float) -> Change:
    """Every gray level times a factor."""
    return _levels(lambda level: level * factor)


def gamma(exponent: float) -> Change:
    """Gray levels, from 0 to 1, to a power."""
    return _levels(lambda level: 255 * (level / 255) ** exponent)


def _levels(curve: Callable[[float], float]) -> Change:
    table = [min(255, max(0, round(curve(level)))) for level in range(256)]
    return lambda image, case: image.point(table)


def jpeg(quality: int) -> Change:
    """Compressed as JPEG and opened again."""

    def change(image: Image.Image, case: Case) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(io.BytesIO(file.getvalue())).convert("L")

    return change


def reduced(factor: int) -> Change:
    """The same picture with a fraction of the pixels along each side."""

    def change(image: Image.Image, case: Case) -> Image.Image:
        size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
        return image.resize(size, Image.Resampling.BOX)

    return change


def rotated(degrees: float) -> Change:
    """Turned counter-clockwise about its centre; black comes in at the corners."""
    return lambda image, case: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=BLACK)


def mirrored(image: Image.Image, case: Case) -> Image.Image:
    """Left and right exchanged, so the heart is on the wrong side."""
    return ImageOps.mirror(image)


INVARIANCES: dict[str, Change] = {
    "15 % darker": brightness(0.85),
    "15 % brighter": brightness(1.15),
    "gamma 0.7": gamma(0.7),
    "gamma 1.4": gamma(1.4),
    "JPEG quality 30": jpeg(30),
    "half the resolution": reduced(2),
    "a quarter of the resolution": reduced(4),
    "5° counter-clockwise": rotated(5),
    "5° clockwise": rotated(-5),
    "mirrored": mirrored,
}
