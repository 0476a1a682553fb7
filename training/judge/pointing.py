"""The pointing game: whether the evidence is strongest where a radiologist drew an opacity.

After Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016; here the middle of the hottest place
of the map counts, and the baseline is a place drawn at random from what the network saw of the radiograph.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covidnet_lite.box import Box
from covidnet_lite.dataset import LabelledImage
from training.data.supervision import read_boxes
from training.judge.figure import Figure, mean, missing, rate
from training.judge.reading import Reading

COLUMNS = ("opacity_boxes", "boxes")  # of the manifests


def pointing(reading: Reading) -> dict[str, Figure]:
    """How often the hottest place of "not normal" lies in a box, and a random place, over the radiographs with
    boxes."""
    boxed = reading.of(has_boxes(reading))
    if boxed.local is None or not boxed.cases:
        return {"hottest place in a box": missing("no evidence map" if boxed.cases else "no film has boxes")}
    hit, chance = hits(boxed, boxed.local)
    return {"hottest place in a box": rate(hit, boxed.patients), "random place in a box": mean(chance, boxed.patients)}


def hits(boxed: Reading, local: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """``(n,)``: whether the hottest place of each map ``(n, h, w)`` is in a box, and the share of places that is."""
    height, width = local.shape[1:]
    inside = [covered(opacities(case), view, height, width) for case, view in zip(boxed.cases, boxed.views)]
    places = np.stack(inside).reshape(len(inside), -1)
    hottest = local.reshape(len(local), -1).argmax(axis=1)
    return places[np.arange(len(places)), hottest], places.mean(axis=1)


def has_boxes(reading: Reading) -> npt.NDArray[np.bool_]:
    """Which radiographs have boxes around opacities."""
    return np.array([bool(opacities(case)) for case in reading.cases], bool)


def opacities(case: LabelledImage) -> tuple[Box, ...]:
    """The boxes of a radiograph, in fractions of its sides."""
    return next((boxes for column in COLUMNS if (boxes := read_boxes(case, column))), ())


def covered(boxes: tuple[Box, ...], view: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.bool_]:
    """``(height, width)``: of which places, laid over a view of the radiograph, the middle lies in a box."""
    left, top, right, bottom = (float(side) for side in view)
    across = (left + (right - left) * (np.arange(width) + 0.5) / width)[None, :]
    down = (top + (bottom - top) * (np.arange(height) + 0.5) / height)[:, None]
    covered = [(x0 <= across) & (across < x1) & (y0 <= down) & (down < y1) for x0, y0, x1, y1 in boxes]
    return np.asarray(np.logical_or.reduce(covered))
