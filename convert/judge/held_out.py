"""Images that no network was fitted or calibrated on, to judge on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convert.quantisation.representative_images import choose, pixels
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.network.input_spec import InputSpec

MAX_IMAGES = 1000  # without a split; more improve no estimate


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Fitted images and what they show.

    Attributes:
        names: of the images.
        images: ``(n, height, width)`` uint8, as :func:`covidnet_lite.fit.fit` gives them.
        targets: class indices ``(n,)``; -1 where the label is not known.
        reported: ``(n,)`` bool, those that the report is about: the test split where there is one. All of them
            decide whether int8 agrees well enough, since agreement needs no labels.
        description: in words.
    """

    names: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    reported: npt.NDArray[np.bool_]
    description: str


def gather(
    cases: Sequence[LabelledImage], calibration_cases: Sequence[LabelledImage], labels: tuple[str, ...], spec: InputSpec
) -> HeldOut | None:
    """The validation and test splits; where there are none, what calibration left over; ``None`` where nothing is left.

    Raises:
        DatasetError: an image cannot be read.
    """
    usable = [c for c in cases if c.label in labels or not c.label]
    selected = [c for c in usable if c.split in ("val", "test")]
    description = "test split"
    if not any(c.split == "test" for c in selected):
        description = "validation split"
    if not selected:
        calibration_paths = {c.path for c in calibration_cases}
        remaining = [c for c in usable if not c.split and c.path not in calibration_paths]
        selected, description = (
            choose(remaining, MAX_IMAGES, seed=1) if remaining else [],
            "images that calibration left over",
        )
    if not selected:
        return None
    targets = [labels.index(c.label) if c.label else -1 for c in selected]
    reported = [c.split == "test" or description != "test split" for c in selected]
    return HeldOut(
        tuple(str(c.path) for c in selected), pixels(selected, spec), np.array(targets), np.array(reported), description
    )
