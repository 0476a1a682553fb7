"""The images on which a quantised network differs most from float, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.judge.plots import INK, VERMILION, blank_figure, png
from covidnet_lite.network.input_spec import InputSpec

NAME = "disagreements.png"
MOST, COLUMNS = 8, 4  # pictures, and how many in a row
LEAST = 0.02  # of probability that has moved; below, there is nothing to see


@dataclass(frozen=True, eq=False)
class Disagreement:
    """One image, as both networks answer it.

    Attributes:
        name: of the image.
        picture: as the network sees it, ``(height, width)`` or ``(height, width, 3)`` red, green, blue; uint8.
        moved: share of the probability that went to other classes (total variation distance).
        ours, theirs: the class that float and the quantised network name, and its probability.
    """

    name: str
    picture: npt.NDArray[np.uint8]
    moved: float
    ours: tuple[str, float]
    theirs: tuple[str, float]

    @property
    def is_another_class(self) -> bool:
        return self.ours[0] != self.theirs[0]


def largest(
    names: Sequence[str],
    pictures: npt.NDArray[np.uint8],
    spec: InputSpec,
    labels: Sequence[str],
    floats: npt.NDArray[Any],
    quantised: npt.NDArray[Any],
) -> list[Disagreement]:
    """At most ``MOST`` images, those whose probabilities, ``(n, classes)`` each, differ most first."""
    moved = np.abs(floats - quantised).sum(axis=1) / 2
    found = []
    for i in np.argsort(-moved, kind="stable")[:MOST]:
        if moved[i] >= LEAST:
            ours, theirs = ((labels[p[i].argmax()], float(p[i].max())) for p in (floats, quantised))
            picture = pictures[i][..., ::-1] if spec.colour == "bgr" else pictures[i]
            found.append(Disagreement(names[i], picture, float(moved[i]), ours, theirs))
    return found


def draw(found: Sequence[Disagreement], scheme: str) -> bytes:
    """A PNG of at least one image with both answers; another class is told in red.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows = -(-len(found) // COLUMNS)
    figure, panels = blank_figure(9.6, 0.5 + 2.9 * rows, COLUMNS, sharey=False, rows=rows)
    for axes in panels:
        axes.set_axis_off()
    for axes, one in zip(panels, found):
        axes.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
        answers = "\n".join(
            f"{who}: {label[:24]} {share:.0%}" for who, (label, share) in (("float", one.ours), (scheme, one.theirs))
        )
        text = f"{Path(one.name).name[-28:]}\n{answers}"
        colour = VERMILION if one.is_another_class else INK
        axes.set_title(text, fontsize=8, color=colour, loc="left", parse_math=False)
    return png(figure)
