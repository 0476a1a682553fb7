"""The memory that a JPEG 2000 decoder takes besides the samples: for tiles, precincts and code blocks.

OpenJPEG allocates a structure for each of them, and a head of some hundred bytes may declare a hundred million.
"""

from __future__ import annotations

import struct

from . import jpeg

TILE, PRECINCT, BLOCK = 8000, 400, 300  # bytes of OpenJPEG's structures, for each component of the second and third


def overhead(data: bytes) -> int:
    """Bytes, from the main header of a codestream or JP2 file; 0 where there is none, which the decoder will report.

    ITU-T T.800, A.5.1 (SIZ), A.6.1 (COD) and A.6.2 (COC).
    """
    try:
        at = jpeg.codestream(data)
        if not data.startswith(jpeg.JPEG_2000, at):
            return 0
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        tile_width, tile_height = struct.unpack_from(">2I", data, at + 24)
        (components,) = struct.unpack_from(">H", data, at + 40)
        pixels = max(right - left, 0) * max(bottom - top, 0)
        tiles = -(-(right - left) // max(tile_width, 1)) * -(-(bottom - top) // max(tile_height, 1))
        block, precincts = 1 << 30, [1 << 30]  # pixels of a code block and of a precinct
        at += 2
        while data[at : at + 2] not in (b"\xff\x90", b"\xff\x93", b"\xff\xd9", b""):  # the first tile
            marker, length = struct.unpack_from(">HH", data, at)
            if marker in (0xFF52, 0xFF53):
                coding = at + (9 if marker == 0xFF52 else 6 if components < 257 else 7)
                style = data[at + 4] if marker == 0xFF52 else data[coding - 1]
                levels, log_width, log_height = data[coding], data[coding + 1] & 15, data[coding + 2] & 15
                block = min(block, 1 << (log_width + log_height + 4))
                if style & 1:
                    precincts += [1 << ((size & 15) + (size >> 4)) for size in data[coding + 5 : coding + 6 + levels]]
            at += 2 + length
    except (struct.error, IndexError, ValueError):
        return 0
    samples = int(pixels * components)
    return int(TILE * tiles + samples // min(precincts) * PRECINCT + samples // min(block, *precincts) * BLOCK)
