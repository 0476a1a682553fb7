"""Text in cells of CSV files, which spreadsheets open: none may be taken for a formula (OWASP, CSV injection)."""

from __future__ import annotations

import csv
import math
from typing import IO, Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # how one begins; a spreadsheet drops white space before it
QUOTE = "'"  # what a spreadsheet takes for the beginning of text


def cell(text: str) -> str:
    """Text as it is written into a cell; a number stays one."""
    return QUOTE + text if text.startswith(FORMULA) and not _is_number(text) else text


def writer(out: IO[str]) -> Any:
    """A ``csv.writer`` whose rows end in a line feed, and which also quotes text with a carriage return.

    Python's own, before 3.13, quotes only the characters of its line end: a name with the other would begin a row.
    """
    return csv.writer(_Lines(out), lineterminator="\r\n")


class _Lines:
    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, row: str) -> int:
        return self._out.write(row.removesuffix("\r\n") + "\n")


def text_of(cell: str) -> str:
    """The reverse of :func:`cell`."""
    text = cell.removeprefix(QUOTE)
    return text if cell != text and text.startswith(FORMULA) and not _is_number(text) else cell


def _is_number(text: str) -> bool:
    try:
        return text == text.strip() and math.isfinite(float(text))
    except ValueError:
        return False
