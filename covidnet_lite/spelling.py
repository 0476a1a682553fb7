"""What was meant by a mistyped word."""

from __future__ import annotations

from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """The known word that is closest to a mistyped one, or ``None`` where none is close."""
    import difflib

    return next(iter(difflib.get_close_matches(word, sorted(set(known)), 1)), None)
