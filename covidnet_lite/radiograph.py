"""Anything a person has -> one 8-bit gray radiograph.

A path, bytes, a binary file, a PIL image, an array or a DICOM file comes in; a
:class:`Radiograph` goes out. Training, calibration and the device all read
through here, so a pixel means the same everywhere.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from . import costs, limits
from .errors import InputError
from .examination import Examination

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any]

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
MAX_PIXELS = 100_000_000  # about twice the largest detector; a 50,000 x 50,000 header stops here
MIN_SIDE = 64  # pixels; below this there is no radiograph to read
LINES = 32  # stretched together: few enough for a processor's cache


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph, ready to be fitted to a network.

    Attributes:
        image: 8-bit gray (PIL mode ``L``), bright is dense; maybe already reduced.
        name: what the user would call it (a file name, ``<bytes>``, ``<array>``).
        width, height: pixels of the original.
        examination: what a DICOM header says was examined, else ``None``.
    """

    image: Image.Image
    name: str
    width: int
    height: int
    examination: Examination | None = None


def name_of(img: Source) -> str:
    """What to call an input in messages and results."""
    if isinstance(img, (str, os.PathLike)):
        return os.fspath(img)
    if isinstance(img, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(img, np.ndarray):
        return "<array>"
    name = getattr(img, "filename", None) or getattr(img, "name", None)
    return str(name) if name else "<image>" if isinstance(img, Image.Image) else "<file>"


def read(
    img: Source, at_least: tuple[int, int] | None = None, name: str | None = None, exact: bool = False
) -> Radiograph:
    """Reads one radiograph.

    Args:
        img: a path, the bytes of a file, a binary file, a PIL image, a DICOM
            file, or an array ``(height, width)``, ``(height, width, 1)``,
            ``(height, width, 3)`` or ``(height, width, 4)``. uint8 is taken as
            it is; wider integers and floats are stretched from their own
            darkest to their own brightest value.
        at_least: ``(width, height)`` in pixels. A larger picture is reduced by a power of two, as long as
            neither side falls below this. ``None`` leaves it as large as it is.
        name: what to call it; ``None`` for :func:`name_of`.
        exact: decode a JPEG in full before it is reduced, which takes longer and is hardly another picture.

    Raises:
        InputError: there is no readable radiograph in ``img``.
        NotAChestRadiograph: a DICOM file that says it is something else.
        MissingExtraError: a DICOM file, and pydicom is not installed.
    """
    radiograph = _read(img, at_least, name or name_of(img), exact)
    factor = reduction(radiograph.image.size, at_least)
    # All that follows costs a fraction: the search for the lungs, the crop, the look at whether there is anything.
    return replace(radiograph, image=radiograph.image.reduce(factor)) if factor > 1 else radiograph


def reduction(size: tuple[int, int], at_least: tuple[int, int] | None) -> int:
    """By how much a picture can be reduced, neither side falling below ``at_least``.

    A power of two, as libjpeg has it: so a film is the same to a network as JPEG, PNG or DICOM.
    """
    factor = min(side // least for side, least in zip(size, at_least)) if at_least else 1
    return 1 << (max(1, factor).bit_length() - 1)


def _read(img: Source, at_least: tuple[int, int] | None, name: str, exact: bool) -> Radiograph:
    if isinstance(img, np.ndarray):
        image = _from_array(img, name)
        return _checked(image, name, image.size)
    if isinstance(img, Image.Image):
        _check_size(img.size, name)
        return _upright(img, name)
    with limits.Bounded(opened(img, name)) as data:
        try:
            head = data.read(132)
            data.seek(0)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error})") from error
        if not head:
            raise InputError(f"{name}: the file is empty; copy it again from where it came")
        if head[128:132] == b"DICM":
            from . import dicom

            image, size, examined = dicom.read(data, name, at_least)  # type: ignore[arg-type]
            return replace(_checked(image, name, size), examination=examined)
        if head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08"):  # the group of the first element, in either byte order
            raise InputError(f"{name}: begins like DICOM, but without a file's head (DICM); export it as a DICOM file")
        return _decode(data, name, None if exact else at_least)  # type: ignore[arg-type]


def read_all(file: Any, name: str) -> bytes:
    """The bytes of an open binary file.

    Raises:
        InputError: it is open as text, or cannot be read.
    """
    try:
        data = file.read()
    except UnicodeDecodeError:
        data = ""
    except (OSError, ValueError) as error:  # ValueError: closed
        raise InputError(f"{name}: cannot be read ({error})") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"{name}: the file is open as text; open it with mode 'rb'")
    return bytes(data)


