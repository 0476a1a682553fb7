"""How much of the lungs is opaque: the network's extent against that of radiologists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.judge.figure import Figure, drawn, missing, rate
from training.judge.reading import Reading

COLUMN, MOST = "extent", 8.0  # the manifest's column: geographic extent, 0 to 4 a lung (Cohen et al., Cureus 2020)


def graded(reading: Reading) -> tuple[Reading, npt.NDArray[np.float64]]:
    """The films whose extent radiologists graded, and that extent, 0 to 1."""
    given = np.array([_number(case.fields.get(COLUMN, "")) for case in reading.cases], float)
    known = ~np.isnan(given)
    return reading.of(known), given[known] / MOST


def agreement(reading: Reading, extent: npt.NDArray[np.float64]) -> dict[str, Figure]:
    """Rank correlation and error of the network's extent on films that radiologists graded."""
    if reading.extents is None:
        return {"rank correlation": missing("the network gives no evidence map")}
    scaled = reading.manifest.extent is not None
    patients = reading.patients
    return {
        "rank correlation": drawn(rank_correlation, reading.extents, extent, groups=patients),
        "mean absolute error": drawn(_error, reading.extents, extent, groups=patients)
        if scaled
        else missing("the network has no scale of the extent"),
        "rank correlation of P(not normal)": drawn(rank_correlation, reading.ill, extent, groups=patients),
    }


def thirds(reading: Reading, extent: npt.NDArray[np.float64]) -> dict[str, dict[str, Figure]]:
    """How often films are called normal, by how much of the lungs radiologists called opaque: clear, then by thirds."""
    rows = {}
    low, high = np.quantile(extent[extent > 0], (1 / 3, 2 / 3)) if (extent > 0).any() else (0.0, 0.0)
    parts = {
        "clear": extent == 0,
        f"extent up to {low:.2f}": (extent > 0) & (extent <= low),
        f"extent up to {high:.2f}": (extent > low) & (extent <= high),
        "extent beyond": extent > max(high, 0),
    }
    for name, chosen in parts.items():
        if chosen.any():
            part = reading.of(chosen)
            positive = part.named.any(axis=1) & ~part.named[:, part.negative]
            rows[name] = {
                "called normal": rate(part.called_normal, part.patients),
                "answered, not normal": rate(positive, part.patients),
            }
    return rows


def by_score(reading: Reading, extent: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """The network's extent for each whole score of the radiologists: how many films, median and quartiles."""
    if reading.extents is None:
        return []
    rows = []
    scores = np.rint(extent * MOST)
    for score in np.unique(scores):
        found = reading.extents[scores == score]
        low, middle, high = (float(q) for q in np.quantile(found, (0.25, 0.5, 0.75)))
        rows.append({"radiologists": float(score / MOST), "films": len(found), "quartiles": [low, middle, high]})
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
