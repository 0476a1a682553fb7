"""The stored values of a DICOM film, reduced as they are read.

A film of 15 million pixels takes 30 MB, and a decoder makes copies of that. Where the file holds it uncompressed, it is
read some lines at a time, each averaged before the next: the film is never in memory as a whole.
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
LATE = "elements that belong before its pixels stand after them"
AT_ONCE = 2**18  # bytes of lines read together: what a processor keeps at hand


@dataclass(frozen=True)
class Bits:
    """Where in an allocated word a stored value is (PS3.5, section 8.1.1).

    Attributes:
        allocated: 8 or 16 for what is read.
        stored: how many of them are the value.
        high: the place of the highest of them, from 0.
        signed: whether it is two's complement.
    """

    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest value."""
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.signed else (0, (1 << self.stored) - 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a word, little endian."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    def value(self, word: int) -> int:
        """A number of the header, signed or not, as the value that has its bits."""
        low, high = self.range
        if low <= word <= high:
            return word
        word &= (1 << self.stored) - 1
        return word - (1 << self.stored) if self.signed and word >> self.stored - 1 else word

    def take(self, words: Values) -> None:
        """Makes words (integers of ``dtype``'s size) their values, in place; what else they hold is dropped."""
        above, unused = words.dtype.itemsize * 8 - 1 - self.high, words.dtype.itemsize * 8 - self.stored
        if above:  # shifted back, a sign is spread over what is free
            np.left_shift(words, above, out=words)
        if unused:
            np.right_shift(words, unused, out=words)


def bits(header: Elements, name: str) -> Bits:
    """Where the header says that stored values are.

    Raises:
        InputError: it does not say, or contradicts itself, or they are of more or fewer bits than are read.
    """
    allocated, stored = header.needed("BitsAllocated", name), header.needed("BitsStored", name)
    if not 8 <= stored <= allocated or allocated not in (8, 16):
        raise InputError(
            f"{name}: stores {stored} of {allocated} bits a pixel; 8 to 16 are read, in 8 or 16; export it again",
            Code.UNKNOWN_PIXELS,
        )
    signed, high = header.needed("PixelRepresentation", name), header.whole("HighBit")
    if signed not in (0, 1):
        raise InputError(
            f"{name}: cannot be read as DICOM (its Pixel Representation is neither 0 nor 1); export it again",
            Code.UNKNOWN_PIXELS,
        )
    if high is None:
        high = stored - 1
    if not stored - 1 <= high < allocated:
        raise InputError(
            f"{name}: its header says that the highest of {stored} bits is number {high} of {allocated}, "
            "which cannot be; export it again",
            Code.CONTRADICTION,
        )
    return Bits(allocated, stored, high, bool(signed))


def read(file: IO[bytes], header: Dataset, name: str, sizes: Sequence[Size | None]) -> list[Values]:
    """The stored values of the one picture in a file, which stands where its pixels begin.

    Args:
        header: what comes before them.
        sizes: ``(width, height)`` each, below which gray values are not reduced; ``None`` for all of them.

    Returns:
        For each of the sizes ``(height, width)``, reduced by a power of two; or ``(height, width, 3)``, not reduced.

    Raises:
        InputError: the header does not say where in the words stored values are.
        MissingExtraError: a decoder is not installed.
        OSError, ValueError, ...: what pydicom raises on damaged files.
    """
    start, elements = file.tell(), Elements(header)
    layout = bits(elements, name)
    if _stands_at_lines(file, header, layout):
        return _by_lines(file, header, layout, sizes, name)
    import pydicom

    file.seek(0)
    data = pydicom.dcmread(resource_limits.bounded(file, resource_limits.ELEMENTS))
    earlier = [data.get_item(tag) for tag in data.keys() if 0 < tag.group < PIXEL_GROUP]
    if any(getattr(e, "value_tell", getattr(e, "file_tell", 0)) > start for e in earlier):
        raise ValueError(LATE)
    _mend(data, elements, layout)
    values = _decoded(data, layout, name, [reduction((int(data.Columns), int(data.Rows)), size) for size in sizes])
    return [reduce(values, size) if values.shape == (data.Rows, data.Columns) else values for size in sizes]


def _mend(data: Dataset, header: Elements, layout: Bits) -> None:
    """Fills in what pydicom's decoders insist on, as the header was understood."""
    data.NumberOfFrames, data.HighBit = 1, layout.high
    data.SamplesPerPixel = samples(header)
    data.PhotometricInterpretation = header.text("PhotometricInterpretation")
    if data.SamplesPerPixel > 1:
        data.PlanarConfiguration = header.whole("PlanarConfiguration") or 0


def samples(header: Elements) -> int:
    """How many values a pixel has: 1 where the header does not say."""
    return header.whole("SamplesPerPixel") or 1


def _stands_at_lines(file: IO[bytes], header: Dataset, layout: Bits) -> bool:
    """Whether pixels are uncompressed, one sample each, little endian and all there; the file then stands at the first.

    Raises:
        ValueError: something follows that should have come before.
    """
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax = header.file_meta.TransferSyntaxUID
    one = (header.get("SamplesPerPixel") or 1) == 1 and layout.allocated in (8, 16)
    if not (syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian) and one):
        return False
    implicit = syntax == ImplicitVRLittleEndian
    element = file.read(8 if implicit else 12)  # tag, VR or none, length
    start, length = file.tell(), int.from_bytes(element[-4:], "little")
    as_told = (element[4:8] in (b"OB\0\0", b"OW\0\0")) != implicit  # some write otherwise than their syntax says
    size = int(header.Rows) * int(header.Columns) * layout.allocated // 8
    if not as_told or size < 1 or length - size not in (0, 1) or file.seek(0, os.SEEK_END) < start + size:
        return False
    file.seek(start + length)
    if 0 < int.from_bytes(file.read(2), "little") < PIXEL_GROUP:
        raise ValueError(LATE)
    file.seek(start)
    return True