def opened(img: Any, name: str) -> IO[bytes]:
    """The file behind a path, bytes or a binary file, to be closed by the caller.

    Raises:
        InputError: there is none, or it is none of these.
    """
    if isinstance(img, (bytes, bytearray, memoryview)):
        return io.BytesIO(img.tobytes() if isinstance(img, memoryview) else img)
    if isinstance(img, (str, os.PathLike)):
        try:
            if not stat.S_ISREG(os.stat(img).st_mode) and not os.path.isdir(img):
                raise InputError(f"{name}: is no file but a pipe or device; send it to standard input and use -")
            return open(img, "rb")
        except FileNotFoundError:
            raise InputError(f"{name}: no such file; check the path") from None
        except IsADirectoryError:
            raise InputError(f"{name}: is a folder; give the files in it one by one") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            raise InputError(f"{name}: cannot be opened ({error})") from error
    if not hasattr(img, "read"):
        raise InputError(
            f"{name}: a {type(img).__name__} is no radiograph; give a path, bytes, "
            "a binary file, a PIL image or an array"
        )
    return io.BytesIO(read_all(img, name))


def _decode(data: IO[bytes], name: str, at_least: tuple[int, int] | None) -> Radiograph:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours, below
            image: Image.Image = Image.open(data, formats=FORMATS)
        _check_size(image.size, name)
        frames = costs.frames(image)
        if frames > 1:
            raise InputError(f"{name}: holds {frames} pictures; save the one to be read")
        size = image.size
        if at_least is not None and image.format == "JPEG":
            # libjpeg decodes at 1/2, 1/4 or 1/8 scale, luminance only, when asked before loading.
            image.draft("L", at_least[::-1] if _lies_on_its_side(image) else at_least)
        costs.check_picture(image, size, data, name)
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: not a picture this package reads; convert it to {', '.join(FORMATS)} or DICOM"
        ) from None
    except Image.DecompressionBombError:
        raise _bomb(name) from None
    except DAMAGED as error:
        raise _damaged(name, error) from error
    return _upright(image, name, size)


# What Pillow's decoders raise on damaged files.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_ORIENTATION = 0x0112  # EXIF


def _lies_on_its_side(image: Image.Image) -> bool:
    return bool(image.getexif().get(_ORIENTATION, 1) >= 5)


def _upright(image: Image.Image, name: str, size: tuple[int, int] | None = None) -> Radiograph:
    """Loads a picture, turned as its EXIF tag says; ``size`` is that of the original, before turning."""
    size = size or image.size
    try:
        image.load()
        if image.getexif().get(_ORIENTATION, 1) != 1:
            from PIL import ImageOps  # few need it, and it takes its time to load

            size = size[::-1] if _lies_on_its_side(image) else size
            image = ImageOps.exif_transpose(image)
    except DAMAGED as error:
        raise _damaged(name, error) from error
    return _checked(_to_gray(image, name), name, size)


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: damaged or cut short ({error}); copy it again from where it came")


def _to_gray(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "L":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return stretch(np.asarray(image), name)
    try:
        return image.convert("RGB").convert("L") if image.mode in ("CMYK", "LAB", "HSV") else image.convert("L")
    except DAMAGED as error:
        raise InputError(f"{name}: cannot be turned to gray ({error})") from error


def _from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    if array.size == 0:
        raise InputError(f"{name}: the array is empty (shape {array.shape})")
    if array.dtype.kind not in "uifb":
        raise InputError(f"{name}: an array of {array.dtype} holds no gray levels; give numbers")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] in (3, 4):
        if array.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(array)).convert("L")
        array = array[:, :, :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if array.ndim != 2:
        raise InputError(f"{name}: shape {array.shape} is no picture; give (height, width) or (height, width, 1|3|4)")
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    return stretch(array, name)


def stretch(array: npt.NDArray[Any], name: str) -> Image.Image:
    """``(height, width)`` of any number type -> 8-bit gray, darkest to 0 and brightest to 255.

    Raises:
        InputError: the values are not finite.
    """
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(high - low):
        raise InputError(f"{name}: holds NaN or infinite values; replace them first")
    if high == low:
        return Image.new("L", array.shape[::-1], 0)
    scale = 255.0 / (high - low)
    # Few levels: a table is faster than arithmetic.
    few = array.dtype.kind in "uib" and array.dtype.itemsize <= 2
    table = np.rint((np.arange(low, high + 1) - low) * scale).astype(np.uint8) if few else None
    gray = np.empty(array.shape, np.uint8)
    for row in range(0, len(array), LINES):
        part = array[row : row + LINES]
        if table is not None:
            gray[row : row + LINES] = table[part.astype(np.int32) - int(low)]
        else:
            gray[row : row + LINES] = np.rint((part.astype(np.float64) - low) * scale)
    return Image.fromarray(gray)


def _checked(image: Image.Image, name: str, size: tuple[int, int]) -> Radiograph:
    _check_size(size, name)
    return Radiograph(image, name, size[0], size[1])


def _check_size(size: tuple[int, int], name: str) -> None:
    if min(size) < MIN_SIDE:
        raise InputError(
            f"{name}: {size[0]} x {size[1]} pixels is too small; at least {MIN_SIDE} x {MIN_SIDE} are needed"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise _bomb(name)


def _bomb(name: str) -> InputError:
    return InputError(
        f"{name}: claims more than {MAX_PIXELS // 10**6} million pixels; "
        "no radiograph does, so it is not decoded. Reduce it first if it is real"
    )
