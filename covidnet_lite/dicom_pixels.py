"""The stored values of a DICOM film, reduced as they are read.

A film of 15 million pixels takes 30 MB, and a decoder makes copies of that. Where the file holds it uncompressed, it is
read some lines at a time, each averaged before the next: the film is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import costs, jpeg, limits
from .errors import MissingExtraError
from .radiograph import reduction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Values = npt.NDArray[Any]
PIXEL_GROUP = 0x7FE0
LATE = "elements that belong before its pixels stand after them"
AT_ONCE = 2**18  # bytes of lines read together: what a processor keeps at hand


def read(file: IO[bytes], header: Dataset, name: str, at_least: tuple[int, int] | None) -> Values:
    """The stored values of the one picture in a file, which stands where its pixels begin.

    Args:
        header: what comes before them.
        at_least: ``(width, height)`` below which gray values are not reduced.

    Returns:
        ``(height, width)``, reduced by a power of two; or ``(height, width, 3)``, not reduced.

    Raises:
        MissingExtraError: a decoder is not installed.
        OSError, ValueError, ...: what pydicom raises on damaged files.
    """
    start = file.tell()
    if _stands_at_lines(file, header):
        return _by_lines(file, header, at_least)
    import pydicom

    file.seek(0)
    data = pydicom.dcmread(limits.Bounded(file, limits.ELEMENTS))
    elements = [data.get_item(tag) for tag in data.keys() if 0 < tag.group < PIXEL_GROUP]
    if any(getattr(e, "value_tell", getattr(e, "file_tell", 0)) > start for e in elements):
        raise ValueError(LATE)
    values = _decoded(data, name, reduction((int(header.Columns), int(header.Rows)), at_least))
    return reduce(values, at_least) if values.shape == (header.Rows, header.Columns) else values


def _stands_at_lines(file: IO[bytes], header: Dataset) -> bool:
    """Whether pixels are uncompressed, one sample each, little endian and all there; the file then stands at the first.

    Raises:
        ValueError: something follows that should have come before.
    """
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax, allocated = header.file_meta.TransferSyntaxUID, int(header.BitsAllocated)
    one = header.get("SamplesPerPixel") == 1 and int(header.get("NumberOfFrames", 1) or 1) == 1
    told = header.get("PixelRepresentation") in (0, 1) and allocated in (8, 16)
    if not (syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian) and one and told):
        return False
    implicit = syntax == ImplicitVRLittleEndian
    element = file.read(8 if implicit else 12)  # tag, VR or none, length
    start, length = file.tell(), int.from_bytes(element[-4:], "little")
    as_told = (element[4:8] in (b"OB\0\0", b"OW\0\0")) != implicit  # some write otherwise than their syntax says
    size = int(header.Rows) * int(header.Columns) * allocated // 8
    if not as_told or size < 1 or length - size not in (0, 1) or file.seek(0, os.SEEK_END) < start + size:
        return False
    file.seek(start + length)
    if 0 < int.from_bytes(file.read(2), "little") < PIXEL_GROUP:
        raise ValueError(LATE)
    file.seek(start)
    return True


def _by_lines(file: Any, header: Dataset, at_least: tuple[int, int] | None) -> Values:
    rows, columns, allocated = int(header.Rows), int(header.Columns), int(header.BitsAllocated)
    kind = np.dtype(f"<{'i' if header.PixelRepresentation else 'u'}{allocated // 8}")
    factor, unused = reduction((columns, rows), at_least), allocated - int(header.BitsStored)
    values = np.empty((rows // factor, columns // factor), kind)
    step = max(1, AT_ONCE // (columns * kind.itemsize * factor))  # of reduced lines
    lines = np.empty((step * factor, columns), kind)
    for top in range(0, len(values), step):
        part = lines[: min(step, len(values) - top) * factor]
        if file.readinto(part.reshape(-1).view(np.uint8)) != part.nbytes:
            raise OSError("the file was cut while it was read")
        if unused:  # they may hold anything (PS3.5, section 8.1.1); shifted back, a sign is spread over them
            np.left_shift(part, unused, out=part)
            np.right_shift(part, unused, out=part)
        values[top : top + step] = _averages(part, factor)
    return values


def _decoded(data: Dataset, name: str, factor: int) -> Values:
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    syntax = data.file_meta.TransferSyntaxUID
    if not (syntax.is_compressed and syntax.is_encapsulated):
        costs.check_pixels(data, factor, name)
        return np.asarray(data.pixel_array)
    costs.check_fragments(data.PixelData, syntax, name)
    samples, frame = int(data.get("SamplesPerPixel", 1) or 1), get_frame(data.PixelData, 0, number_of_frames=1)
    claim = (int(data.Columns), int(data.Rows), samples)
    if syntax != RLELossless and jpeg.claimed(frame) != claim:
        raise ValueError(f"its picture claims {jpeg.claimed(frame)}, its header {claim}")
    costs.check_frame(data, frame, factor, name)
    if syntax in jpeg.SYNTAXES and samples == 1:
        with contextlib.suppress(ImportError):
            return jpeg.decode(frame, int(data.BitsStored), bool(data.PixelRepresentation))
    if not get_decoder(syntax).is_available:
        raise MissingExtraError(
            f"{name}: no decoder for {syntax.name} is installed; pip install 'covidnet-lite[dicom]' brings those "
            "for JPEG, JPEG-LS, JPEG 2000 and RLE; else export it uncompressed"
        )
    return np.asarray(data.pixel_array)


def reduce(stored: Values, at_least: tuple[int, int] | None) -> Values:
    """Averages whole blocks of pixels, so that neither side falls below ``at_least``; the number type stays."""
    height, width = stored.shape
    factor = reduction((width, height), at_least)
    return stored if factor == 1 else _averages(stored, factor)


def _averages(stored: Values, factor: int) -> Values:
    """Of blocks of ``factor`` by ``factor``, rounded down; what is left over at the right and below is left out."""
    if factor == 1:
        return stored
    rows, columns = (side // factor for side in stored.shape)
    blocks = stored[: rows * factor, : columns * factor].reshape(rows, factor, columns * factor)
    wide = np.int64 if stored.dtype.itemsize > 2 else np.int32
    # Line upon line, then column upon column: five times as fast as sums along an axis.
    lines = np.add(blocks[:, 0], blocks[:, 1], dtype=wide)
    for i in range(2, factor):
        lines += blocks[:, i]
    sums = lines[:, 0::factor] + lines[:, 1::factor]
    for i in range(2, factor):
        sums += lines[:, i::factor]
    return np.asarray(sums // (factor * factor)).astype(stored.dtype)
