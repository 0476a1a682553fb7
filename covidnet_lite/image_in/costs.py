"""What decoding a radiograph will take, estimated from its head before a decoder is called.

Bytes of each pixel are what was measured at the peak, over every format that is read: the decoder's own, the picture,
and what is made of it until it is gray. ``tests/image_in/test_costs.py`` measures them again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any

from .. import resource_limits
from ..codes import Code
from ..errors import InputError
from ..formats import of_pillow
from . import jpeg, jpeg2000, rle
from .reduction import Size

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataset import Dataset

# Of a loaded Pillow picture until it is gray, by mode; 4 a pixel and 1 of gray where nothing is said.
PICTURE = {"1": 2, "L": 1, "P": 2, "PA": 9, "CMYK": 9, "LAB": 9, "HSV": 9, "F": 12, "I": 12, "I;16": 6, "I;16B": 6}
OTHER = 5
DEEP = 14  # the picture twice, its luminance in 16 bits, and what is made of that
WEBP = 12  # two canvases, and a copy of one
AVIF = 6  # besides the picture
HEIC = 5  # of each byte of a pixel
SAMPLE_JPEG_2000 = 6  # of each sample besides the picture: 32 bits, twice over
COEFFICIENT = 2  # of each sample of a JPEG in several scans
HEAD = 1 << 16  # bytes, in which a JPEG nearly always says in how many scans it is
# Of each sample of a DICOM frame: decoded, copied, put in order; YBR and deep colours are converted as floats.
SAMPLE, YBR, DEEP_COLOUR = 3, 9, 13
LEVELS = 9  # of each pixel of the reduced frame: its index among the gray levels
MOST_RLE_PIXELS = 16 * 10**6  # of a run-length BMP, which Pillow decodes in Python: a tenth of a microsecond each
MOST_FRAMES = 17  # looked for in a TIFF: a picture, and up to 15 thumbnails


def check_picture(image: Image.Image, size: tuple[int, int], file: IO[bytes], name: str, deep: bool = False) -> None:
    """Refuses a picture that takes too much to decode.

    Args:
        image: opened, not loaded, perhaps to be decoded at reduced scale.
        size: ``(width, height)`` as it is in the file.
        file: it.
        name: of the radiograph.
        deep: whether it is decoded twice, for channels of 16 bits.

    Raises:
        InputError: it takes too much memory, or too long.
    """
    width, height = image.size
    needed = width * height * (DEEP if deep else PICTURE.get(image.mode, OTHER))
    form = of_pillow(image.format)
    if form:
        needed += BESIDE[form.costs](image, size, file, name)
    resource_limits.check(needed, name)
    tame(image)
    resource_limits.lift(file)


def _of_jpeg(image: Image.Image, size: Size, file: IO[bytes], name: str) -> int:
    if jpeg.is_in_one_scan(_beginning(file, HEAD)):  # as nearly always: to read all of it would take a millisecond
        return 0
    return _jpeg(_beginning(file), size[0] * size[1], name)


def _of_jpeg2000(image: Image.Image, size: Size, file: IO[bytes], name: str) -> int:
    return _jpeg2000(_beginning(file), size[0] * size[1], name)


def _of_bmp(image: Image.Image, size: Size, file: IO[bytes], name: str) -> int:
    pixels = size[0] * size[1]
    if not any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):
        return 0
    if pixels > MOST_RLE_PIXELS:
        raise InputError(
            f"{name}: is a run-length BMP of {pixels // 10**6} million pixels, which takes too long; save it as PNG",
            Code.TOO_COSTLY,
        )
    return 3 * pixels + 255 * size[0]  # one jump may be so long


# Bytes that a decoder takes beside the image: of an opened image, its size in the file, the file, and its name.
BESIDE: dict[str, Callable[[Image.Image, Size, IO[bytes], str], int]] = {
    "nothing": lambda image, size, file, name: 0,
    "jpeg": _of_jpeg,
    "tiff": lambda image, size, file, name: _strip(image),
    "bmp": _of_bmp,
    "webp": lambda image, size, file, name: WEBP * size[0] * size[1],
    "avif": lambda image, size, file, name: AVIF * size[0] * size[1],
    "jpeg 2000": _of_jpeg2000,
}


def check_heic(size: tuple[int, int], bytes_a_pixel: int, name: str) -> None:
    """Refuses a HEIC file that takes too much to decode.

    Raises:
        InputError: it takes too much memory.
    """
    resource_limits.check(size[0] * size[1] * bytes_a_pixel * HEIC, name)


def frames(image: Image.Image) -> int:
    """How many pictures a file holds, as far as ``MOST_FRAMES``; the first is then the current one."""
    if image.format != "TIFF":  # others say so in their head
        return int(getattr(image, "n_frames", 1))
    count = 1
    try:
        while count < MOST_FRAMES:
            image.seek(count)
            count += 1
    except EOFError:
        pass
    image.seek(0)
    return count


def check_frame(header: Dataset, frame: bytes, factors: Sequence[int], name: str) -> None:
    """Refuses a compressed DICOM frame that takes too much to decode.

    Args:
        header: the elements before it.
        frame: as it is stored.
        factors: by which it will be reduced, to one image each.
        name: of the radiograph.

    Raises:
        InputError: it takes too much memory, or too long.
        ValueError, struct.error: it is damaged.
    """
    from pydicom.uid import RLELossless

    samples, pixels = int(header.get("SamplesPerPixel", 1) or 1), int(header.Rows) * int(header.Columns)
    needed = check_pixels(header, factors, name) + len(frame)
    if header.file_meta.TransferSyntaxUID == RLELossless:
        rle.check(frame, pixels)
    elif frame.startswith(b"\xff\xd8"):
        needed += _jpeg(frame, pixels, name)
    else:
        needed += _jpeg2000(frame, pixels * samples, name)
    resource_limits.check(needed, name)


def check_pixels(header: Dataset, factors: Sequence[int], name: str) -> int:
    """Bytes that the pixels of a DICOM file take, whatever its transfer syntax, to be reduced by each of ``factors``.

    Raises:
        InputError: they are too many.
    """
    samples, pixels = int(header.get("SamplesPerPixel", 1) or 1), int(header.Rows) * int(header.Columns)
    stored = -(-int(header.BitsAllocated) // 8)
    each = SAMPLE * stored
    if samples > 1:
        kind = str(header.get("PhotometricInterpretation", ""))
        each = max(each, DEEP_COLOUR if stored > 1 else YBR if kind.startswith("YBR") else SAMPLE)
    needed = pixels * samples * each + sum(LEVELS * pixels // factor**2 for factor in factors)
    resource_limits.check(needed, name)
    return needed


def check_lines(header: Dataset, factors: Sequence[int], name: str) -> None:
    """Refuses an uncompressed DICOM film that is still too large when reduced by each of ``factors`` line by line.

    Raises:
        InputError: it takes too much memory.
    """
    each = LEVELS + -(-int(header.BitsAllocated) // 8)
    resource_limits.check(sum(each * int(header.Rows) * int(header.Columns) // factor**2 for factor in factors), name)


def check_fragments(data: Any, syntax: str, name: str) -> None:
    """Refuses encapsulated pixel data with more frames than the one that its header tells of.

    Raises:
        InputError: there are more.
        ValueError, struct.error: it is damaged.
    """
    from pydicom.encaps import generate_fragments, parse_basic_offsets
    from pydicom.uid import RLELossless

    items = io.BytesIO(data)
    parse_basic_offsets(items)  # the first item is no fragment
    heads = [fragment[:4] for fragment in generate_fragments(items)]
    # A frame may come in several fragments, but for RLE, which has one for each.
    count = len(heads) if syntax == RLELossless else sum(head.startswith(jpeg.HEADS) for head in heads)
    if count > 1:
        raise InputError(
            f"{name}: holds {count} frames, though its header tells of one; give a single CR or DX image",
            Code.SEVERAL_PICTURES,
        )


def _jpeg(data: bytes, pixels: int, name: str) -> int:
    """Bytes that libjpeg holds of a JPEG besides the picture."""
    passes, components = jpeg.scans(data)
    if passes * pixels > jpeg.MOST_WORK:
        raise InputError(
            f"{name}: is a JPEG of {passes} scans over {pixels // 10**6} million pixels, which takes too long to "
            "decode; save it as an ordinary one",
            Code.TOO_COSTLY,
        )
    return COEFFICIENT * components * pixels if passes > 1 else 0


def _jpeg2000(data: bytes, samples: int, name: str) -> int:
    """Bytes that OpenJPEG holds of a JPEG 2000 besides the picture."""
    return SAMPLE_JPEG_2000 * samples + jpeg2000.overhead(data)


def _strip(image: Any) -> int:
    """Bytes of the largest strip or tile of a compressed TIFF, decoded as a whole; damaged tags say nothing."""
    tags = image.tag_v2
    if tags.get(259, 1) == 1:
        return 0
    try:
        bits = sum(tags.get(258, (8,))) if tags.get(284, 1) == 1 else max(tags.get(258, (8,)))
        width, height = int(tags.get(322, image.width)), int(tags.get(323, min(tags.get(278, 1 << 32), image.height)))
        return int(2 * width * height * bits // 8)
    except (TypeError, ValueError):
        return 0


def tame(image: Image.Image) -> None:
    """Drops EXIF whose entries are together much longer than all of it: each would be copied."""
    for key in ("exif", "Raw profile type exif"):
        exif = image.info.get(key)
        if isinstance(exif, str):  # in hexadecimal, behind three lines, as Pillow reads it
            exif = bytes.fromhex("".join(exif.split("\n")[3:]))
        if isinstance(exif, bytes) and _entries(exif) > 2 * len(exif) + 4096:
            del image.info[key]


def _entries(exif: bytes) -> int:
    """Bytes of all values that the first directory points at."""
    import struct

    data = exif.removeprefix(b"Exif\0\0")
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        sizes = (struct.unpack_from(order + "HI", data, start + 4 + 12 * i) for i in range(count))
        return sum(number * {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}.get(kind, 1) for kind, number in sizes)
    except struct.error:  # it ends early: no more than that is read
        return 0


def _beginning(file: IO[bytes], length: int = -1) -> bytes:
    """So many bytes of a file, or all of it."""
    file.seek(0)
    data = file.read(length)
    file.seek(0)
    return data
