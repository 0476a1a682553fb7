"""A DICOM file -> an 8-bit gray picture (extra: ``dicom``).

The header is asked first: a CT slice, a hand or a lateral view is not a frontal
chest radiograph, and no pixel of it is looked at.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import dicom_pixels, examination, limits
from .errors import InputError, MissingExtraError, NotAChestRadiograph
from .examination import Examination
from .radiograph import DAMAGED, MAX_PIXELS, reduction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax
PIXEL_DATA = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")  # its tag, in either byte order
# What a preamble begins with that makes the file another one too: programs, scripts, archives, pages and pictures.
# TIFF is what the standard has in mind for it, and harmless.
# fmt: off
HIDDEN = (
    b"MZ", b"\x7fELF", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"#!",
    b"PK", b"\x1f\x8b", b"BZh", b"7z\xbc", b"Rar!", b"\xfd7zXZ", b"!<arch>", b"\xd0\xcf\x11\xe0",
    b"%PDF", b"%!", b"{\\rtf", b"<", b"\xef\xbb\xbf<", b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM",
)
# fmt: on
GRAY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def read(
    file: IO[bytes], name: str, at_least: tuple[int, int] | None = None
) -> tuple[Image.Image, tuple[int, int], Examination]:
    """Reads a DICOM file: the picture, bright is dense; ``(width, height)`` of the original; what the header says.

    Raises:
        NotAChestRadiograph: the header says so.
        InputError: the file is damaged, has no pixels, or more than one frame.
        MissingExtraError: pydicom, or a decoder it needs, is not installed.
    """
    data = header(file, name)
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    try:
        examined = examination.read(data)
        if examined.objection:
            raise NotAChestRadiograph(f"{name}: {examined.objection}")
        _check_picture(data, file, name)
        stored = dicom_pixels.read(file, data, name, at_least)
    except damaged() as error:
        raise InputError(f"{name}: cannot be read as DICOM ({_first_line(error)}); export it again") from error

    size = (int(data.Columns), int(data.Rows))
    colour = int(data.get("SamplesPerPixel", 1) or 1) == 3  # a secondary capture
    factor = 1 if colour else reduction(size, at_least)
    if stored.shape != (size[1] // factor, size[0] // factor, 3)[: 3 if colour else 2]:
        raise InputError(f"{name}: its pixels {stored.shape} contradict its header; export it again")
    if colour:
        if stored.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(stored)).convert("L"), size, examined
        gray_values = (stored[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(stored.dtype)
        stored = dicom_pixels.reduce(gray_values, at_least)
    # Rescaling and windowing are functions of one stored value: done once a level, not once a pixel.
    low, high = int(stored.min()), int(stored.max())
    levels, index = np.arange(low, high + 1), stored.astype(np.int32) - low
    try:
        values = apply_modality_lut(levels, data)
        if data.get("VOILUTSequence"):
            values = np.rint(values).astype(np.int64)  # a table is asked with whole numbers
        values = np.asarray(apply_voi_lut(values, data, index=0), np.float64)
        padding = _padding(data, levels)
    except damaged() as error:
        raise InputError(f"{name}: its gray scale cannot be read ({_first_line(error)}); export it again") from error
    seen = values
    if padding.any() and not padding.all():
        seen = values[~padding & (np.bincount(index.ravel()) > 0)]  # not what lies between picture and padding
    gray = np.clip((values - seen.min()) / (np.ptp(seen) or 1.0), 0, 1) * 255
    if data.PhotometricInterpretation == "MONOCHROME1":
        gray = 255 - gray
    gray[padding] = 0
    return Image.fromarray(np.rint(gray).astype(np.uint8)[index]), size, examined


def _padding(data: Dataset, levels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which stored values stand for no X-ray: what the machine put around a picture that is no rectangle."""
    first = data.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(levels), bool)
    last = data.get("PixelPaddingRangeLimit", first)
    return np.asarray((levels >= min(first, last)) & (levels <= max(first, last)))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def header(file: IO[bytes], name: str) -> Dataset:
    """A DICOM file's elements before its pixels, where the file then stands.

    Raises:
        InputError: this is no DICOM file, it is damaged, or it hides something.
        MissingExtraError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingExtraError(f"{name}: DICOM needs the extra: pip install 'covidnet-lite[dicom]'") from None
    head = file.read(2048)
    if head[128:132] != b"DICM":
        raise InputError(f"{name}: is no DICOM file; give the one that the machine sent")
    if head.startswith(HIDDEN):
        raise InputError(f"{name}: hides another file type in its DICOM preamble (CVE-2019-11687); it is not read")
    if DEFLATED in head:  # inflated as a whole before anything can be checked: a bomb
        raise InputError(f"{name}: is deflated as a whole, which is not read; export it with another transfer syntax")
    file.seek(0)
    try:
        data = pydicom.dcmread(limits.Bounded(file, limits.ELEMENTS), stop_before_pixels=True)
    except damaged() as error:
        raise InputError(f"{name}: cannot be read as DICOM ({_first_line(error)}); export it again") from error
    limits.check_sequences(data, name)
    return data


def damaged() -> tuple[type[Exception], ...]:
    """What pydicom raises on files that are damaged or break the standard."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DAMAGED, AttributeError, InvalidDicomError, BytesLengthException)


def _check_picture(data: Dataset, file: IO[bytes], name: str) -> None:
    """Whether there is one picture, of gray levels or colours, and of a size that is decoded."""
    start = file.tell()
    tag = file.read(4)
    file.seek(start)
    if tag not in PIXEL_DATA or "Rows" not in data or "Columns" not in data:
        raise InputError(f"{name}: holds no picture; give the image file of the study")
    frames = int(data.get("NumberOfFrames", 1) or 1)
    if frames > 1 or "SharedFunctionalGroupsSequence" in data or "PerFrameFunctionalGroupsSequence" in data:
        kind = "frame" if frames == 1 else "frames"
        raise InputError(f"{name}: is a multi-frame object ({frames} {kind}); give a single CR or DX image")
    if data.get("PresentationIntentType") == "FOR PROCESSING":
        raise InputError(f"{name}: holds the detector's raw data (FOR PROCESSING); give the image FOR PRESENTATION")
    kind = data.get("PhotometricInterpretation", "")
    if kind not in (COLOUR if int(data.get("SamplesPerPixel", 1) or 1) == 3 else GRAY):
        raise InputError(
            f"{name}: its pixels are {kind or 'of an unknown kind'}, not gray levels; export it as MONOCHROME2"
        )
    if not 8 <= int(data.BitsStored) <= int(data.BitsAllocated) <= 16:
        raise InputError(
            f"{name}: stores {data.BitsStored} of {data.BitsAllocated} bits a pixel; 8 to 16 are read; export it again"
        )
    pixels = int(data.Rows) * int(data.Columns)
    if pixels > MAX_PIXELS:
        raise InputError(f"{name}: claims {pixels // 10**6} million pixels; no radiograph has so many")
