"""The stored values of a DICOM image -> the gray levels that its header defines.

PS3.3 has two steps: the Modality LUT (a table, or slope and intercept; C.11.1), then the VOI LUT (a table, or a window;
C.11.2). Both are functions of one stored value, so they are computed once per level and not once per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..codes import Code, Note
from ..image_in.to_8_bits import limits
from .elements import Elements, values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .pixels import Bits

Values = npt.NDArray[np.float64]
MIN_LEVELS = 24  # gray levels: a window or table that leaves fewer hides the radiograph


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table.

    Attributes:
        first: the value of the first entry.
        entries: ``(n,)`` float64.
        bits: of an entry.
    """

    first: int
    entries: Values
    bits: int

    def look_up(self, values: Values) -> Values:
        """The entries for values; the first or last entry for values outside the table."""
        at = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[at])


def table(
    levels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], bits: Bits, header: Elements
) -> npt.NDArray[np.uint8]:
    """``(n,)`` stored values and how often each occurs -> ``(n,)`` gray levels, bright is dense.

    Where the header has a window or a VOI table, it defines black and white; else these are the darkest and brightest
    value of the image, above 8 bits those of the radiograph itself
    (:func:`covidnet_lite.image_in.to_8_bits.limits`).
    """
    padding = _padding(levels, bits, header)
    occurs = (counts > 0) & ~padding
    if not occurs.any():
        occurs, padding = counts > 0, np.zeros(len(levels), bool)
    modality = _table(header, "ModalityLUTSequence", bits.signed)
    rescaled = modality.look_up(levels.astype(np.float64)) if modality else _rescaled(levels, header)
    gray = _windowed(rescaled, modality, header)
    if gray is not None and np.ptp(np.rint(gray[occurs] * 255)) < MIN_LEVELS <= np.ptp(rescaled[occurs]):
        header.notes.append(Note(Code.WINDOW_LEFT_ASIDE))
        gray = None
    if gray is None:
        order = np.flatnonzero(occurs)[np.argsort(rescaled[occurs], kind="stable")]
        deep = bits.stored > 8 or modality  # with 8 bits, a label leaves enough levels
        low, high = limits(rescaled[order], counts[order]) if deep else (rescaled[order[0]], rescaled[order[-1]])
        gray = np.clip((rescaled - low) / ((high - low) or 1.0), 0, 1)
    if _white_is_low(header):
        gray = 1 - gray
    gray[padding] = 0
    return np.rint(gray * 255).astype(np.uint8)


def _white_is_low(header: Elements) -> bool:
    """By the Presentation LUT Shape (PS3.3, C.11.6.1.2), or else by the photometric interpretation."""
    low = header.text("PhotometricInterpretation") == "MONOCHROME1"
    shape = {"INVERSE": True, "IDENTITY": False}.get(header.text("PresentationLUTShape"), low)
    if shape != low:
        header.notes.append(Note(Code.POLARITY))
    return shape


def _padding(levels: npt.NDArray[np.int64], bits: Bits, header: Elements) -> npt.NDArray[np.bool_]:
    """Which stored values are padding: what the machine put around an image that is not a rectangle."""
    first = header.integer("PixelPaddingValue")
    if first is None:
        return np.zeros(len(levels), bool)
    last = header.integer("PixelPaddingRangeLimit")
    # A negative value is often written as the unsigned number with the same bits.
    first, last = (bits.value(end) for end in (first, first if last is None else last))
    return (levels >= min(first, last)) & (levels <= max(first, last))


def _rescaled(levels: npt.NDArray[np.int64], header: Elements) -> Values:
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope == 0:
        header.unusable("RescaleSlope")
    return np.asarray(levels * (slope or 1.0) + (intercept or 0.0), np.float64)


def _windowed(levels: Values, modality: Table | None, header: Elements) -> Values | None:
    """0 (black) to 1 (white), by the VOI table or else by the first usable window; ``None`` without either."""
    voi = _table(header, "VOILUTSequence", signed=bool(levels.min() < 0))
    if voi:
        return np.asarray(voi.look_up(levels) / ((1 << voi.bits) - 1), np.float64)
    centres, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    function = header.text("VOILUTFunction")
    for centre, width in zip(centres, widths):
        if centre is not None and width is not None and width > 0:
            return _window(levels, centre, width, function)
    if centres or widths:
        header.unusable("WindowCenter")
    return None


def _window(levels: Values, centre: float, width: float, function: str) -> Values:
    """PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (levels - centre) / width, -500, 500))))
    if function == "LINEAR_EXACT" or width < 1:  # below 1 the default is not defined, so this is meant
        return np.clip((levels - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (levels > centre - 0.5).astype(np.float64)
    return np.clip((levels - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _table(header: Elements, keyword: str, signed: bool) -> Table | None:
    """The first look-up table of a sequence, of any depth; ``None`` where none is usable."""
    item = header.item(keyword)
    if item is None:
        return None
    inner = Elements(item)
    descriptor = [None if number is None else int(number) for number in inner.numbers("LUTDescriptor")]
    words = _words(item, header.data)
    if len(descriptor) == 3 and None not in descriptor and words is not None:
        size, first, bits = (number or 0 for number in descriptor)
        size, first = size or 1 << 16, first & 0xFFFF
        first -= 1 << 16 if signed and first >= 1 << 15 else 0
        if len(words) < size <= 2 * len(words):  # two entries a word, the lower byte first
            words = np.stack([words & 0xFF, words >> 8], axis=1).ravel()
        words = words[:size]
        if len(words) == size:
            # Some headers have a wrong depth: if it is too small, the entries show the right one.
            entry_bits = max(1, int(words.max()).bit_length())
            return Table(first, words.astype(np.float64), max(entry_bits, bits if 0 < bits <= 16 else entry_bits))
    header.unusable(keyword)
    return None


def _words(item: Dataset, data: Dataset) -> npt.NDArray[np.int64] | None:
    """The 16-bit words of a table's data, in whichever form they are stored."""
    lut = values(item, "LUTData")
    if not lut:
        return None
    try:
        if isinstance(lut[0], (bytes, bytearray)):
            order = "<" if data.original_encoding[1] is not False else ">"
            raw = bytes(lut[0])
            return np.frombuffer(raw[: len(raw) // 2 * 2], f"{order}u2").astype(np.int64)
        return np.array([int(value) & 0xFFFF for value in lut], np.int64)
    except (TypeError, ValueError):
        return None
