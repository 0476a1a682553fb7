"""How far a long step is: one line on the terminal, which is gone when the step ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

CLEAR = "\r\033[K"
WIDTH = 24  # of the bar
PATIENCE = 1.0  # seconds in which nothing is shown


def track(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """The same items; where a person looks on, a bar on standard error tells how many of ``total`` are done."""
    is_shown, begin = sys.stderr is not None and sys.stderr.isatty(), time.monotonic()
    try:
        for done, item in enumerate(items):
            if is_shown and time.monotonic() - begin > PATIENCE:
                bar = "#" * (WIDTH * done // max(total, 1))
                print(f"{CLEAR}{label} [{bar:<{WIDTH}}] {done} of {total}", end="", file=sys.stderr, flush=True)
            yield item
    finally:
        if is_shown:
            print(CLEAR, end="", file=sys.stderr, flush=True)
