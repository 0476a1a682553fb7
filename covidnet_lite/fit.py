"""A radiograph of any size -> the gray levels that a network sees: for training, calibration and other runtimes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from .box import Box
from .network import lungs
from .network.input_spec import InputSpec
from .network.preprocess import prepare


def fit(image: Image.Image, spec: InputSpec, view: Box | None = None) -> npt.NDArray[np.uint8]:
    """An 8-bit image -> ``(height, width)`` uint8 as the network sees it, ``(height, width, 3)`` in colour.

    Args:
        image: gray, or in colour for a network in colour.
        spec: the network's input.
        view: the part of the image that the network sees, if it has been computed already.

    Raises:
        ModelError, BackendError: the network in ``spec`` that finds the lungs cannot be used.
    """
    return prepare(image, spec, view or lungs.view(image, spec)).pixels
