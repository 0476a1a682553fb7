"""The image formats that are read, one row each, and file names that may be radiographs.

Readers are in :mod:`covidnet_lite.radiograph`, costs in :mod:`covidnet_lite.image_in.costs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from .errors import MissingExtraError


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _is_heic(head: bytes) -> bool:
    """HEIF, other than AVIF, which Pillow reads."""
    brands = head[8:64]
    return (
        head[4:8] == b"ftyp" and b"avi" not in brands and any(b in brands for b in (b"hei", b"hev", b"mif1", b"msf1"))
    )


@dataclass(frozen=True)
class Format:
    """An image format.

    Attributes:
        name: in messages and help texts.
        suffixes: of file names, in lower case.
        pillow: Pillow's name for it; ``""`` where Pillow does not decode it.
        variants: further names that Pillow gives to images in such files.
        begins: whether a file's first 132 bytes are of this format; ``None`` where Pillow identifies it.
        reader: a key of ``radiograph.READERS``.
        costs: a key of ``costs.DECODER_BYTES``, the estimate of what decoding takes beside the image, where Pillow
            decodes it; the readers of other formats estimate their own.
        extra: with its decoder; ``""`` for none.
    """

    name: str
    suffixes: tuple[str, ...]
    pillow: str = ""
    variants: tuple[str, ...] = ()
    begins: Callable[[bytes], bool] | None = None
    reader: str = "pillow"
    costs: str = "nothing"
    extra: str = ""

    def missing(self, name: str) -> MissingExtraError:
        """The error to raise for the radiograph ``name`` where the extra is not installed."""
        return MissingExtraError(f"{name}: {self.name} needs the extra: pip install 'covidnet-lite[{self.extra}]'")


HEIC = Format("HEIC", (".heic", ".heif"), begins=_is_heic, reader="heic", extra="heic")
DICOM = Format("DICOM", (".dcm", ".dicom"), begins=_is_dicom, reader="dicom", extra="dicom")
FORMATS = (
    Format("PNG", (".png",), "PNG"),
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG", ("MPO",), costs="jpeg"),
    Format("TIFF", (".tif", ".tiff"), "TIFF", costs="tiff"),
    Format("BMP", (".bmp",), "BMP", costs="bmp"),
    Format("WebP", (".webp",), "WEBP", costs="webp"),
    Format("JPEG 2000", (".jp2", ".j2k", ".j2c"), "JPEG2000", costs="jpeg 2000"),
    Format("AVIF", (".avif",), "AVIF", costs="avif"),
    HEIC,
    DICOM,
)
SUFFIXES = frozenset(suffix for form in FORMATS for suffix in form.suffixes)
PILLOW = tuple(form.pillow for form in FORMATS if form.pillow)
DICOMDIR = "DICOMDIR"  # the table of contents of a disk with DICOM files
APPLE = "._"  # starts the names of the files in which macOS keeps attributes on foreign file systems
NAMES = ", ".join(form.name for form in FORMATS[:-1]) + f" or {FORMATS[-1].name}"


def recognised(head: bytes) -> Format | None:
    """The format of a file by its first 132 bytes; ``None`` where Pillow identifies it."""
    return next((form for form in FORMATS if form.begins and form.begins(head)), None)


def of_pillow(name: str | None) -> Format | None:
    """The format of an image that Pillow opened."""
    return next((form for form in FORMATS if name and name in (form.pillow, *form.variants)), None)


def has_suffix(name: str) -> bool:
    """Whether a file's name ends like that of an image format."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(APPLE)


def may_be_radiograph(name: str) -> bool:
    """Whether a file's name has an image format's suffix, or none, as on a disk of DICOM files: ``IM000001``, a UID."""
    if name.startswith(APPLE):
        return False
    return has_suffix(name) or not (os.path.splitext(name)[1].strip(".0123456789") or name.upper() == DICOMDIR)


def is_radiograph(path: str) -> bool:
    """Whether a file has an image format's suffix or the head of a DICOM file; also when it cannot be opened, so that
    reading it reports why."""
    if has_suffix(os.path.basename(path)):
        return True
    if not (may_be_radiograph(os.path.basename(path)) and os.path.isfile(path)):  # to open a pipe would block
        return False
    try:
        with open(path, "rb") as file:
            return _is_dicom(file.read(132))
    except OSError:
        return True
