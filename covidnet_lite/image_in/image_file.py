"""Image files, opened by Pillow: which page is read, which way up it is, and all of its bits."""

from __future__ import annotations

import struct
import sys
import warnings
import zlib
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..codes import Code
from ..errors import InputError
from ..formats import HEIC, PILLOW
from . import costs, jpeg
from .to_8_bits import LINES, stretch

PHONES = ("MPO", "HEIF")  # the image comes first; a preview, a gain map and a depth map follow it
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow has it
# What Pillow's decoders raise on damaged files.
DECODING_ERRORS = (
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
_ORIENTATION, _SUBFILE, _BITS, _PHOTOMETRIC, _PLANES, _SAMPLE = 0x0112, 254, 258, 262, 284, 339  # tags of EXIF and TIFF
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEAD = 1 << 16  # bytes that hold a JPEG 2000 file's main header


def open_heic(data: IO[bytes], name: str) -> Any:
    """Opens a HEIC file without decoding it: it has a ``size``, and converts to an array of 8 or 16 bits.

    Raises:
        MissingExtraError: pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError:
        raise HEIC.missing(name) from None
    return pillow_heif.open_heif(data, convert_hdr_to_8bit=False)


def open_image(data: IO[bytes]) -> Image.Image:
    """Opens an image file without decoding it.

    Raises:
        UnidentifiedImageError: the file is of no format that Pillow is to read.
        Exception: one of ``DECODING_ERRORS``.
    """
    head = data.read(4)
    data.seek(0)
    if head in (b"II*\0", b"MM\0*"):
        _complete_tiff()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the size, which the caller checks, and about odd metadata
        return _open_jpeg(data) if head.startswith(b"\xff\xd8\xff") else Image.open(data, formats=PILLOW)


def _open_jpeg(data: IO[bytes]) -> Image.Image:
    """As :func:`PIL.Image.open` would after importing the plugins of four other formats: 5 ms of a process."""
    from PIL.JpegImagePlugin import jpeg_factory

    try:
        return jpeg_factory(data)
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        raise UnidentifiedImageError(f"not identified as a JPEG: {error}") from error


def _complete_tiff() -> None:
    """Adds to Pillow's table kinds of more than 8 bits with white as 0, which it has with black as 0 only."""
    from PIL import TiffImagePlugin

    table: Any = TiffImagePlugin.OPEN_INFO
    for (order, black, *key), modes in list(table.items()):
        if black == 1 and max(key[2]) > 8:
            table.setdefault((order, 0, *key), modes)


def choose_page(image: Image.Image, frames: int, name: str) -> None:
    """Selects the one image of a file whose other pages are its thumbnails or masks.

    Raises:
        InputError: the file holds several images.
    """
    if frames <= 1 or image.format in PHONES:
        return
    if image.format == "TIFF" and frames < costs.MAX_FRAMES:
        sizes, secondary = [], []
        for page in range(frames):
            image.seek(page)
            sizes.append(image.size)
            secondary.append(bool(int(image.tag_v2.get(_SUBFILE, 0) or 0) & 5))  # type: ignore[attr-defined]
        pages = [page for page in range(frames) if not secondary[page]] or list(range(frames))
        best = max(pages, key=lambda page: sizes[page][0] * sizes[page][1])
        if all(2 * max(sizes[p][i] for p in pages if p != best) <= sizes[best][i] for i in (0, 1) if len(pages) > 1):
            image.seek(best)
            return
    count = f"{frames - 1} or more" if frames == costs.MAX_FRAMES else frames
    raise InputError(f"{name}: holds {count} images; save the one to be read", Code.SEVERAL_PICTURES)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none that can be used."""
    try:
        costs.drop_oversized_exif(image)
        value = image.getexif().get(_ORIENTATION, 1)
    except DECODING_ERRORS:
        return 1
    return value if value in _TRANSPOSITIONS else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """An image turned upright, given its EXIF orientation."""
    return image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image


def fix_byte_order(image: Image.Image) -> None:
    """Has compressed TIFF of 32 bits read in the byte order of this machine, in which libtiff returns it.

    Pillow assumes the file's order, and would turn the image into noise.
    """
    for codec, *_, args in getattr(image, "tile", ()):
        if codec == "libtiff" and args[0] in ("F;32BF", "F;32F", "I;32BS", "I;32S", "I;16BS", "I;16S"):
            kind, bits = args[0].split(";")
            read_as(image, f"{kind};{bits[:2]}N{'F' if kind == 'F' else 'S'}")
            return


def read_as(image: Image.Image, raw: str) -> None:
    """Has an image that is not loaded yet decoded under another raw mode.

    Debian's older Pillow has plain tuples where newer ones name the parts: codec, extents, offset, arguments.
    """
    tiles: list[tuple[Any, ...]] = image.tile  # type: ignore[attr-defined]
    for at, tile in enumerate(tiles):
        args = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
        tiles[at] = tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def deep_colours(image: Image.Image, data: IO[bytes]) -> tuple[str, str] | None:
    """``(mode, raw mode)`` under which Pillow reads the lower bytes of 16-bit channels, which it normally drops.

    ``None`` for other images. Call this before the image is loaded.

    Raises:
        InputError: these channels cannot be read in full.
    """
    if image.format == "JPEG2000" and image.mode != "I;16":
        start = data.tell()
        data.seek(0)
        is_deep = jpeg.precision(data.read(_HEAD)) > 8
        data.seek(start)
        return ("", "") if is_deep else None
    tiles = getattr(image, "tile", ())
    if not tiles or image.format not in ("PNG", "TIFF"):
        return None
    args = tiles[0][3]
    raw = args if isinstance(args, str) else args[0] if args else ""
    bits = image.tag_v2.get(_BITS, ()) if image.format == "TIFF" else ()  # type: ignore[attr-defined]
    if ";16" not in str(raw) and not (len(bits) > 1 and max(bits) > 8):
        return None
    if image.mode not in ("RGB", "RGBA"):
        return ("", "") if image.mode == "CMYK" else None
    if raw == "LA;16B":
        return "RGBA", "RGBA"
    base, _, order = str(raw).partition(";16")
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}.get(order)
    planes = image.tag_v2.get(_PLANES, 1) if image.format == "TIFF" else 1  # type: ignore[attr-defined]
    return (image.mode, f"{base};16{other}") if other and planes == 1 and base != "RGBa" else ("", "")


def join_colours(high: Image.Image, low: Image.Image, raw: str) -> npt.NDArray[np.uint16]:
    """The 16-bit luminance of an image from the upper and the lower bytes of its channels."""
    gray = np.empty(high.size[::-1], np.uint16)
    for top in range(0, high.height, LINES):
        part = (0, top, high.width, min(top + LINES, high.height))
        upper, lower = (np.asarray(image.crop(part)).astype(np.uint16) for image in (high, low))
        if raw == "RGBA":  # gray and alpha, read as four bytes
            gray[top : top + LINES] = lower[..., 0] << 8 | lower[..., 1]
        else:
            gray[top : top + LINES] = np.rint((upper << 8 | lower)[..., :3].astype(np.float32) @ LUMINANCE)
    return gray


def to_8_bits(image: Image.Image, name: str, colour: bool = False) -> Image.Image:
    """A loaded image of any mode as 8-bit gray, or with its colours; more than 8 bits of gray are stretched.

    Raises:
        InputError: Pillow cannot convert it.
    """
    tags = getattr(image, "tag_v2", {})
    signed = tags.get(_SAMPLE, (1,))[:1] == (2,)
    if image.mode == "L" and not (signed and tags.get(_BITS) == (8,)):
        return image
    if image.mode.startswith("I") or image.mode in ("F", "L"):
        array = np.asarray(image)
        if image.mode == "L":
            array = array.view(np.int8)
        elif image.mode == "I" and tags.get(_BITS) == (32,) and not signed:
            array = array.view(np.uint32)  # Pillow has no mode for it
        gray = stretch(array, name)
        return gray.point(range(255, -1, -1)) if tags.get(_PHOTOMETRIC) == 0 else gray
    try:
        if colour and image.mode not in ("1", "LA", "La"):
            return image.convert("RGB")
        return image.convert("RGB").convert("L") if image.mode in ("CMYK", "LAB", "HSV") else image.convert("L")
    except DECODING_ERRORS as error:
        raise InputError(
            f"{name}: cannot be converted to gray ({str(error) or type(error).__name__}); save it as a gray PNG",
            Code.UNKNOWN_PIXELS,
        ) from error
