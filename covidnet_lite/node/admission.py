"""Which radiographs are classified, by what their headers and their senders say: pure functions of the settings."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..dicom_in import examination
from ..dicom_in.elements import text
from .settings import Rule

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def admits(rules: Iterable[Rule], header: Dataset, calling: str) -> bool:
    """Whether one of the rules admits a radiograph, or there are none.

    Args:
        rules: each admits what meets all of its lists; an empty list asks for nothing.
        header: of the radiograph.
        calling: the AE title of its sender.
    """
    rules = tuple(rules)
    if not rules:
        return True
    examined = examination.read(header)
    canonical = examined.public()
    station, title = {text(header, "StationName")}, {calling.strip().upper()}
    body_part = {examined.body_part, canonical.get("body_part", examined.body_part)}
    view = {examined.view, canonical.get("view", examined.view)}
    return any(
        _fits(rule.stations, station)
        and _fits(rule.ae_titles, title)
        and _fits(rule.body_parts, body_part)
        and _fits(rule.views, view)
        for rule in rules
    )


def _fits(patterns: tuple[str, ...], words: set[str]) -> bool:
    """Whether a pattern fits one of the words, which are in capitals; ``""`` is what the header does not say."""
    return not patterns or any(fnmatchcase(word, pattern.strip().upper()) for pattern in patterns for word in words)
