"""The metadata in PNG and JPEG files, which may be broken or endless while the pixels are sound."""

from __future__ import annotations

import struct
import zlib

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_CHECKED = (b"tRNS", b"eXIf")  # kept if their checksum is right
_START_OF_SCAN = 0xDA
MAX_PARTS = 100_000  # of a file; no program writes an image with more


def without(data: bytes) -> bytes | None:
    """The same image without its metadata, except for its orientation; ``None`` where nothing can be left out."""
    try:
        stripped = _png(data) if data.startswith(PNG) else _jpeg(data) if data.startswith(JPEG) else data
    except struct.error:
        return None
    return stripped if len(stripped) < len(data) else None


def _png(data: bytes) -> bytes:
    chunks, at = [data[:8]], 8
    for _ in range(MAX_PARTS):
        if at >= len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if kind in _PIXELS or (kind in _CHECKED and chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))):
            chunks.append(chunk)
        at += 12 + length
        if kind == b"IEND":
            break
    else:
        return data
    return b"".join(chunks)


def _jpeg(data: bytes) -> bytes:
    segments, at = [data[:2]], 2
    for _ in range(MAX_PARTS):
        mark, marker, length = struct.unpack_from(">BBH", data, at)
        if mark != 0xFF:
            return data
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == _START_OF_SCAN:
            return b"".join((*segments, data[at:]))
        segment = data[at : at + 2 + length]
        is_metadata = 0xE1 <= marker <= 0xEF or marker == 0xFE
        # Without Adobe's segment, colours would be read wrongly; without EXIF, the radiograph may lie on its side.
        if not is_metadata or marker == 0xEE or segment[4:10] == b"Exif\0\0":
            segments.append(segment)
        at += 2 + length
    return data
