"""Reads the elements of real DICOM headers: empty ones, ones with the wrong number of values, or with wrong values.

An optional element that cannot be used counts as absent. A note beside the result reports that it was ignored, and
quotes nothing from the header.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..codes import Code, Note
from ..errors import InputError
from ..image_in.image_file import DECODING_ERRORS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def dicom_errors() -> tuple[type[Exception], ...]:
    """What pydicom raises on files that are damaged or break the standard."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DECODING_ERRORS, InvalidDicomError, BytesLengthException)


def values(data: Dataset, keyword: str) -> list[Any] | None:
    """The values of an element, ``[]`` where it is absent or empty; ``None`` where it cannot be read."""
    try:
        value = data.get(keyword)
    except dicom_errors():
        return None
    if value is None or (isinstance(value, str) and not value.strip(" \0")):
        return []
    if isinstance(value, (list, tuple)) or type(value).__name__ in ("MultiValue", "Sequence"):
        return list(value)
    return [value]


class Elements:
    """A header in which broken elements are ignored.

    Attributes:
        notes: what was ignored, in words.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.notes: list[Note] = []

    def unusable(self, keyword: str) -> None:
        """Notes that an element is ignored."""
        note = Note(Code.ELEMENT_LEFT_ASIDE, f"{keyword} in its header cannot be used and is ignored")
        if note not in self.notes:
            self.notes.append(note)

    def numbers(self, keyword: str) -> list[float | None]:
        """All values as numbers, ``None`` for each that is not a number."""
        raw = values(self.data, keyword)
        if raw is None:
            self.unusable(keyword)
            return []
        return [_number(value) for value in raw]

    def number(self, keyword: str) -> float | None:
        """The only value; ``None`` where there is none, or more than one, or it is not finite."""
        numbers = self.numbers(keyword)
        if len(numbers) == 1 and numbers[0] is not None:
            return numbers[0]
        if numbers:
            self.unusable(keyword)
        return None

    def integer(self, keyword: str) -> int | None:
        """The only value as an integer, under the same conditions."""
        value = self.number(keyword)
        return None if value is None else int(value)

    def required(self, keyword: str, name: str) -> int:
        """The only value of an element without which the image cannot be read.

        Raises:
            InputError: the element has no usable value.
        """
        value = self.integer(keyword)
        if value is None:
            raise InputError(
                f"{name}: cannot be read as DICOM (its header has no usable {keyword}); export it again",
                Code.INCOMPLETE_HEADER,
            )
        return value

    def text(self, keyword: str) -> str:
        """The first value, in capitals and without needless blanks."""
        return text(self.data, keyword)

    def item(self, keyword: str) -> Dataset | None:
        """The first item of a sequence."""
        items = values(self.data, keyword)
        if items is None or (items and not hasattr(items[0], "get")):
            self.unusable(keyword)
            return None
        return items[0] if items else None


def text(data: Dataset, keyword: str) -> str:
    """An element as text in capitals; of several values the first that is not blank."""
    return next((" ".join(str(v).upper().split()) for v in values(data, keyword) or () if str(v).strip(" \0")), "")


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
