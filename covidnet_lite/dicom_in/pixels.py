"""The stored values of a DICOM image, reduced as they are read.

A radiograph of 15 million pixels takes 30 MB, and a decoder makes copies of that. An uncompressed one is read and
averaged a few lines at a time, so that it is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import resource_limits
from ..codes import Code
from ..errors import InputError, MissingExtraError
from ..image_in import costs, jpeg
from ..image_in.reduction import Size, averages, reduce, reduction
from .elements import Elements

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Values = npt.NDArray[Any]
PIXEL_GROUP = 0x7FE0
MISPLACED_ELEMENTS = "elements that belong before its pixels stand after them"
CHUNK = 2**18  # bytes of lines read together: they fit into a processor's cache


@dataclass(frozen=True)
class Bits:
    """The position of a stored value in an allocated word (PS3.5, section 8.1.1).

    Attributes:
        allocated: bits of a word, 8 or 16.
        stored: bits of the value.
        high: position of the value's highest bit, from 0.
        signed: whether the value is two's complement.
    """

    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest value."""
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.signed else (0, (1 << self.stored) - 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The number type of a word, little endian."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    def value(self, word: int) -> int:
        """A number in the header, signed or not, as the stored value with the same bits."""
        low, high = self.range
        if low <= word <= high:
            return word
        word &= (1 << self.stored) - 1
        return word - (1 << self.stored) if self.signed and word >> self.stored - 1 else word

    def extract(self, words: Values) -> None:
        """Replaces words (integers of ``dtype``'s size) by their values, in place; drops the other bits."""
        above, unused = words.dtype.itemsize * 8 - 1 - self.high, words.dtype.itemsize * 8 - self.stored
        if above:  # shifting back extends the sign
            np.left_shift(words, above, out=words)
        if unused:
            np.right_shift(words, unused, out=words)


def bits(header: Elements, name: str) -> Bits:
    """The position of stored values, according to the header.

    Raises:
        InputError: the header does not say or contradicts itself, or the number of bits is not supported.
    """
    allocated, stored = header.required("BitsAllocated", name), header.required("BitsStored", name)
    if not 8 <= stored <= allocated or allocated not in (8, 16):
        raise InputError(
            f"{name}: stores {stored} of {allocated} allocated bits a pixel; 8 to 16 bits stored in 8 or 16 are "
            "supported; export it again",
            Code.UNKNOWN_PIXELS,
        )
    signed, high = header.required("PixelRepresentation", name), header.integer("HighBit")
    if signed not in (0, 1):
        raise InputError(
            f"{name}: cannot be read as DICOM (its Pixel Representation is neither 0 nor 1); export it again",
            Code.UNKNOWN_PIXELS,
        )
    if high is None:
        high = stored - 1
    if not stored - 1 <= high < allocated:
        raise InputError(
            f"{name}: its header contradicts itself: with {stored} of {allocated} bits stored, HighBit cannot be "
            f"{high}; export it again",
            Code.CONTRADICTION,
        )
    return Bits(allocated, stored, high, bool(signed))


def read(file: IO[bytes], header: Dataset, name: str, sizes: Sequence[Size | None]) -> list[Values]:
    """The stored values of the one image in a file, whose position is at the beginning of the pixels.

    Args:
        file: the DICOM file.
        header: the elements before the pixels.
        name: for messages.
        sizes: ``(width, height)`` each, below which gray values are not reduced; ``None`` for no reduction.

    Returns:
        For each of the sizes ``(height, width)``, reduced by a power of two; or ``(height, width, 3)``, not reduced.

    Raises:
        InputError: the header does not say where in the words the stored values are.
        MissingExtraError: a decoder is not installed.
        OSError, ValueError, ...: what pydicom raises on damaged files.
    """
    start, elements = file.tell(), Elements(header)
    layout = bits(elements, name)
    if _seek_lines(file, header, layout):
        return _read_lines(file, header, layout, sizes, name)
    import pydicom

    file.seek(0)
    data = pydicom.dcmread(resource_limits.bounded(file, resource_limits.ELEMENTS))
    preceding = [data.get_item(tag) for tag in data.keys() if 0 < tag.group < PIXEL_GROUP]
    if any(getattr(e, "value_tell", getattr(e, "file_tell", 0)) > start for e in preceding):
        raise ValueError(MISPLACED_ELEMENTS)
    _complete_header(data, elements, layout)
    values = _decode(data, layout, name, [reduction((int(data.Columns), int(data.Rows)), size) for size in sizes])
    return [reduce(values, size) if values.shape == (data.Rows, data.Columns) else values for size in sizes]


def _complete_header(data: Dataset, header: Elements, layout: Bits) -> None:
    """Fills in the elements that pydicom's decoders require."""
    data.NumberOfFrames, data.HighBit = 1, layout.high
    data.SamplesPerPixel = samples(header)
    data.PhotometricInterpretation = header.text("PhotometricInterpretation")
    if data.SamplesPerPixel > 1:
        data.PlanarConfiguration = header.integer("PlanarConfiguration") or 0


def samples(header: Elements) -> int:
    """The number of values per pixel: 1 where the header does not say."""
    return header.integer("SamplesPerPixel") or 1


def _seek_lines(file: IO[bytes], header: Dataset, layout: Bits) -> bool:
    """Whether pixels are uncompressed, one sample each, little endian and complete; moves the file to the first if so.

    Raises:
        ValueError: elements follow the pixels that belong before them.
    """
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax = header.file_meta.TransferSyntaxUID
    single_sample = (header.get("SamplesPerPixel") or 1) == 1 and layout.allocated in (8, 16)
    if not (syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian) and single_sample):
        return False
    implicit = syntax == ImplicitVRLittleEndian
    element = file.read(8 if implicit else 12)  # tag, VR or none, length
    start, length = file.tell(), int.from_bytes(element[-4:], "little")
    vr_fits = (element[4:8] in (b"OB\0\0", b"OW\0\0")) != implicit  # some programs do not follow their syntax
    size = int(header.Rows) * int(header.Columns) * layout.allocated // 8
    if not vr_fits or size < 1 or length - size not in (0, 1) or file.seek(0, os.SEEK_END) < start + size:
        return False
    file.seek(start + length)
    if 0 < int.from_bytes(file.read(2), "little") < PIXEL_GROUP:
        raise ValueError(MISPLACED_ELEMENTS)
    file.seek(start)
    return True


