"""Images that no network was fitted or calibrated on, to judge on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convert.quantisation.calibration import choose, pixels
from covidnet_lite.dataset import Case
from covidnet_lite.network.input_spec import InputSpec

MOST = 1000  # of images without a split; more say no more


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Fitted pictures and what they show.

    Attributes:
        names: of the images.
        pictures: ``(n, height, width)`` uint8, as :func:`covidnet_lite.fit.fit` gives them.
        targets: class indices ``(n,)``; -1 where the label is not known.
        reported: ``(n,)`` bool, those that the report is about: the test split where there is one. All of them
            decide whether int8 agrees well enough, since agreement needs no labels.
        what: in words.
    """

    names: tuple[str, ...]
    pictures: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    reported: npt.NDArray[np.bool_]
    what: str


def gather(
    cases: Sequence[Case], calibrating: Sequence[Case], labels: tuple[str, ...], spec: InputSpec
) -> HeldOut | None:
    """The validation and test splits; where there are none, what calibration left over; ``None`` where nothing is left.

    Raises:
        DatasetError: an image cannot be read.
    """
    known = [c for c in cases if c.label in labels or not c.label]
    kept = [c for c in known if c.split in ("val", "test")]
    what = "test split"
    if not any(c.split == "test" for c in kept):
        what = "validation split"
    if not kept:
        taken = {c.path for c in calibrating}
        rest = [c for c in known if not c.split and c.path not in taken]
        kept, what = choose(rest, MOST, seed=1) if rest else [], "images that calibration left over"
    if not kept:
        return None
    targets = [labels.index(c.label) if c.label else -1 for c in kept]
    reported = [c.split == "test" or what != "test split" for c in kept]
    return HeldOut(tuple(str(c.path) for c in kept), pixels(kept, spec), np.array(targets), np.array(reported), what)
