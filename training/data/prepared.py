"""Radiographs as a network is shown them, read and fitted as the device does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from convert.quantisation.representative_images import gather
from covidnet_lite import radiograph
from covidnet_lite.box import WHOLE, Box
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.fit import fit
from covidnet_lite.network import lungs
from covidnet_lite.network.input_spec import InputSpec

Pixels = npt.NDArray[np.uint8]
Prepare = Callable[[Image.Image, InputSpec], tuple[Pixels, Box]]


def as_on_device(image: Image.Image, spec: InputSpec) -> tuple[Pixels, Box]:
    """What a network is shown of a gray image, ``(height, width)``, and which part of the image that is."""
    view = lungs.view(image, spec)
    return fit(image, spec, view), view


def without_lungs(image: Image.Image, spec: InputSpec) -> tuple[Pixels, Box]:
    """All of a gray image with the part that the network is usually shown painted black: the radiograph without its
    lungs."""
    left, top, right, bottom = (round(share * side) for share, side in zip(lungs.view(image, spec), image.size * 2))
    painted = image.copy()
    painted.paste(0, (left, top, right, bottom))
    return fit(painted, spec, WHOLE), WHOLE


def prepare_all(
    cases: Sequence[LabelledImage], spec: InputSpec, prepare: Prepare = as_on_device
) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """``(n, height, width)`` uint8, and ``(n, 4)`` views: left, top, right, bottom in fractions of the radiograph's
    sides.

    Raises:
        DatasetError: at least one cannot be read; the first such are named.
    """
    results = gather(cases, lambda case: prepare(radiograph.read(case.path, spec.at_least).image, spec))
    images, views = zip(*results)
    return np.stack(images), np.array(views, np.float32)
