"""A rectangle in an image."""

from __future__ import annotations

Box = tuple[float, float, float, float]  # left, top, right, bottom, in fractions of the image's sides
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
