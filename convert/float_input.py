"""What a float network takes, for training, calibration and judging; the device never makes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covidnet_lite.network.input_spec import InputSpec


def normalise(pixels: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.float32]:
    """``(..., height, width)`` uint8 from :func:`covidnet_lite.fit.fit` -> ``(..., height, width, channels)`` float32.

    A network in colour takes ``(..., height, width, 3)``.
    """
    values = (pixels if spec.in_colour else pixels[..., None]).astype(np.float32)
    return np.asarray((values - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32), np.float32)