def _read_lines(file: Any, header: Dataset, layout: Bits, sizes: Sequence[Size | None], name: str) -> list[Values]:
    rows, columns, dtype = int(header.Rows), int(header.Columns), layout.dtype
    factors = [reduction((columns, rows), size) for size in sizes]
    costs.check_lines(header, factors, name)
    arrays = [np.empty((rows // factor, columns // factor), dtype) for factor in factors]
    largest = max(factors)  # all are powers of two, so that it holds whole blocks of each
    step = max(1, CHUNK // (columns * dtype.itemsize * largest)) * largest
    lines = np.empty((step, columns), dtype)
    used_rows = max(rows // factor * factor for factor in factors)
    for top in range(0, used_rows, step):
        part = lines[: min(step, used_rows - top)]
        if file.readinto(part.reshape(-1).view(np.uint8)) != part.nbytes:
            raise OSError("the file was cut while it was read")
        layout.extract(part)
        for values, factor in zip(arrays, factors):
            values[top // factor : (top + len(part)) // factor] = averages(part, factor)
    return arrays


def _decode(data: Dataset, layout: Bits, name: str, factors: Sequence[int]) -> Values:
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    syntax = data.file_meta.TransferSyntaxUID
    if not (syntax.is_compressed and syntax.is_encapsulated):
        costs.check_pixels(data, factors, name)
        return _extract(_by_pydicom(data), layout)
    costs.check_fragments(data.PixelData, syntax, name)
    samples, frame = int(data.SamplesPerPixel), get_frame(data.PixelData, 0, number_of_frames=1)
    claim = (int(data.Columns), int(data.Rows), samples)
    if syntax != RLELossless and jpeg.claimed_size(frame) != claim:
        raise ValueError(f"its image claims {jpeg.claimed_size(frame)}, its header {claim}")
    costs.check_frame(data, frame, factors, name)
    # Decoders return values and not words, except where a sample has more bits than BitsStored.
    are_words = syntax == RLELossless or jpeg.precision(frame) > layout.stored
    if syntax in jpeg.SYNTAXES and samples == 1:
        with contextlib.suppress(ImportError):
            values = jpeg.decode(frame, layout.allocated if are_words else layout.stored, layout.signed)
            return _extract(values, layout) if are_words else values
    if not get_decoder(syntax).is_available:
        raise MissingExtraError(
            f"{name}: no decoder for {syntax.name} is installed; pip install 'covidnet-lite[dicom]' brings those "
            "for JPEG, JPEG-LS, JPEG 2000 and RLE; else export it uncompressed"
        )
    return _extract(_by_pydicom(data), layout) if are_words else _by_pydicom(data)


def _by_pydicom(data: Dataset) -> Values:
    """The first frame, with its unused bits unchanged, YCbCr as RGB."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(data.file_meta.TransferSyntaxUID)
    return np.asarray(decoder.as_array(data, index=0, correct_unused_bits=False)[0])  # type: ignore[arg-type]


def _extract(words: Values, layout: Bits) -> Values:
    words = words.astype(words.dtype.newbyteorder("="))
    layout.extract(words)
    return words
