"""The evidence map in numbers: the local evidence against "no finding", and its overlap with regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def merge_others(evidence: npt.NDArray[Any], negative: int) -> Array:
    """``(h, w, labels)`` logits by place -> ``(h, w, 2)`` float64: of ``negative``, and of all other labels as one.

    The others count as one label: ``logsumexp(others) - log(number of others)``.
    """
    evidence = evidence.astype(np.float64)
    others = np.delete(evidence, negative, axis=-1)
    peak = others.max(axis=-1)
    other = peak + np.log(np.exp(others - peak[..., None]).mean(axis=-1))
    return np.stack([evidence[..., negative], other], axis=-1)


def local_probabilities(evidence: npt.NDArray[Any], negative: int, offset: float = 0.0) -> Array:
    """``(h, w, labels)`` logits by place -> ``(h, w)`` float64, the local probability of "not negative".

    All other labels together are compared with ``negative``, the index of the label that means no finding:
    ``sigmoid(others - negative + offset)``.
    """
    logits = merge_others(evidence, negative)
    # The sigmoid, in a form that does not overflow.
    return np.asarray(0.5 + 0.5 * np.tanh((logits[..., 1] - logits[..., 0] + offset) / 2))


def overlaps(count: int, edges: Sequence[float]) -> Array:
    """The share of each of ``count`` equal cells in a row that lies between one edge and the next.

    Args:
        count: number of cells.
        edges: ``n + 1`` rising positions, 0 to 1 over all cells.

    Returns:
        ``(n, cells)`` float64, 0 to 1.
    """
    bounds, limits = np.arange(count + 1) / count, np.asarray(edges, np.float64)[:, None]
    overlap = np.minimum(bounds[1:], limits[1:]) - np.maximum(bounds[:-1], limits[:-1])
    return np.asarray(np.maximum(overlap, 0) * count)
