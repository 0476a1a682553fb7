"""Shares and numbers as text, with enough digits that two different ones do not look equal."""

from __future__ import annotations

MAX_DIGITS = 6  # of a percentage, behind the point


def percent(share: float, digits: int = 1) -> str:
    """0.847 -> ``84.7%``; a share that is not exactly 0 or 1 is not rounded to it: ``<0.1%``, ``>99.9%``."""
    text, step = f"{share:.{digits}%}", 10.0**-digits
    if share > 0 and float(text[:-1]) == 0:
        return f"<{step:.{digits}f}%"
    if share < 1 and float(text[:-1]) == 100:
        return f">{100 - step:.{digits}f}%"
    return text


def distinct_numbers(value: float, limit: float) -> tuple[str, str]:
    """A number and the limit it is compared with, in enough digits to differ: 2.504, 2.5 -> ``2.504``, ``2.500``."""
    for digits in range(2, MAX_DIGITS + 1):
        texts = f"{value:.{digits}f}", f"{limit:.{digits}f}"
        if texts[0] != texts[1] or value == limit:
            break
    return texts


def distinct_percents(share: float, *thresholds: float) -> tuple[str, ...]:
    """A share and the thresholds it is compared with, in enough digits to differ: 0.8496, 0.85 -> ``84.96%``,
    ``85.00%``."""
    for digits in range(1, MAX_DIGITS + 1):
        text, *limits = (percent(value, digits) for value in (share, *thresholds))
        if all(limit != text or share == threshold for limit, threshold in zip(limits, thresholds)):
            break
    return text, *limits
