"""A DICOM file -> an 8-bit gray picture (extra: ``dicom``).

The header is asked first: a CT slice, a hand or a lateral view is not a frontal
chest radiograph, and no pixel of it is looked at.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import InputError, MissingExtraError, NotAChestRadiograph
from .radiograph import DAMAGED, MAX_PIXELS, reduction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PROJECTION = ("CR", "DX", "RG")  # computed, digital and digitised film radiography
CHEST = ("CHEST", "THORAX", "LUNG", "PORT CHEST", "RIB", "CLAVICLE", "HEART")
FRONTAL = ("PA", "AP", "")
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax


def read(file: IO[bytes], name: str, at_least: tuple[int, int] | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Reads a DICOM file: the picture, bright is dense, and ``(width, height)`` of the original.

    Raises:
        NotAChestRadiograph: the header says so.
        InputError: the file is damaged, has no pixels, or more than one frame.
        MissingExtraError: pydicom, or a decoder it needs, is not installed.
    """
    try:
        import pydicom
        from pydicom.errors import BytesLengthException, InvalidDicomError
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ImportError:
        raise MissingExtraError(f"{name}: DICOM needs the extra: pip install 'covidnet-lite[dicom]'") from None
    # What pydicom raises on files that are damaged or break the standard.
    damaged = (*DAMAGED, AttributeError, InvalidDicomError, BytesLengthException)

    if file.read(2) in (b"MZ", b"PK", b"#!", b"%P", b"\x7fE"):  # a program or archive behind a DICOM face
        raise InputError(f"{name}: hides another file type in its DICOM preamble (CVE-2019-11687); it is not read")
    file.seek(0)
    if DEFLATED in file.read(2048):  # inflated as a whole before anything can be checked: a bomb
        raise InputError(f"{name}: is deflated as a whole, which is not read; export it with another transfer syntax")
    file.seek(0)
    try:
        data = pydicom.dcmread(file)
        _check_header(data, name)
        _check_decoder(data, name)
        stored = data.pixel_array
    except damaged as error:
        raise InputError(f"{name}: cannot be read as DICOM ({_first_line(error)}); export it again") from error

    size = (int(data.Columns), int(data.Rows))
    colour = int(data.get("SamplesPerPixel", 1) or 1) == 3  # a secondary capture
    if stored.shape != (size[1], size[0], 3)[: 3 if colour else 2]:
        raise InputError(f"{name}: its pixels {stored.shape} contradict its header; export it again")
    if colour:
        if stored.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(stored)).convert("L"), size
        stored = (stored[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(stored.dtype)
    stored = reduce(stored, at_least)
    # Rescaling and windowing are functions of one stored value: done once a level, not once a pixel.
    low, high = int(stored.min()), int(stored.max())
    few = high - low < 1 << 16
    levels = np.arange(low, high + 1) if few else np.unique(stored)
    try:
        values = np.asarray(apply_voi_lut(apply_modality_lut(levels, data), data, index=0), np.float64)
    except damaged as error:
        raise InputError(f"{name}: its gray scale cannot be read ({_first_line(error)}); export it again") from error
    span = values.max() - values.min()
    gray = (values - values.min()) / (span or 1.0) * 255
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        gray = 255 - gray
    table, picture = np.rint(gray).astype(np.uint8), np.empty(stored.shape, np.uint8)
    for row in range(0, len(stored), 256):  # in parts: an index of eight bytes a pixel would be much at full size
        part = stored[row : row + 256]
        picture[row : row + 256] = table[part.astype(np.int64) - low if few else np.searchsorted(levels, part)]
    return Image.fromarray(picture), size


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_decoder(data: Dataset, name: str) -> None:
    """Tells a decoder that is not installed from a damaged file."""
    from pydicom.pixels import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed and syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise MissingExtraError(
            f"{name}: no decoder for {syntax.name} is installed; pip install 'covidnet-lite[dicom]' brings those "
            "for JPEG, JPEG 2000 and RLE; else export it uncompressed"
        )


def _check_header(data: Dataset, name: str) -> None:
    modality = str(data.get("Modality", "") or "")
    if modality and modality not in PROJECTION:
        raise NotAChestRadiograph(f"{name}: its header says modality {modality}, not a projection radiograph (CR, DX)")
    body = str(data.get("BodyPartExamined", "") or "").upper()
    if body and not any(part in body for part in CHEST):
        raise NotAChestRadiograph(f"{name}: its header says body part {body}, not chest")
    view = str(data.get("ViewPosition", "") or "").upper()
    if view not in FRONTAL:
        raise NotAChestRadiograph(f"{name}: its header says view {view}, not frontal (PA or AP)")
    if "PixelData" not in data:
        raise InputError(f"{name}: holds no picture; give the image file of the study")
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        raise InputError(f"{name}: holds {data.NumberOfFrames} frames; give a single one")
    pixels = int(data.Rows) * int(data.Columns)
    if pixels > MAX_PIXELS:
        raise InputError(f"{name}: claims {pixels // 10**6} million pixels; no radiograph has so many")


def reduce(stored: npt.NDArray[Any], at_least: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Averages whole blocks of pixels, so that neither side falls below ``at_least``; the number type stays."""
    height, width = stored.shape
    factor = reduction((width, height), at_least)
    if factor == 1:
        return stored
    rows, columns = height // factor, width // factor
    blocks = stored[: rows * factor, : columns * factor].reshape(rows, factor, columns * factor)
    # Rows first: whole lines are added, which is what the memory likes.
    wide = np.int64 if stored.dtype.itemsize > 2 else np.int32
    sums = blocks.sum(axis=1, dtype=wide).reshape(rows, columns, factor).sum(axis=2)
    return np.asarray(sums // (factor * factor)).astype(stored.dtype)
