"""The memory and time that decoding a radiograph takes, estimated from the file's head before a decoder is called.

The bytes per pixel were measured at the peak, over every format that is read: the decoder's own, the image, and what
converting it to gray takes. ``tests/image_in/test_costs.py`` measures them again.
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

# Of a Pillow image until it is gray, by mode; for others, 4 a pixel and 1 of gray.
PIXEL_BYTES = {"1": 2, "L": 1, "P": 2, "PA": 9, "CMYK": 9, "LAB": 9, "HSV": 9, "F": 12, "I": 12, "I;16": 6, "I;16B": 6}
OTHER_MODE = 5
DEEP = 14  # the image twice, its luminance in 16 bits, and what is made of that
WEBP = 12  # two canvases, and a copy of one
AVIF = 6  # besides the image
HEIC = 5  # of each byte of a pixel
SAMPLE_JPEG_2000 = 6  # of each sample besides the image: 32 bits, twice over
COEFFICIENT = 2  # of each sample of a JPEG in several scans
HEAD = 1 << 16  # bytes, in which a JPEG nearly always says in how many scans it is
# Of each sample of a DICOM frame: decoded, copied, put in order; YBR and deep colours are converted as floats.
SAMPLE, YBR, DEEP_COLOUR = 3, 9, 13
LEVELS = 9  # of each pixel of the reduced frame: its index among the gray levels
MAX_RLE_PIXELS = 16 * 10**6  # of a run-length BMP, which Pillow decodes in Python: a tenth of a microsecond each
MAX_FRAMES = 17  # counted in a TIFF: an image, and up to 15 thumbnails


def check_image(image: Image.Image, size: tuple[int, int], file: IO[bytes], name: str, deep: bool = False) -> None:
    """Rejects an image file that takes too much to decode.

    Args:
        image: opened, not loaded, perhaps to be decoded at reduced scale.
        size: ``(width, height)`` in the file.
        file: the file.
        name: of the radiograph.
        deep: whether it is decoded twice, for channels of 16 bits.

    Raises:
        InputError: decoding takes too much memory, or too long.
    """
    width, height = image.size
    estimate = width * height * (DEEP if deep else PIXEL_BYTES.get(image.mode, OTHER_MODE))
    form = of_pillow(image.format)
    if form:
        estimate += DECODER_BYTES[form.costs](image, size, file, name)
    resource_limits.check(estimate, name)
    drop_oversized_exif(image)
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
    if pixels > MAX_RLE_PIXELS:
        raise InputError(
            f"{name}: is a run-length BMP of {pixels // 10**6} million pixels, which takes too long; save it as PNG",
            Code.TOO_COSTLY,
        )
    return 3 * pixels + 255 * size[0]  # one jump may be so long


# Bytes that a decoder takes beside the image, from the opened image, its size in the file, the file, and its name.
DECODER_BYTES: dict[str, Callable[[Image.Image, Size, IO[bytes], str], int]] = {
    "nothing": lambda image, size, file, name: 0,
    "jpeg": _of_jpeg,
    "tiff": lambda image, size, file, name: _strip(image),
    "bmp": _of_bmp,
    "webp": lambda image, size, file, name: WEBP * size[0] * size[1],
    "avif": lambda image, size, file, name: AVIF * size[0] * size[1],
    "jpeg 2000": _of_jpeg2000,
}


def check_heic(size: tuple[int, int], bytes_a_pixel: int, name: str) -> None:
    """Rejects a HEIC file that takes too much to decode.

    Raises:
        InputError: decoding takes too much memory.
    """
    resource_limits.check(size[0] * size[1] * bytes_a_pixel * HEIC, name)


def frames(image: Image.Image) -> int:
    """The number of images in a file, counted up to ``MAX_FRAMES``; the first is the current one afterwards."""
    if image.format != "TIFF":  # other formats have the number in their head
        return int(getattr(image, "n_frames", 1))
    count = 1
    try:
        while count < MAX_FRAMES:
            image.seek(count)
            count += 1
    except EOFError:
        pass
    image.seek(0)
    return count


def check_frame(header: Dataset, frame: bytes, factors: Sequence[int], name: str) -> None:
    """Rejects a compressed DICOM frame that takes too much to decode.

    Args:
        header: the elements before the frame.
        frame: as it is stored.
        factors: by which it will be reduced, to one image each.
        name: of the radiograph.

    Raises:
        InputError: decoding takes too much memory, or too long.
        ValueError, struct.error: the frame is damaged.
    """
    from pydicom.uid import RLELossless

    samples, pixels = int(header.get("SamplesPerPixel", 1) or 1), int(header.Rows) * int(header.Columns)
    estimate = check_pixels(header, factors, name) + len(frame)
    if header.file_meta.TransferSyntaxUID == RLELossless:
        rle.check(frame, pixels)
    elif frame.startswith(b"\xff\xd8"):
        estimate += _jpeg(frame, pixels, name)
    else:
        estimate += _jpeg2000(frame, pixels * samples, name)
    resource_limits.check(estimate, name)


def check_pixels(header: Dataset, factors: Sequence[int], name: str) -> int:
    """Bytes that the pixels of a DICOM file take, whatever its transfer syntax, to be reduced by each of ``factors``.

    Raises:
        InputError: decoding takes too much memory.
    """
    samples, pixels = int(header.get("SamplesPerPixel", 1) or 1), int(header.Rows) * int(header.Columns)
    sample_bytes = -(-int(header.BitsAllocated) // 8)
    pixel_bytes = SAMPLE * sample_bytes
    if samples > 1:
        photometric = str(header.get("PhotometricInterpretation", ""))
        pixel_bytes = max(
            pixel_bytes, DEEP_COLOUR if sample_bytes > 1 else YBR if photometric.startswith("YBR") else SAMPLE
        )
    estimate = pixels * samples * pixel_bytes + sum(LEVELS * pixels // factor**2 for factor in factors)
    resource_limits.check(estimate, name)
    return estimate


def check_lines(header: Dataset, factors: Sequence[int], name: str) -> None:
    """Rejects an uncompressed DICOM image that is still too large when reduced by each of ``factors`` line by line.

    Raises:
        InputError: reading takes too much memory.
    """
    pixel_bytes = LEVELS + -(-int(header.BitsAllocated) // 8)
    resource_limits.check(
        sum(pixel_bytes * int(header.Rows) * int(header.Columns) // factor**2 for factor in factors), name
    )


def check_fragments(data: Any, syntax: str, name: str) -> None:
    """Rejects encapsulated pixel data with more frames than the one that its header declares.

    Raises:
        InputError: there are more.
        ValueError, struct.error: the data are damaged.
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
            f"{name}: holds {count} frames, though its header declares one; give a single CR or DX image",
            Code.SEVERAL_PICTURES,
        )


