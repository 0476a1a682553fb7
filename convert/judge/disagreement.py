"""The images on which a quantised network differs most from float, and a plot of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.judge.plots import INK, VERMILION, blank_figure, png
from convert.metrics import probability_moved
from covidnet_lite.network.input_spec import InputSpec

NAME = "disagreements.png"
MAX_IMAGES, COLUMNS = 8, 4  # in the plot, and how many in a row
MIN_MOVED = 0.02  # of probability that has moved; below, there is nothing to see


@dataclass(frozen=True, eq=False)
class Disagreement:
    """One image, as both networks answer it.

    Attributes:
        name: of the image.
        image: as the network sees it, ``(height, width)`` or ``(height, width, 3)`` red, green, blue; uint8.
        moved: share of the probability that went to other classes (total variation distance).
        float_answer, quantised_answer: the class that float and the quantised network name, and its probability.
    """

    name: str
    image: npt.NDArray[np.uint8]
    moved: float
    float_answer: tuple[str, float]
    quantised_answer: tuple[str, float]

    @property
    def is_another_class(self) -> bool:
        return self.float_answer[0] != self.quantised_answer[0]


def largest(
    names: Sequence[str],
    images: npt.NDArray[np.uint8],
    spec: InputSpec,
    labels: Sequence[str],
    floats: npt.NDArray[Any],
    quantised: npt.NDArray[Any],
) -> list[Disagreement]:
    """At most ``MAX_IMAGES`` images, those whose probabilities, ``(n, classes)`` each, differ most first."""
    moved = probability_moved(floats, quantised)
    disagreements = []
    for i in np.argsort(-moved, kind="stable")[:MAX_IMAGES]:
        if moved[i] >= MIN_MOVED:
            float_answer, quantised_answer = ((labels[p[i].argmax()], float(p[i].max())) for p in (floats, quantised))
            image = images[i][..., ::-1] if spec.colour == "bgr" else images[i]
            disagreements.append(Disagreement(names[i], image, float(moved[i]), float_answer, quantised_answer))
    return disagreements


def draw(disagreements: Sequence[Disagreement], scheme: str) -> bytes:
    """A PNG of at least one image with both answers; another class is shown in red.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows = -(-len(disagreements) // COLUMNS)
    figure, panels = blank_figure(9.6, 0.5 + 2.9 * rows, COLUMNS, sharey=False, rows=rows)
    for axes in panels:
        axes.set_axis_off()
    for axes, disagreement in zip(panels, disagreements):
        axes.imshow(disagreement.image, cmap="gray", vmin=0, vmax=255)
        answers = "\n".join(
            f"{network}: {label[:24]} {share:.0%}"
            for network, (label, share) in (
                ("float", disagreement.float_answer),
                (scheme, disagreement.quantised_answer),
            )
        )
        text = f"{Path(disagreement.name).name[-28:]}\n{answers}"
        colour = VERMILION if disagreement.is_another_class else INK
        axes.set_title(text, fontsize=8, color=colour, loc="left", parse_math=False)
    return png(figure)
