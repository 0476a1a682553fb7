"""Shares in words, with enough digits that two different numbers do not read alike."""

from __future__ import annotations

MOST_DIGITS = 6  # of a percentage, behind the point


def percent(share: float, digits: int = 1) -> str:
    """0.847 -> ``84.7%``; what is not quite nothing or everything is not rounded to it: ``<0.1%``, ``>99.9%``."""
    text, step = f"{share:.{digits}%}", 10.0**-digits
    if share > 0 and float(text[:-1]) == 0:
        return f"<{step:.{digits}f}%"
    if share < 1 and float(text[:-1]) == 100:
        return f">{100 - step:.{digits}f}%"
    return text


def beside(value: float, limit: float) -> tuple[str, str]:
    """A number and the limit it is compared with, in as many digits as tell them apart: 2.504, 2.5 -> ``2.504``,
    ``2.500``."""
    for digits in range(2, MOST_DIGITS + 1):
        told = f"{value:.{digits}f}", f"{limit:.{digits}f}"
        if told[0] != told[1] or value == limit:
            break
    return told


def apart(share: float, *thresholds: float) -> tuple[str, ...]:
    """A share and the thresholds it is compared with, in as many digits as tell it from each: 0.8496, 0.85 ->
    ``84.96%``, ``85.00%``."""
    for digits in range(1, MOST_DIGITS + 1):
        told, *limits = (percent(value, digits) for value in (share, *thresholds))
        if all(limit != told or share == threshold for limit, threshold in zip(limits, thresholds)):
            break
    return told, *limits
