"""One measured figure with its interval, in plain types for JSON: a share, an AUROC, a number, or why there is none.

Every figure is a ``dict`` with ``kind`` and ``value``; all but counts are between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite import metrics

Array = npt.NDArray[Any]
Figure = dict[str, Any]

LEAST = 5  # images, and patients, on either side, below which an AUROC is noise and is not told


def missing(why: str) -> Figure:
    """In the place of a figure whose material is not there."""
    return {"kind": "missing", "value": None, "why": why}


def share(count: int, total: int) -> Figure:
    """A proportion with its Wilson interval; the value of nothing is ``None``."""
    low, high = metrics.wilson(count, total)
    value = count / total if total else None
    return {"kind": "share", "count": count, "total": total, "value": value, "interval": [low, high]}


def share_of(chosen: Array, among: Array | None = None) -> Figure:
    """The share of those chosen, of all or of some: boolean ``(n,)``."""
    among = np.ones(len(chosen), bool) if among is None else among
    return share(int((chosen & among).sum()), int(among.sum()))


def percent(value: float, interval: metrics.Interval | None = None) -> Figure:
    """A share that is no count of images."""
    return {"kind": "percent", "value": value, "interval": list(interval) if interval else None}


def number(value: float) -> Figure:
    """Anything else, without an interval."""
    return {"kind": "number", "value": value}


def count(value: int) -> Figure:
    """A whole number."""
    return {"kind": "count", "value": value}


def auroc(positive: Array, scores: Array, groups: Array, names: tuple[str, str] = ("positive", "negative")) -> Figure:
    """AUROC of scores against a boolean truth, with an interval that draws whole groups (patients).

    ``names`` are those of the two sides, for saying which one is too small.
    """
    if small := _small({names[0]: groups[positive], names[1]: groups[~positive]}):
        return small
    found = _drawn(metrics.auroc, positive, scores, groups=groups)
    return {"kind": "auroc", **found, "positive": int(positive.sum()), "negative": int((~positive).sum())}


def macro_auroc(targets: Array, probabilities: Array, groups: Array, names: Sequence[str]) -> Figure:
    """Mean AUROC of each class that is present against the rest, with an interval that draws whole groups.

    ``names`` are those of all classes, for saying which one is too small.
    """
    present = np.unique(targets)
    if len(present) < 2:
        return missing("only one class")
    if small := _small({names[k]: groups[targets == k] for k in present}):
        return small
    return {"kind": "auroc", **_drawn(metrics.macro_auroc, targets, probabilities, groups=groups)}


def _small(sides: dict[str, Array]) -> Figure | None:
    """Why there can be no AUROC, where a side (the patient of each of its images) is too small for one."""
    few = []
    for name, side in sides.items():
        patients = len(np.unique(side))
        if patients < LEAST:
            few.append(f"{len(side)} {name} images" + (f" of {patients} patients" if len(side) >= LEAST else ""))
    return missing(f"only {' and '.join(few)}") if few else None


def mean(values: Array, groups: Array) -> Figure:
    """Mean of shares over images, with an interval that draws whole groups."""
    found = _drawn(lambda v: float(v.mean()), values, groups=groups)
    return percent(found["value"], (found["interval"][0], found["interval"][1]))


def _drawn(statistic: Callable[..., float], *arrays: Array, groups: Array) -> dict[str, Any]:
    """A statistic and its interval; where too few groups leave no other draw, the interval is the value itself."""
    value = statistic(*arrays)
    low, high = metrics.bootstrap(statistic, *arrays, groups=groups) if len(np.unique(groups)) > 1 else (value, value)
    return {"value": value, "interval": [low, high]}


def told(figure: Figure) -> str:
    """As a person reads it: ``79.2% (74.6%-83.1%), 274/346``."""
    kind, value = figure["kind"], figure["value"]
    if kind == "missing":
        return f"not measured: {figure['why']}"
    if value is None or math.isnan(value):
        return "not measured: no image"
    if kind == "count":
        return f"{value}"
    if kind == "number":
        return f"{value:.3f}"
    form = ".3f" if kind == "auroc" else ".1%"
    ends = "" if figure["interval"] is None else " ({}-{})".format(*(f"{end:{form}}" for end in figure["interval"]))
    sides = f", {figure['positive']} v {figure['negative']}" if "positive" in figure else ""
    counts = f", {figure['count']}/{figure['total']}" if kind == "share" else ""
    return f"{value:{form}}{ends}{sides}{counts}"
