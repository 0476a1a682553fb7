"""What stands beside the pixels of PNG and JPEG files, and may be broken or endless without harm to them."""

from __future__ import annotations

import struct
import zlib

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_WELCOME = (b"tRNS", b"eXIf")  # kept where their checksum is right
_START_OF_SCAN = 0xDA
MOST_PARTS = 100_000  # of a file; one made of more is no picture that a program wrote


def without(data: bytes) -> bytes | None:
    """The same picture without its metadata, but for how it is to be turned; ``None`` where nothing can be left out."""
    try:
        bare = _png(data) if data.startswith(PNG) else _jpeg(data) if data.startswith(JPEG) else data
    except struct.error:
        return None
    return bare if len(bare) < len(data) else None


def _png(data: bytes) -> bytes:
    kept, at = [data[:8]], 8
    for _ in range(MOST_PARTS):
        if at >= len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if kind in _PIXELS or (kind in _WELCOME and chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))):
            kept.append(chunk)
        at += 12 + length
        if kind == b"IEND":
            break
    else:
        return data
    return b"".join(kept)


def _jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    for _ in range(MOST_PARTS):
        mark, marker, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF:
            return data
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == _START_OF_SCAN:
            return b"".join((*kept, data[at:]))
        segment = data[at : at + 2 + length]
        told = 0xE1 <= marker <= 0xEF or marker == 0xFE
        # Without Adobe's segment colours would be read wrongly, and without EXIF the film may lie on its side.
        if not told or marker == 0xEE or segment[4:10] == b"Exif\0\0":
            kept.append(segment)
        at += 2 + length
    return data
