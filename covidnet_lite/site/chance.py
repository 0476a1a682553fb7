"""Exact intervals and tests for few radiographs, with numpy alone."""

from __future__ import annotations

from math import inf, lgamma
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Interval = tuple[float, float]


class Rate(NamedTuple):
    """A share and its 95 % interval."""

    share: float
    low: float
    high: float


def order_statistic_rate(n: int, above: int) -> Rate:
    """The expected share of new radiographs beyond a value that ``above`` of ``n`` exceed, and its 95 % interval.

    Whatever the distribution, that share is distributed as Beta(above + 1, n - above) over draws of the ``n`` (Wilks,
    Annals of Mathematical Statistics 1941; Vovk, ACML 2012).
    """
    return Rate((above + 1) / (n + 1), *beta_interval(above + 1, n - above))


def observed_rate(count: int, n: int) -> Rate:
    """An observed share and its 95 % interval (Clopper and Pearson, Biometrika 1934)."""
    low = beta_interval(count, n - count + 1)[0] if count else 0.0
    return Rate(count / n, low, beta_interval(count + 1, n - count)[1] if count < n else 1.0)


def beta_interval(a: int, b: int, level: float = 0.95) -> Interval:
    """The middle ``level`` of Beta(a, b), for whole ``a`` and ``b`` of 1 or more."""
    return _beta_quantile(a, b, (1 - level) / 2), _beta_quantile(a, b, (1 + level) / 2)


def _beta_quantile(a: int, b: int, share: float) -> float:
    # A Beta below x is a binomial of a + b - 1 draws of probability x with at least a successes.
    n, successes = a + b - 1, np.arange(a, a + b)
    log_coefficients, low, high = _log_choose(n, successes), 0.0, 1.0
    for _ in range(50):
        x = (low + high) / 2
        below = np.exp(log_coefficients + successes * np.log(x) + (n - successes) * np.log1p(-x)).sum()
        low, high = (x, high) if below < share else (low, x)
    return (low + high) / 2


def _log_choose(n: int, k: Array) -> Array:
    return np.array([lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) if 0 <= i <= n else -inf for i in k.tolist()])


def fisher(a: int, n: int, b: int, m: int) -> float:
    """Two-sided p-value of ``a`` of ``n`` against ``b`` of ``m`` (Fisher's exact test, 1922)."""
    total = np.arange(max(0, a + b - m), min(n, a + b) + 1)
    log = _log_choose(n, total) + _log_choose(m, a + b - total)
    shares = np.exp(log - log.max())
    as_rare = shares <= shares[total == a] * (1 + 1e-7)
    return min(1.0, float(shares[as_rare].sum() / shares.sum()))


def kolmogorov_smirnov(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Two-sided p-value that two samples are of one distribution (Smirnov, 1939); exact, but too large with ties.

    Counts the orders of both samples whose distributions stay nearer to each other, as paths through a lattice
    (Hodges, Arkiv foer Matematik 1958).
    """
    samples = np.asarray(first, float), np.asarray(second, float)
    n, m = (len(sample) for sample in samples)
    if not n or not m:
        return 1.0
    pooled = np.concatenate(samples)
    below = [np.searchsorted(np.sort(sample), pooled, "right") for sample in samples]
    # The distance times n times m: in integers, so that rounding cannot decide.
    distance = int(np.abs(below[0] * m - below[1] * n).max())
    j = np.arange(m + 1)
    paths, scale = (j * n < distance).astype(float), 0.0  # the first row: only the second sample so far
    paths = np.minimum.accumulate(paths)
    for i in range(1, n + 1):
        within = np.abs(i * m - j * n) < distance
        paths = np.cumsum(paths * within) * within
        peak = paths.max()
        if peak <= 0:
            return 1.0
        paths, scale = paths / peak, scale + float(np.log(peak))
    if paths[-1] <= 0:
        return 1.0
    orders = lgamma(n + m + 1) - lgamma(n + 1) - lgamma(m + 1)
    return float(min(1.0, max(0.0, -np.expm1(np.log(paths[-1]) + scale - orders))))
