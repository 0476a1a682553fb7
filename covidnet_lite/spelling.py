"""Suggestions for mistyped words."""

from __future__ import annotations

from collections.abc import Iterable


def suggestion(word: str, words: Iterable[str]) -> str | None:
    """The known word that is closest to a mistyped one, or ``None`` where none is close."""
    import difflib

    return next(iter(difflib.get_close_matches(word, sorted(set(words)), 1)), None)