def _by_lines(file: Any, header: Dataset, layout: Bits, sizes: Sequence[Size | None], name: str) -> list[Values]:
    rows, columns, kind = int(header.Rows), int(header.Columns), layout.dtype
    factors = [reduction((columns, rows), size) for size in sizes]
    costs.check_lines(header, factors, name)
    reduced = [np.empty((rows // factor, columns // factor), kind) for factor in factors]
    most = max(factors)  # a power of two, as they all are: it holds whole blocks of each
    step = max(1, AT_ONCE // (columns * kind.itemsize * most)) * most
    lines = np.empty((step, columns), kind)
    needed = max(rows // factor * factor for factor in factors)
    for top in range(0, needed, step):
        part = lines[: min(step, needed - top)]
        if file.readinto(part.reshape(-1).view(np.uint8)) != part.nbytes:
            raise OSError("the file was cut while it was read")
        layout.take(part)
        for values, factor in zip(reduced, factors):
            values[top // factor : (top + len(part)) // factor] = averages(part, factor)
    return reduced


def _decoded(data: Dataset, layout: Bits, name: str, factors: Sequence[int]) -> Values:
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    syntax = data.file_meta.TransferSyntaxUID
    if not (syntax.is_compressed and syntax.is_encapsulated):
        costs.check_pixels(data, factors, name)
        return _taken(_by_pydicom(data), layout)
    costs.check_fragments(data.PixelData, syntax, name)
    samples, frame = int(data.SamplesPerPixel), get_frame(data.PixelData, 0, number_of_frames=1)
    claim = (int(data.Columns), int(data.Rows), samples)
    if syntax != RLELossless and jpeg.claimed_size(frame) != claim:
        raise ValueError(f"its image claims {jpeg.claimed_size(frame)}, its header {claim}")
    costs.check_frame(data, frame, factors, name)
    # Decoders give values and no words; of more bits than are stored, they are words after all.
    words = syntax == RLELossless or jpeg.precision(frame) > layout.stored
    if syntax in jpeg.SYNTAXES and samples == 1:
        with contextlib.suppress(ImportError):
            decoded = jpeg.decode(frame, layout.allocated if words else layout.stored, layout.signed)
            return _taken(decoded, layout) if words else decoded
    if not get_decoder(syntax).is_available:
        raise MissingExtraError(
            f"{name}: no decoder for {syntax.name} is installed; pip install 'covidnet-lite[dicom]' brings those "
            "for JPEG, JPEG-LS, JPEG 2000 and RLE; else export it uncompressed"
        )
    return _taken(_by_pydicom(data), layout) if words else _by_pydicom(data)


def _by_pydicom(data: Dataset) -> Values:
    """The first frame, its unused bits as they are, YCbCr as RGB."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(data.file_meta.TransferSyntaxUID)
    return np.asarray(decoder.as_array(data, index=0, correct_unused_bits=False)[0])  # type: ignore[arg-type]


def _taken(words: Values, layout: Bits) -> Values:
    words = words.astype(words.dtype.newbyteorder("="))
    layout.take(words)
    return words