def _jpeg(data: bytes, pixels: int, name: str) -> int:
    """Bytes that libjpeg holds of a JPEG besides the image."""
    passes, components = jpeg.scans(data)
    if passes * pixels > jpeg.MAX_WORK:
        raise InputError(
            f"{name}: is a JPEG of {passes} scans over {pixels // 10**6} million pixels, which takes too long to "
            "decode; save it as a baseline JPEG",
            Code.TOO_COSTLY,
        )
    return COEFFICIENT * components * pixels if passes > 1 else 0


def _jpeg2000(data: bytes, samples: int, name: str) -> int:
    """Bytes that OpenJPEG holds of a JPEG 2000 besides the image."""
    return SAMPLE_JPEG_2000 * samples + jpeg2000.overhead(data)


def _strip(image: Any) -> int:
    """Bytes of the largest strip or tile of a compressed TIFF, decoded as a whole; 0 where the tags are damaged."""
    tags = image.tag_v2
    if tags.get(259, 1) == 1:
        return 0
    try:
        bits = sum(tags.get(258, (8,))) if tags.get(284, 1) == 1 else max(tags.get(258, (8,)))
        width, height = int(tags.get(322, image.width)), int(tags.get(323, min(tags.get(278, 1 << 32), image.height)))
        return int(2 * width * height * bits // 8)
    except (TypeError, ValueError):
        return 0


def drop_oversized_exif(image: Image.Image) -> None:
    """Drops EXIF whose entries are together much longer than all of it: Pillow would copy each."""
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
    except struct.error:  # the directory ends early, and so does reading it
        return 0


def _beginning(file: IO[bytes], length: int = -1) -> bytes:
    """So many bytes of a file, or all of it."""
    file.seek(0)
    data = file.read(length)
    file.seek(0)
    return data
