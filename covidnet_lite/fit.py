"""A radiograph of any size -> gray levels as a network sees them, cropped to the lungs where it wants that."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from .box import Box
from .network.input_spec import InputSpec
from .network.lungs import view
from .network.preprocess import pixels


def fit(image: Image.Image, spec: InputSpec, seen: Box | None = None) -> npt.NDArray[np.uint8]:
    """An 8-bit image -> ``(height, width)`` uint8 as the network will see it, ``(height, width, 3)`` in colour.

    ``seen`` is its view, where that was found beforehand.
    """
    return pixels(image, spec, seen or view(image, spec))
