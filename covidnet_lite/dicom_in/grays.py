"""The stored values of a DICOM film -> the gray levels its header asks for.

PS3.3 has two steps: the Modality LUT (a table, or slope and intercept; C.11.1), then the VOI LUT (a table, or a window;
C.11.2). Both are functions of one stored value, so they are worked out once a level and not once a pixel.
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
FEW = 24  # gray levels: a window or table that leaves the film fewer than that is no help to read it


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table.

    Attributes:
        first: the value that the first entry stands for.
        entries: ``(n,)`` float64.
        bits: of an entry.
    """

    first: int
    entries: Values
    bits: int

    def look_up(self, found: Values) -> Values:
        """Entries for values; what lies beyond the table gets its first or last one."""
        at = np.clip(np.rint(found) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[at])


def table(
    levels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], bits: Bits, header: Elements
) -> npt.NDArray[np.uint8]:
    """``(n,)`` stored values and how often each occurs -> ``(n,)`` gray levels, bright is dense.

    Where the header has a window or a VOI table, black and white are those of the window or the table; else the darkest
    and the brightest of the picture, above 8 bits those of the film itself
    (:func:`covidnet_lite.image_in.to_8_bits.limits`).
    """
    padding = _padding(levels, bits, header)
    seen = (counts > 0) & ~padding
    if not seen.any():
        seen, padding = counts > 0, np.zeros(len(levels), bool)
    modality = _table(header, "ModalityLUTSequence", bits.signed)
    found = modality.look_up(levels.astype(np.float64)) if modality else _rescaled(levels, header)
    gray = _windowed(found, modality, header)
    if gray is not None and np.ptp(np.rint(gray[seen] * 255)) < FEW <= np.ptp(found[seen]):
        header.notes.append(Note(Code.WINDOW_LEFT_ASIDE))
        gray = None
    if gray is None:
        order = np.flatnonzero(seen)[np.argsort(found[seen], kind="stable")]
        deep = bits.stored > 8 or modality  # else a label leaves the film levels enough
        low, high = limits(found[order], counts[order]) if deep else (found[order[0]], found[order[-1]])
        gray = np.clip((found - low) / ((high - low) or 1.0), 0, 1)
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
    """Which stored values stand for no X-ray: what the machine put around a picture that is no rectangle."""
    first = header.whole("PixelPaddingValue")
    if first is None:
        return np.zeros(len(levels), bool)
    last = header.whole("PixelPaddingRangeLimit")
    # A negative value is often written as the unsigned one of the same bits.
    first, last = (bits.value(end) for end in (first, first if last is None else last))
    return (levels >= min(first, last)) & (levels <= max(first, last))


def _rescaled(levels: npt.NDArray[np.int64], header: Elements) -> Values:
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope == 0:
        header.unusable("RescaleSlope")
    return np.asarray(levels * (slope or 1.0) + (intercept or 0.0), np.float64)


def _windowed(found: Values, modality: Table | None, header: Elements) -> Values | None:
    """0 (black) to 1 (white) by the VOI table, or else by the first window that can be used; ``None`` without one."""
    voi = _table(header, "VOILUTSequence", signed=bool(found.min() < 0))
    if voi:
        return np.asarray(voi.look_up(found) / ((1 << voi.bits) - 1), np.float64)
    centres, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    function = header.text("VOILUTFunction")
    for centre, width in zip(centres, widths):
        if centre is not None and width is not None and width > 0:
            return _window(found, centre, width, function)
    if centres or widths:
        header.unusable("WindowCenter")
    return None


def _window(found: Values, centre: float, width: float, function: str) -> Values:
    """PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (found - centre) / width, -500, 500))))
    if function == "LINEAR_EXACT" or width < 1:  # below 1 the default is not defined, and this is what is meant
        return np.clip((found - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (found > centre - 0.5).astype(np.float64)
    return np.clip((found - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _table(header: Elements, keyword: str, signed: bool) -> Table | None:
    """The first look-up table of a sequence, of any depth; ``None`` where there is none that can be used."""
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
            # Some depths are wrong: one too small is told by the entries.
            needed = max(1, int(words.max()).bit_length())
            return Table(first, words.astype(np.float64), max(needed, bits if 0 < bits <= 16 else needed))
    header.unusable(keyword)
    return None


def _words(item: Dataset, data: Dataset) -> npt.NDArray[np.int64] | None:
    """The 16-bit words of a table's data, however they are written."""
    found = values(item, "LUTData")
    if not found:
        return None
    try:
        if isinstance(found[0], (bytes, bytearray)):
            order = "<" if data.original_encoding[1] is not False else ">"
            raw = bytes(found[0])
            return np.frombuffer(raw[: len(raw) // 2 * 2], f"{order}u2").astype(np.int64)
        return np.array([int(value) & 0xFFFF for value in found], np.int64)
    except (TypeError, ValueError):
        return None
