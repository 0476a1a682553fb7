"""The elements of a DICOM header as they are found: empty, of the wrong number of values, or not what they should be.

An optional element that cannot be used is as if it were absent. What was left aside is remembered, to be told beside
the result; nothing of what stands in the header is quoted there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..codes import Code, Note
from ..errors import InputError
from ..image_in.image_file import DAMAGED

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def damaged() -> tuple[type[Exception], ...]:
    """What pydicom raises on files that are damaged or break the standard."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DAMAGED, InvalidDicomError, BytesLengthException)


def values(data: Dataset, keyword: str) -> list[Any] | None:
    """The values of an element, none where it is absent or empty; ``None`` where it cannot be read."""
    try:
        value = data.get(keyword)
    except damaged():
        return None
    if value is None or (isinstance(value, str) and not value.strip(" \0")):
        return []
    if isinstance(value, (list, tuple)) or type(value).__name__ in ("MultiValue", "Sequence"):
        return list(value)
    return [value]


class Elements:
    """A header, asked so that no broken element stands in the way.

    Attributes:
        notes: what was left aside, in words.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.notes: list[Note] = []

    def unusable(self, keyword: str) -> None:
        """Remembers that an element was left aside."""
        note = Note(Code.ELEMENT_LEFT_ASIDE, f"{keyword} in its header cannot be used and is left aside")
        if note not in self.notes:
            self.notes.append(note)

    def numbers(self, keyword: str) -> list[float | None]:
        """All values as numbers, ``None`` for each that is none."""
        found = values(self.data, keyword)
        if found is None:
            self.unusable(keyword)
            return []
        return [_number(value) for value in found]

    def number(self, keyword: str) -> float | None:
        """The one value; ``None`` where there is none, or more than one, or it is not finite."""
        found = self.numbers(keyword)
        if len(found) == 1 and found[0] is not None:
            return found[0]
        if found:
            self.unusable(keyword)
        return None

    def whole(self, keyword: str) -> int | None:
        """The one value as a whole number, under the same conditions."""
        found = self.number(keyword)
        return None if found is None else int(found)

    def needed(self, keyword: str, name: str) -> int:
        """The one value of an element without which no picture can be made.

        Raises:
            InputError: there is none.
        """
        found = self.whole(keyword)
        if found is None:
            raise InputError(
                f"{name}: cannot be read as DICOM (its header has no usable {keyword}); export it again",
                Code.INCOMPLETE_HEADER,
            )
        return found

    def text(self, keyword: str) -> str:
        """The first value, in capitals and without needless blanks."""
        return text(self.data, keyword)

    def item(self, keyword: str) -> Dataset | None:
        """The first item of a sequence."""
        found = values(self.data, keyword)
        if found is None or (found and not hasattr(found[0], "get")):
            self.unusable(keyword)
            return None
        return found[0] if found else None


def text(data: Dataset, keyword: str) -> str:
    """An element as text in capitals; of several values the first that says something."""
    return next((" ".join(str(v).upper().split()) for v in values(data, keyword) or () if str(v).strip(" \0")), "")


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
