"""The pointing game: whether the evidence is strongest where a radiologist drew an opacity.

After Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016; here the middle of the hottest place
of the map counts, and the baseline is a place drawn at random from what the network saw of the film.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covidnet_lite.fit import Box
from training.figure import Figure, mean, missing, rate
from training.reading import Reading
from training.supervision import read_boxes

COLUMNS = ("opacity_boxes", "boxes")  # of the manifests


def pointing(reading: Reading) -> dict[str, Figure]:
    """How often the hottest place of "not normal" lies in a box, and a random place, over the films with boxes."""
    if reading.local is None:
        return {"hottest place in a box": missing("the network gives no evidence map")}
    boxes = [opacities(reading, i) for i in range(len(reading.cases))]
    boxed = np.array([bool(found) for found in boxes], bool)
    if not boxed.any():
        return {"hottest place in a box": missing("no film has boxes")}
    part, drawn = reading.of(boxed), [found for found in boxes if found]
    height, width = reading.local.shape[1:]
    inside = np.stack([covered(found, view, height, width) for found, view in zip(drawn, part.views)])
    return {
        "hottest place in a box": rate(hits(part.local, inside), part.patients),
        "random place in a box": mean(inside.mean(axis=(1, 2)), part.patients),
    }


def hits(local: npt.NDArray[np.float64] | None, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """``(n,)``: whether the hottest of the places ``(n, h, w)`` is inside."""
    assert local is not None
    hottest = local.reshape(len(local), -1).argmax(axis=1)
    return np.asarray(inside.reshape(len(inside), -1)[np.arange(len(inside)), hottest])


def opacities(reading: Reading, index: int) -> tuple[Box, ...]:
    """The boxes of a film, in fractions of its sides."""
    case = reading.cases[index]
    return next((found for column in COLUMNS if (found := read_boxes(case, column))), ())


def covered(boxes: tuple[Box, ...], view: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.bool_]:
    """``(height, width)``: of which places, laid over a view of the film, the middle lies in a box."""
    left, top, right, bottom = (float(side) for side in view)
    across = (left + (right - left) * (np.arange(width) + 0.5) / width)[None, :]
    down = (top + (bottom - top) * (np.arange(height) + 0.5) / height)[:, None]
    return np.logical_or.reduce(
        [(x0 <= across) & (across < x1) & (y0 <= down) & (down < y1) for x0, y0, x1, y1 in boxes]
    )
