"""How much of the lungs is opaque: the network's extent against that of radiologists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.judge.figure import Figure, missing, number, rate
from training.judge.reading import Reading

COLUMN, MAX_SCORE = "extent", 8.0  # the manifest's column: geographic extent, 0 to 4 a lung (Cohen et al., Cureus 2020)


def graded(reading: Reading) -> tuple[Reading, npt.NDArray[np.float64]]:
    """The radiographs whose extent radiologists graded, and that extent, 0 to 1."""
    grades = np.array([_number(case.fields.get(COLUMN, "")) for case in reading.cases], float)
    is_graded = ~np.isnan(grades)
    return reading.of(is_graded), grades[is_graded] / MAX_SCORE


def agreement(reading: Reading, extent: npt.NDArray[np.float64]) -> dict[str, Figure]:
    """Rank correlation and error of the network's extent on radiographs that radiologists graded."""
    if reading.extents is None:
        return {"rank correlation": missing("the network gives no evidence map")}
    scaled = reading.manifest.extent is not None
    patients = reading.patients
    return {
        "rank correlation": number(rank_correlation, reading.extents, extent, groups=patients),
        "mean absolute error": number(_error, reading.extents, extent, groups=patients)
        if scaled
        else missing("the network has no scale of the extent"),
        "rank correlation of P(not normal)": number(rank_correlation, reading.ill, extent, groups=patients),
    }


def thirds(reading: Reading, extent: npt.NDArray[np.float64]) -> dict[str, dict[str, Figure]]:
    """How often radiographs are called normal, by how much of the lungs radiologists called opaque: clear, then by
    thirds."""
    rows = {}
    low, high = np.quantile(extent[extent > 0], (1 / 3, 2 / 3)) if (extent > 0).any() else (0.0, 0.0)
    parts = {
        "clear": extent == 0,
        f"extent up to {low:.2f}": (extent > 0) & (extent <= low),
        f"extent up to {high:.2f}": (extent > low) & (extent <= high),
        "extent beyond": extent > max(high, 0),
    }
    for name, selection in parts.items():
        if selection.any():
            part = reading.of(selection)
            positive = part.answer.any(axis=1) & ~part.answer[:, part.negative]
            rows[name] = {
                "called normal": rate(part.called_normal, part.patients),
                "answered, not normal": rate(positive, part.patients),
            }
    return rows


def by_score(reading: Reading, extent: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """The network's extent for each whole score of the radiologists: how many radiographs, median and quartiles."""
    if reading.extents is None:
        return []
    rows = []
    scores = np.rint(extent * MAX_SCORE)
    for score in np.unique(scores):
        extents = reading.extents[scores == score]
        low, middle, high = (float(q) for q in np.quantile(extents, (0.25, 0.5, 0.75)))
        rows.append({"radiologists": float(score / MAX_SCORE), "films": len(extents), "quartiles": [low, middle, high]})
    return rows


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Spearman's; NaN where either does not vary."""
    ranks = [_ranks(values) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if min(np.ptp(r) for r in ranks) > 0 else float("nan")


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], np.float64)


def _error(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(np.abs(a - b).mean())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
