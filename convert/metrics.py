"""How good a classifier is, with intervals; numpy only.

``targets`` are class indices ``(n,)``, ``probabilities`` are ``(n, classes)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite.prediction import softmax

Array = npt.NDArray[Any]
Interval = tuple[float, float]

NEIGHBOURS = 10  # images on either side that are about as sure as one
SMALLEST_CHANGE = 5e-4  # of probability, that matters


def confusion(targets: Array, predicted: Array, classes: int) -> npt.NDArray[np.int64]:
    """``(classes, classes)`` counts, truth by row."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (targets, predicted), 1)
    return matrix


def wilson(successes: int, total: int, z: float = 1.96) -> Interval:
    """95 % interval of a proportion (Wilson, JASA 1927); ``(0, 1)`` where there is nothing to count."""
    if total == 0:
        return 0.0, 1.0
    p = successes / total
    centre = p + z * z / (2 * total)
    half = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale))


def expected_disagreement(logits: Array, others: Array) -> float:
    """Share of images whose class other logits change, estimated with less noise than by counting them.

    The margin of each image, by which its class leads in ``logits``, is compared with the errors of the margins of the
    images that are about as sure, not with its own error alone. A tie counts half.

    Args:
        logits, others: ``(n, classes)``.
    """
    margins, changed = _margins(logits, logits.argmax(axis=1)), _margins(others, logits.argmax(axis=1))
    order = np.argsort(margins, kind="stable")
    margins, errors = margins[order], (changed - margins)[order]
    shares = []
    for at, margin in enumerate(margins):
        left = margin + errors[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]
        shares.append((left < 0).mean() + (left == 0).mean() / 2)
    return float(np.mean(shares))


def probability_moved(shares: Array, others: Array) -> npt.NDArray[np.float64]:
    """``(n,)``: the share of its probability that each image moves (total variation), of ``(n, classes)`` each."""
    return np.asarray(np.abs(shares - others).sum(axis=1) / 2)


def typical_change(logits: Array, others: Array) -> float:
    """The share of its probability that other logits move, of the typical image: the geometric mean over all.

    A few extreme images, whose probabilities may move by any amount, would decide a plain mean.

    Args:
        logits, others: ``(n, classes)``.
    """
    moved = probability_moved(softmax(logits), softmax(others))
    return float(SMALLEST_CHANGE * np.expm1(np.log1p(moved / SMALLEST_CHANGE).mean()))


def lead_moved(logits: Array, others: Array) -> float:
    """By how much other logits move the lead of an image's class, of images near a tie, as a share of the usual lead.

    A class changes where its lead moves by more than the lead, so that how many change depends on how far the leads
    near a tie move. That varies less than a count: every image near a tie says something, not only the few that change.

    An image weighs ``exp(-lead / median lead)``; the mean is that of square roots, which a few images decide less.

    Args:
        logits, others: ``(n, classes)``.
    """
    leads, changed = _margins(logits, logits.argmax(axis=1)), _margins(others, logits.argmax(axis=1))
    usual = max(float(np.median(leads)), 1e-9)
    moved = np.sqrt(np.abs(changed - leads) / usual)
    return float(np.average(moved, weights=np.exp(-leads / usual)) ** 2)


def _margins(logits: Array, classes: Array) -> npt.NDArray[np.float64]:
    """By how much a class of each image leads all others; below 0 where it does not."""
    rest = np.array(logits, np.float64)
    rows = np.arange(len(rest))
    own = rest[rows, classes]
    rest[rows, classes] = -np.inf
    return np.asarray(own - rest.max(axis=1))


def auroc(positive: Array, scores: Array) -> float:
    """Area under the ROC curve of scores against a boolean truth; ties count half, NaN with one class only."""
    positive = np.asarray(positive, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    # Mann-Whitney: mean rank of the positives, ties sharing theirs.
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def macro_auroc(targets: Array, probabilities: Array) -> float:
    """Mean of the one-against-rest AUROC of each class that is present; NaN with one class only."""
    areas = np.array([auroc(targets == k, probabilities[:, k]) for k in range(probabilities.shape[1])])
    present = areas[~np.isnan(areas)]
    return float(present.mean()) if len(present) else float("nan")


def expected_calibration_error(targets: Array, probabilities: Array, bins: int = 10) -> float:
    """Gap between confidence and accuracy over equal-width bins of confidence (Guo et al., ICML 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[index == b].sum() - correct[index == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(targets))


def bootstrap(
    statistic: Callable[..., float], *arrays: Array, groups: Array | None = None, draws: int = 1000, seed: int = 0
) -> Interval:
    """95 % percentile interval of ``statistic(*arrays)``, drawing whole groups (patients) where given."""
    rng = np.random.default_rng(seed)
    units = np.arange(len(arrays[0])) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    order = np.argsort(units, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(units))[:-1])
    values = []
    for _ in range(draws):
        chosen = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        values.append(statistic(*(a[chosen] for a in arrays)))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def fit_temperature(targets: Array, logits: Array) -> float:
    """The temperature with the least cross-entropy (Guo et al., ICML 2017), by golden-section search."""

    def loss(log_t: float) -> float:
        probabilities = softmax(logits, float(np.exp(log_t)))
        return float(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-12)).mean())

    low, high, golden = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))


def abstention_threshold(targets: Array, probabilities: Array, target_error: float) -> float:
    """The lowest confidence at which answers, taken together, err at most ``target_error``; above 1 when none does."""
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != targets
    order = np.argsort(-confidence, kind="stable")
    error = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(error <= target_error)
    # Ties share a confidence, so a threshold includes all of them.
    good = good[[k + 1 == len(order) or confidence[order[k + 1]] < confidence[order[k]] for k in good]]
    return float(confidence[order[good[-1]]]) if len(good) else 1.01
