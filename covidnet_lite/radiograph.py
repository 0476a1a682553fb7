"""A path, bytes, a binary file, a PIL image, an array or a DICOM file -> a :class:`Radiograph`.

Its image is 8-bit gray, or in colour for a network in colour. Training, calibration and the device all read
radiographs with :func:`read`, so a pixel means the same everywhere.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from . import formats, resource_limits
from .codes import Code, Note
from .errors import InputError
from .image_in import costs, image_file, metadata
from .image_in.image_file import DECODING_ERRORS, LUMINANCE
from .image_in.reduction import Size, reduction
from .image_in.to_8_bits import stretch

if TYPE_CHECKING:
    from .dicom_in.examination import Examination


class Readable(Protocol):
    """The part of a binary file's interface that is used here."""

    @property
    def name(self) -> str:
        """Its name, for messages and results."""

    def read(self) -> bytes:
        """All of its bytes."""


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Readable | Image.Image | npt.NDArray[Any]

MIN_SIDE = 64  # pixels; below this there is no radiograph to read, unless a network takes fewer
METADATA = Note(Code.METADATA_LEFT_ASIDE)


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph, ready to be fitted to a network.

    Attributes:
        image: 8-bit gray (PIL mode ``L``), bright is dense; may be reduced. Mode ``RGB`` where colour was requested and
            the image has any.
        display: the same in gray for a screen, less reduced, if it was requested and the same decoding yielded it.
        name: for messages and results: a file name, ``<bytes>``, ``<array>``.
        width, height: pixels of the original.
        examination: what was examined according to a DICOM header, else ``None``.
        notes: what was ignored in reading it, in words.
    """

    image: Image.Image
    name: str
    width: int
    height: int
    examination: Examination | None = None
    notes: tuple[Note, ...] = ()
    display: Image.Image | None = None


def name_of(img: Source) -> str:
    """The name of an input in messages and results."""
    if isinstance(img, (str, os.PathLike)):
        return os.fspath(img)
    if isinstance(img, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(img, np.ndarray):
        return "<array>"
    name = getattr(img, "filename", None) or getattr(img, "name", None)
    return str(name) if name else "<image>" if isinstance(img, Image.Image) else "<file>"


def read(
    img: Source,
    at_least: Size | None = None,
    name: str | None = None,
    exact: bool = False,
    colour: bool = False,
    display: Size | None = None,
) -> Radiograph:
    """Reads one radiograph.

    Args:
        img: a path, the bytes of a file, a binary file, a PIL image, a DICOM
            file, or an array ``(height, width)``, ``(height, width, 1)``,
            ``(height, width, 3)`` or ``(height, width, 4)``. uint8 is taken as
            it is; wider integers and floats are stretched from their own
            darkest to their own brightest value.
        at_least: ``(width, height)`` in pixels. A larger image is reduced by a power of two, as long as neither side
            falls below this. ``None`` keeps the full size. Where this is below 64, a gray image may be as small.
        name: for messages and results; ``None`` for :func:`name_of`.
        exact: decode a JPEG in full before it is reduced, which takes longer and changes the pixels very little.
        colour: keep the colours of a colour image, which may then be of any size.
        display: ``(width, height)`` below which a second image, for a screen, is not reduced; ``None`` for no such
            image. A JPEG that was reduced while it was decoded has none either: each size takes a decoding of its own,
            since libjpeg's quarter is not the average of its half (one pixel in seven differs by a level).

    Raises:
        InputError: there is no readable radiograph in ``img``.
        NotAChestRadiograph: a DICOM file whose header says that it is something else.
        MissingExtraError: a DICOM file, and pydicom is not installed.
    """
    radiograph = _read(img, at_least, name or name_of(img), exact, colour, display)
    if not colour:
        _refuse_small(radiograph, at_least)
    image, larger = radiograph.image, radiograph.display
    if display and larger is None and image.mode == "L" and image.size == (radiograph.width, radiograph.height):
        larger = image
    # A reduced image makes all that follows cheaper: finding the lungs, cropping, the check for a blank image.
    return replace(
        radiograph, image=_reduce(image, at_least), display=_reduce(larger, display) if larger and display else None
    )


def _refuse_small(radiograph: Radiograph, at_least: Size | None) -> None:
    """Refuses an image with fewer pixels on a side than a radiograph has, and than the network takes."""
    least, size = min((MIN_SIDE, *(at_least or ()))), (radiograph.width, radiograph.height)
    if min(size) < least:
        raise InputError(
            f"{radiograph.name}: {size[0]} x {size[1]} pixels is too small; at least {least} x {least} are needed",
            Code.TOO_SMALL,
        )


def _reduce(image: Image.Image, at_least: Size | None) -> Image.Image:
    factor = reduction(image.size, at_least)
    return image.reduce(factor) if factor > 1 else image


def _read(img: Source, at_least: Size | None, name: str, exact: bool, colour: bool, display: Size | None) -> Radiograph:
    if isinstance(img, np.ndarray):
        image = _from_array(img, name, colour)
        return _checked(image, name, image.size)
    if isinstance(img, Image.Image):
        _check_size(img.size, name)
        return _load_upright(img, name, colour)
    with open_binary(img, name) as file:
        try:
            data = resource_limits.bounded(file)
            head = data.read(132)
            data.seek(0)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error})", Code.NOT_OPENED) from error
        if not head:
            raise InputError(f"{name}: the file is empty; copy it again from where it came", Code.EMPTY)
        form = formats.recognised(head)
        if form:
            return READERS[form.reader](data, name, _Options(at_least, exact, colour, display))
        if head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08"):  # the group of the first element, in either byte order
            raise InputError(
                f"{name}: begins like DICOM, but without a file's head (DICM); export it as a DICOM file",
                Code.UNKNOWN_FORMAT,
            )
        if head.startswith(b"PK"):
            raise InputError(
                f"{name}: is a zip archive, or cannot be unpacked from one; give the radiographs in it", Code.ARCHIVE
            )
        return READERS["pillow"](data, name, _Options(at_least, exact, colour, display))


def read_all(file: Any, name: str) -> bytes:
    """The bytes of an open binary file.

    Raises:
        InputError: the file is open as text, or cannot be read.
    """
    try:
        data = file.read()
    except UnicodeDecodeError:
        data = ""
    except (OSError, ValueError) as error:  # ValueError: closed
        raise InputError(f"{name}: cannot be read ({error})", Code.NOT_OPENED) from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"{name}: the file is open as text; open it with mode 'rb'", Code.NOT_OPENED)
    return bytes(data)


def open_binary(img: Any, name: str) -> IO[bytes]:
    """A path, bytes or a binary file as an open binary file, which the caller closes.

    Raises:
        InputError: the file is missing or cannot be opened, or ``img`` is none of these.
    """
    if isinstance(img, (bytes, bytearray, memoryview)):
        return io.BytesIO(img.tobytes() if isinstance(img, memoryview) else img)
    if isinstance(img, (str, os.PathLike)):
        try:
            if not stat.S_ISREG(os.stat(img).st_mode) and not os.path.isdir(img):
                raise InputError(
                    f"{name}: is no file but a pipe or device; send it to standard input and use -", Code.NOT_OPENED
                )
            return open(img, "rb")
        except FileNotFoundError:
            raise InputError(f"{name}: no such file; check the path", Code.NOT_OPENED) from None
        except IsADirectoryError:
            raise InputError(f"{name}: is a folder; give the files in it one by one", Code.NOT_OPENED) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            raise InputError(
                f"{name}: cannot be opened ({error}); check the path and its permissions", Code.NOT_OPENED
            ) from error
    if not hasattr(img, "read"):
        raise InputError(
            f"{name}: a {type(img).__name__} is no radiograph; give a path, bytes, "
            "a binary file, a PIL image or an array",
            Code.UNKNOWN_FORMAT,
        )
    return io.BytesIO(read_all(img, name))


class _Damaged(InputError):
    """An image that cannot be decoded, though perhaps without its metadata."""

    code = Code.DAMAGED


@dataclass(frozen=True)
class _Options:
    """How to read; the attributes are the arguments of :func:`read`."""

    at_least: Size | None
    exact: bool
    colour: bool
    display: Size | None


def _from_pillow(data: IO[bytes], name: str, options: _Options) -> Radiograph:
    at_least, colour = None if options.exact else options.at_least, options.colour
    try:
        return _decode(data, name, at_least, colour)
    except _Damaged as error:
        resource_limits.lift(data)
        data.seek(0)
        stripped = metadata.without(data.read())
        if stripped is None:
            raise InputError(str(error), error.code) from error.__cause__
        try:
            return replace(
                _decode(resource_limits.bounded(io.BytesIO(stripped)), name, at_least, colour), notes=(METADATA,)
            )
        except _Damaged:
            raise InputError(str(error), error.code) from error.__cause__


def _decode(data: IO[bytes], name: str, at_least: Size | None, colour: bool) -> Radiograph:
    try:
        image = image_file.open_image(data)
        image_file.choose_page(image, costs.frames(image), name)
        size = image.size
        _check_size(size, name)
        if at_least is not None and image.format in ("JPEG", "MPO"):
            # libjpeg decodes at 1/2, 1/4 or 1/8 scale, and luminance only, when asked before loading.
            image.draft(None if colour else "L", at_least[::-1] if image_file.orientation(image) >= 5 else at_least)
        image_file.fix_byte_order(image)
        deep = None if colour else image_file.deep_colours(image, data)
        costs.check_image(image, size, data, name, deep is not None)
        if deep:
            image = _from_16_bits(image, deep, data, name)
    except UnidentifiedImageError as error:
        unknown = f"{name}: not an image format this package reads; convert it to {formats.NAMES}"
        raise _Damaged(unknown, Code.UNKNOWN_FORMAT) from error
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except DECODING_ERRORS as error:
        raise _damaged(name, error) from error
    return _load_upright(image, name, colour, size)


def _from_16_bits(image: Image.Image, deep: tuple[str, str], data: IO[bytes], name: str) -> Image.Image:
    """An image with 16 bits a channel as 8-bit gray, decoded twice: for the upper bytes, and for the lower."""
    mode, raw = deep
    if not mode:
        raise InputError(
            f"{name}: its colours have 16 bits in a form that is not supported; save it as gray", Code.UNKNOWN_PIXELS
        )
    image.load()
    orientation = image_file.orientation(image) if image.format == "PNG" else 1  # Pillow has turned a TIFF already
    data.seek(0)
    lower = image_file.open_image(data)
    lower.seek(image.tell())
    image_file.read_as(lower, raw)
    lower.load()
    gray = stretch(image_file.join_colours(image, lower, raw), name)
    if orientation != 1:
        gray.getexif()[0x0112] = orientation
    return gray


def _from_dicom(data: IO[bytes], name: str, options: _Options) -> Radiograph:
    from .dicom_in import dicom_file

    dicom = dicom_file.read(data, name, options.at_least, options.display)
    return replace(
        _checked(dicom.image, name, dicom.size), examination=dicom.examination, notes=dicom.notes, display=dicom.display
    )


def _from_heic(data: IO[bytes], name: str, options: _Options) -> Radiograph:
    """Reads a HEIC file, which libheif turns upright."""
    try:
        heic = image_file.open_heic(data, name)
        _check_size(heic.size, name)
        costs.check_heic(heic.size, len(heic.mode), name)
        array = np.asarray(heic)
    except DECODING_ERRORS as error:
        raise _damaged(name, error) from error
    image = _from_array(array, name, options.colour)
    return _checked(image, name, image.size)


READERS: dict[str, Callable[[IO[bytes], str, _Options], Radiograph]] = {
    "pillow": _from_pillow,
    "heic": _from_heic,
    "dicom": _from_dicom,
}


def _load_upright(image: Image.Image, name: str, colour: bool, size: tuple[int, int] | None = None) -> Radiograph:
    """Loads an image and turns it as its EXIF tag says; ``size`` is that of the original, before turning."""
    size = size or image.size
    try:
        image.load()
        orientation = image_file.orientation(image)
    except DECODING_ERRORS as error:
        raise _damaged(name, error) from error
    gray = image_file.to_8_bits(image, name, colour)
    return _checked(image_file.upright(gray, orientation), name, size[::-1] if orientation >= 5 else size)


def _damaged(name: str, error: Exception) -> _Damaged:
    message = " ".join(str(error).split())  # some decoders end a line
    return _Damaged(f"{name}: damaged or cut short ({message}); copy it again from where it came")


def _from_array(array: npt.NDArray[Any], name: str, colour: bool) -> Image.Image:
    if array.size == 0:
        raise InputError(f"{name}: the array is empty (shape {array.shape})", Code.EMPTY)
    if array.dtype.kind not in "uifb":
        raise InputError(f"{name}: an array of {array.dtype} holds no gray levels; give numbers", Code.UNKNOWN_PIXELS)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] in (3, 4):
        if array.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(array)).convert("RGB" if colour else "L")
        if colour:
            return stretch(array[:, :, :3], name)
        array = array[:, :, :3].astype(np.float32) @ LUMINANCE
    if array.ndim != 2:
        raise InputError(
            f"{name}: shape {array.shape} is no image; give (height, width) or (height, width, 1|3|4)",
            Code.UNKNOWN_PIXELS,
        )
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    return stretch(array, name)


def _checked(image: Image.Image, name: str, size: Size) -> Radiograph:
    _check_size(size, name)
    return Radiograph(image, name, size[0], size[1])


def _check_size(size: Size, name: str) -> None:
    if min(size) < 1:
        raise InputError(f"{name}: {size[0]} x {size[1]} pixels: holds no image; export it again", Code.TOO_SMALL)
    if size[0] * size[1] > resource_limits.PIXELS:
        raise _too_large(name)


def _too_large(name: str) -> InputError:
    return InputError(
        f"{name}: claims more than {resource_limits.PIXELS // 10**6} million pixels; "
        "no radiograph does, so it is not decoded. Reduce it first if it is real",
        Code.TOO_LARGE,
    )
