"""The evidence map in numbers: what speaks against "no finding", place by place, and how much of it lies where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def merged(evidence: npt.NDArray[Any], negative: int) -> Array:
    """``(h, w, labels)`` logits by place -> ``(h, w, 2)`` float64: of ``negative``, and of all other labels as one.

    ``logsumexp(others) - log(number of others)``: as if there were one of them.
    """
    evidence = evidence.astype(np.float64)
    others = np.delete(evidence, negative, axis=-1)
    most = others.max(axis=-1)
    one = most + np.log(np.exp(others - most[..., None]).mean(axis=-1))
    return np.stack([evidence[..., negative], one], axis=-1)


def against(evidence: npt.NDArray[Any], negative: int, offset: float = 0.0) -> Array:
    """``(h, w, labels)`` logits by place -> ``(h, w)`` float64, the local probability of "not negative".

    All other labels together stand against ``negative``, the index of the label that means no finding:
    ``sigmoid(others - negative + offset)``.
    """
    both = merged(evidence, negative)
    # The sigmoid, in a form that does not overflow.
    return np.asarray(0.5 + 0.5 * np.tanh((both[..., 1] - both[..., 0] + offset) / 2))


def cover(cells: int, edges: Sequence[float]) -> Array:
    """How much of each of ``cells`` equal cells side by side lies between one edge and the next.

    Args:
        edges: ``n + 1`` rising positions, 0 to 1 over all cells.

    Returns:
        ``(n, cells)`` float64, 0 to 1.
    """
    walls, limits = np.arange(cells + 1) / cells, np.asarray(edges, np.float64)[:, None]
    overlap = np.minimum(walls[1:], limits[1:]) - np.maximum(walls[:-1], limits[:-1])
    return np.asarray(np.maximum(overlap, 0) * cells)
