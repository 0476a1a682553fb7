"""A DICOM file -> an 8-bit gray image (extra: ``dicom``).

The header is checked first: a CT slice, a hand or a lateral view is not a frontal chest radiograph, and its pixels are
not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import resource_limits
from ..codes import Code, Note
from ..errors import InputError, NotAChestRadiograph
from ..formats import DICOM
from ..image_in.image_file import LUMINANCE
from ..image_in.reduction import Size, reduce, reduction
from ..image_in.to_8_bits import sample, stretch
from . import grays, pixels
from .deflated import inflate
from .elements import Elements, dicom_errors
from .examination import Examination
from .examination import read as read_examination
from .pixels import Bits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PIXEL_DATA = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")  # its tag, in either byte order
# First bytes of a preamble that make the file one of another type, too: programs, scripts, archives, pages and images.
# TIFF is what the standard intends the preamble for, and harmless.
# fmt: off
HIDDEN = (
    b"MZ", b"\x7fELF", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"#!",
    b"PK", b"\x1f\x8b", b"BZh", b"7z\xbc", b"Rar!", b"\xfd7zXZ", b"!<arch>", b"\xd0\xcf\x11\xe0",
    b"%PDF", b"%!", b"{\\rtf", b"<", b"\xef\xbb\xbf<", b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM",
)
# fmt: on
GRAY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True, eq=False)
class DicomImage:
    """The content of a DICOM file.

    Attributes:
        image: 8-bit gray, bright is dense; may be reduced.
        size: ``(width, height)`` of the original.
        examination: what was examined, according to the header.
        notes: what in the header was ignored, or is missing in it.
        display: the same for a screen, less reduced, if it was requested.
    """

    image: Image.Image
    size: tuple[int, int]
    examination: Examination
    notes: tuple[Note, ...]
    display: Image.Image | None = None


def read(file: IO[bytes], name: str, at_least: Size | None = None, display: Size | None = None) -> DicomImage:
    """Reads a DICOM file, its pixels only once.

    Args:
        file: at its beginning.
        name: for messages.
        at_least: ``(width, height)`` below which gray levels are not reduced.
        display: the same for a second image; ``None`` for no such image.

    Raises:
        NotAChestRadiograph: the header says that it is something else.
        InputError: the file is damaged, has no pixels, or more than one frame.
        MissingExtraError: pydicom, or a decoder it needs, is not installed.
    """
    data, file = _open(file, name)
    elements = Elements(data)
    try:
        examination = read_examination(data)
        if examination.objection:
            raise NotAChestRadiograph(f"{name}: {examination.objection}", examination.code)
        size = _check_image(elements, file, name)
        # A small image is reduced for neither, and its second image is the first.
        twice = display is not None and reduction(size, display) != reduction(size, at_least)
        sizes = (at_least, display) if twice else (at_least,)
        stored, layout = pixels.read(file, data, name, sizes), pixels.bits(elements, name)
    except dicom_errors() as error:
        raise _unreadable(name, error) from error

    colour = pixels.samples(elements) == 3  # a secondary capture
    images = []
    # The second image gets elements of its own, or its notes would repeat those of the first.
    for values, smallest, own_elements in zip(stored, sizes, (elements, Elements(data))):
        factor = 1 if colour else reduction(size, smallest)
        if values.shape != (size[1] // factor, size[0] // factor, 3)[: 3 if colour else 2]:
            raise InputError(
                f"{name}: its pixels {values.shape} contradict its header; export it again", Code.CONTRADICTION
            )
        images.append(_from_colours(values, name, smallest) if colour else _from_grays(values, layout, own_elements))
    return DicomImage(
        images[0], size, examination, (*examination.notes, *elements.notes), images[-1] if display else None
    )


def _from_colours(values: npt.NDArray[Any], name: str, at_least: Size | None) -> Image.Image:
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(values)).convert("L")
    return stretch(reduce((values @ LUMINANCE).astype(values.dtype), at_least), name)


def _from_grays(values: npt.NDArray[Any], layout: Bits, elements: Elements) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    index = values.astype(np.int32) - low
    counts = np.bincount(sample(index).ravel(), minlength=high - low + 1)
    return Image.fromarray(grays.table(np.arange(low, high + 1), counts, layout, elements)[index])


def _unreadable(name: str, error: BaseException) -> InputError:
    return InputError(f"{name}: cannot be read as DICOM ({_first_line(error)}); export it again", Code.DAMAGED)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def header(file: IO[bytes], name: str) -> Dataset:
    """A DICOM file's elements before its pixels.

    Raises:
        InputError: this is no DICOM file, it is damaged, or its preamble hides another file type.
        MissingExtraError: pydicom is not installed.
    """
    return _open(file, name)[0]


def _open(file: IO[bytes], name: str) -> tuple[Dataset, IO[bytes]]:
    """The header, and the inflated file at the beginning of its pixels."""
    try:
        import pydicom
    except ImportError:
        raise DICOM.missing(name) from None
    head = file.read(2048)
    if head[128:132] != b"DICM":
        raise InputError(f"{name}: is no DICOM file; give the one that the machine sent", Code.UNKNOWN_FORMAT)
    if head.startswith(HIDDEN):
        raise InputError(
            f"{name}: hides another file type in its DICOM preamble (CVE-2019-11687); it is not read", Code.HIDDEN_FILE
        )
    try:
        file = resource_limits.bounded(
            inflate(resource_limits.bounded(file, resource_limits.ELEMENTS), name), resource_limits.ELEMENTS
        )
        data = pydicom.dcmread(file, stop_before_pixels=True)
    except dicom_errors() as error:
        raise _unreadable(name, error) from error
    resource_limits.check_sequences(data, name)
    return data, file


def _check_image(elements: Elements, file: IO[bytes], name: str) -> tuple[int, int]:
    """``(width, height)``, once it is clear that the file holds one image that can be read."""
    data, start = elements.data, file.tell()
    tag = file.read(4)
    file.seek(start)
    if tag not in PIXEL_DATA or "Rows" not in data or "Columns" not in data:
        raise InputError(f"{name}: holds no image; give the image file of the study", Code.NO_PICTURE)
    frames = elements.integer("NumberOfFrames") or 1
    if frames > 1 or "SharedFunctionalGroupsSequence" in data or "PerFrameFunctionalGroupsSequence" in data:
        kind = "frame" if frames == 1 else "frames"
        raise InputError(
            f"{name}: is a multi-frame object ({frames} {kind}); give a single CR or DX image", Code.SEVERAL_PICTURES
        )
    if elements.text("PresentationIntentType") == "FOR PROCESSING":
        raise InputError(
            f"{name}: holds the detector's raw data (FOR PROCESSING); give the image FOR PRESENTATION", Code.RAW_DATA
        )
    kind = elements.text("PhotometricInterpretation")
    if kind not in (COLOUR if pixels.samples(elements) == 3 else GRAY):
        description = kind if kind in (*GRAY, *COLOUR, "PALETTE COLOR") else "of an unknown kind"
        raise InputError(
            f"{name}: its pixels are {description}, not gray levels; export it as MONOCHROME2", Code.UNKNOWN_PIXELS
        )
    width, height = elements.required("Columns", name), elements.required("Rows", name)
    if width * height > resource_limits.PIXELS:
        raise InputError(
            f"{name}: claims {width * height // 10**6} million pixels; no radiograph has so many", Code.TOO_LARGE
        )
    return width, height
