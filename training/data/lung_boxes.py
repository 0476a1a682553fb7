"""The lungs that somebody drew, from a manifest's column ``lung_boxes``."""

from __future__ import annotations

from covidnet_lite.box import Box
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import DatasetError


def lung_boxes(case: LabelledImage) -> list[Box]:
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
