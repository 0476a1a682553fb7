"""What quantisation cost: the float network and a quantised one, answer by answer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics
from covidnet_lite.errors import DatasetError
from covidnet_lite.network.interpreter import Interpreter

Array = npt.NDArray[Any]

NEAR = 0.1  # of probability between the two best classes


@dataclass(frozen=True)
class Agreement:
    """Float against quantised on images that neither was calibrated on.

    Attributes:
        images: how many.
        top1: share with the same class.
        drift: mean change of the float network's confidence.
        labelled: how many of the images have a label of the network's; the rest of the figures are about these.
        float_correct, correct: how many each classifies rightly.
        float_only, only: how many one classifies rightly and the other does not.
        differing: names of the images that they disagree on.
        near: how many are near ties to float, which any rounding may turn; see :func:`near_ties`.
        near_differing: how many of those they disagree on.
    """

    images: int
    top1: float
    drift: float
    labelled: int
    float_correct: int
    correct: int
    float_only: int
    only: int
    differing: tuple[str, ...]
    near: int = 0
    near_differing: int = 0

    @property
    def clear(self) -> float:
        """Top-1 agreement on the images that are no near ties; 1 where all are."""
        return 1 - (len(self.differing) - self.near_differing) / max(self.images - self.near, 1)

    @property
    def mcnemar(self) -> float:
        """Two-sided exact p that both are right equally often (McNemar, Psychometrika 1947)."""
        n, k = self.float_only + self.only, min(self.float_only, self.only)
        return float(min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n))


def near_ties(probabilities: Array) -> npt.NDArray[np.bool_]:
    """``(n, classes)`` -> ``(n,)``: whether the two best classes lie within ``NEAR`` of each other."""
    best = np.sort(probabilities, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0] < NEAR)


def compare(names: Sequence[str], targets: Array, floats: Array, quantised: Array) -> Agreement:
    """Compares probabilities, ``(n, classes)`` each, as the device would tell them.

    Args:
        names: of the images.
        targets: class indices ``(n,)``, -1 where the label is not known.
        floats, quantised: probabilities.

    Raises:
        DatasetError: there is no image.
    """
    if not len(names):
        raise DatasetError("there is no image to judge on; check --data")
    top_f, top_q, near = floats.argmax(1), quantised.argmax(1), near_ties(floats)
    rows = np.arange(len(names))
    labelled = targets >= 0
    right_f, right_q = (top_f == targets) & labelled, (top_q == targets) & labelled
    return Agreement(
        images=len(names),
        top1=float((top_f == top_q).mean()),
        drift=float(np.abs(floats[rows, top_f] - quantised[rows, top_f]).mean()),
        labelled=int(labelled.sum()),
        float_correct=int(right_f.sum()),
        correct=int(right_q.sum()),
        float_only=int((right_f & ~right_q).sum()),
        only=int((right_q & ~right_f).sum()),
        differing=tuple(name for name, agrees in zip(names, top_f == top_q) if not agrees),
        near=int(near.sum()),
        near_differing=int((near & (top_f != top_q)).sum()),
    )


def accuracy(correct: int, total: int) -> str:
    """A share and its 95 % interval, as ``79.2% (74.6%-83.1%)``."""
    if not total:
        return "not measured"
    low, high = metrics.wilson(correct, total)
    return f"{correct / total:.1%} ({low:.1%}-{high:.1%})"


def latencies(interpreters: Sequence[Interpreter], rounds: int = 60) -> list[float]:
    """Median milliseconds of one inference of each, taken in turn, so that whatever else the machine does hits all."""
    inputs = [np.zeros(i.input_shape, i.input_dtype) for i in interpreters]
    times: list[list[float]] = [[] for _ in interpreters]
    begin = time.perf_counter()
    for turn in range(rounds):
        if turn > 10 and time.perf_counter() - begin > 20:  # a slow network needs no more to be told from another
            break
        for interpreter, values, milliseconds in zip(interpreters, inputs, times):
            start = time.perf_counter()
            interpreter.run(values)
            if turn >= 5:  # the first ones warm up
                milliseconds.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(milliseconds)) for milliseconds in times]
