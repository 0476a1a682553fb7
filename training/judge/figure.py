"""One measured figure with its interval, in plain types for JSON: a share, an AUROC, a number, or why there is none.

Every figure is a ``dict`` with ``kind`` and ``value``; all but counts are between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics

Array = npt.NDArray[Any]
Figure = dict[str, Any]

MIN_COUNT = 5  # images, and patients, on either side, below which an AUROC is noise and is not told
DRAWS = 1000  # of an interval


def missing(why: str) -> Figure:
    """In the place of a figure whose material is not there."""
    return {"kind": "missing", "value": None, "why": why}


def share(count: int, total: int) -> Figure:
    """A proportion with its Wilson interval; the value of nothing is ``None``."""
    low, high = metrics.wilson(count, total)
    value = count / total if total else None
    return {"kind": "share", "count": count, "total": total, "value": value, "interval": [low, high]}


def rate(chosen: Array, groups: Array) -> Figure:
    """The share of those chosen, boolean ``(n,)``, with an interval that draws whole groups (patients).

    Where all or none are chosen every draw is the same; then the interval is Wilson's for as many as there are groups.
    """
    count, total = int(chosen.sum()), len(chosen)
    if count in (0, total):
        patients = len(np.unique(groups))
        return {**share(count, total), "interval": share(patients * (count > 0), patients)["interval"]}
    return {**share(count, total), **_mean(chosen, groups)}


def number(statistic: Callable[..., float], *arrays: Array, groups: Array) -> Figure:
    """Any number, with an interval that draws whole groups; ``groups`` has as many entries as each array."""
    if len(groups) < MIN_COUNT:
        return missing(f"only {len(groups)} images")
    if math.isnan(statistic(*arrays)):
        return missing("all images are alike")
    return {"kind": "number", **_bootstrap(statistic, *arrays, groups=groups)}


def count(value: int) -> Figure:
    """A whole number."""
    return {"kind": "count", "value": value}


def auroc(positive: Array, scores: Array, groups: Array, names: tuple[str, str] = ("positive", "negative")) -> Figure:
    """AUROC of scores against a boolean truth, with an interval that draws whole groups (patients).

    ``names`` are those of the two sides, for saying which one is too small.
    """
    if small := _small({names[0]: groups[positive], names[1]: groups[~positive]}):
        return small
    return {
        "kind": "auroc",
        **_areas(positive, scores, np.zeros(len(positive), int), groups),
        "positive": int(positive.sum()),
        "negative": int((~positive).sum()),
    }


def within(positive: Array, scores: Array, strata: Array, groups: Array) -> Figure:
    """AUROC over the pairs of which both are in one stratum, and how many pairs and strata that are.

    ``strata`` are integers ``(n,)``; intervals draw whole groups.
    """
    sides = [positive[strata == stratum] for stratum in np.unique(strata)]
    pairs = [int(side.sum()) * int((~side).sum()) for side in sides]
    if not any(pairs):
        return missing("no two images of either side in one stratum")
    areas = _areas(positive, scores, strata, groups)
    return {"kind": "auroc", **areas, "pairs": sum(pairs), "strata": sum(map(bool, pairs))}


def auroc_difference(positive: Array, scores: Array, others: Array, groups: Array) -> Figure:
    """By how much the AUROC of some scores is above that of others of the same images."""
    one = np.zeros(len(positive), int)
    weights = np.concatenate([np.ones((1, len(groups))), _draws(groups)])
    difference = _weighted_areas(positive, scores, one, weights) - _weighted_areas(positive, others, one, weights)
    return {"kind": "number", "value": float(difference[0]), "interval": _ends(difference[1:])}


def _areas(positive: Array, scores: Array, strata: Array, groups: Array) -> dict[str, Any]:
    weights = np.concatenate([np.ones((1, len(groups))), _draws(groups)])
    areas = _weighted_areas(positive, scores, strata, weights)
    return {"value": float(areas[0]), "interval": _ends(areas[1:])}


def _weighted_areas(positive: Array, scores: Array, strata: Array, weights: Array) -> npt.NDArray[np.float64]:
    """``(draws,)`` AUROCs over the pairs of one stratum, ties counting half; ``weights`` are ``(draws, n)``."""
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        order = members[np.argsort(scores[members], kind="stable")]
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
        above, below = (
            np.add.reduceat(weights[:, order] * side[order], starts, axis=1) for side in (positive, ~positive)
        )
        won += (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
        pairs += above.sum(axis=1) * below.sum(axis=1)
    return np.asarray(np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def macro_auroc(targets: Array, probabilities: Array, groups: Array, names: Sequence[str]) -> Figure:
    """Mean AUROC of each class that is present against the rest, with an interval that draws whole groups.

    ``names`` are those of all classes, for saying which one is too small.
    """
    present = np.unique(targets)
    if len(present) < 2:
        return missing("only one class")
    if small := _small({names[k]: groups[targets == k] for k in present}):
        return small
    return {"kind": "auroc", **_bootstrap(metrics.macro_auroc, targets, probabilities, groups=groups)}


def _small(sides: dict[str, Array]) -> Figure | None:
    """Why there can be no AUROC, where a side (the patient of each of its images) is too small for one."""
    reasons = []
    for name, side in sides.items():
        patients = len(np.unique(side))
        if patients < MIN_COUNT:
            reasons.append(
                f"{len(side)} {name} images" + (f" of {patients} patients" if len(side) >= MIN_COUNT else "")
            )
    return missing(f"only {' and '.join(reasons)}") if reasons else None


def mean(values: Array, groups: Array) -> Figure:
    """Mean of shares over images, with an interval that draws whole groups."""
    return {"kind": "percent", **_mean(values, groups)}


def _mean(values: Array, groups: Array) -> dict[str, Any]:
    weights = _draws(groups)
    return {"value": float(values.mean()), "interval": _ends(weights @ values / weights.sum(axis=1))}


def _draws(groups: Array) -> npt.NDArray[np.float64]:
    """``(draws, n)``: how often each image comes up when whole groups are drawn; all draws at once are a bootstrap."""
    unit = np.unique(groups, return_inverse=True)[1].ravel()
    count = unit.max() + 1
    counts = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    return np.asarray(counts[:, unit], np.float64)


def _ends(values: Array) -> list[float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [float(low), float(high)]


def _bootstrap(statistic: Callable[..., float], *arrays: Array, groups: Array) -> dict[str, Any]:
    """A statistic and its interval; where too few groups leave no other draw, the interval is the value itself."""
    value = statistic(*arrays)
    low, high = metrics.bootstrap(statistic, *arrays, groups=groups) if len(np.unique(groups)) > 1 else (value, value)
    return {"value": value, "interval": [low, high]}


def to_text(figure: Figure, counts: bool = True) -> str:
    """As a person reads it: ``79.2% (74.6%-83.1%), 274/346``; or without the counts."""
    kind, value = figure["kind"], figure["value"]
    if kind == "missing":
        return f"not measured: {figure['why']}" if counts else "-"
    if value is None or math.isnan(value):
        return "not measured: no image"
    if kind == "count":
        return f"{value:,}"
    form = ".1%" if kind in ("share", "percent") else ".3f"
    ends = "" if figure.get("interval") is None else " ({}-{})".format(*(f"{end:{form}}" for end in figure["interval"]))
    text = f"{value:{form}}{ends}"
    if not counts:
        return text
    if "positive" in figure:
        text += f", {figure['positive']} v {figure['negative']}"
    if "pairs" in figure:
        text += f", {figure['pairs']:,} pairs in {figure['strata']}"
    return text + (f", {figure['count']}/{figure['total']}" if kind == "share" else "")
