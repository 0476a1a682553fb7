"""Inflates deflated DICOM files (PS3.5, A.5) with a limit: pydicom has none, and a few bytes may become gigabytes."""

from __future__ import annotations

import io
import zlib
from typing import IO, BinaryIO, cast

from .. import resource_limits
from ..codes import Code
from ..errors import InputError

SYNTAX, PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"  # transfer syntaxes, of one length
GROUP_2 = 132  # position, after the preamble and DICM
LENGTH = b"\x02\0\0\0UL\x04\0"  # starts the first element, which holds the length of the rest of its group
HEAD = 2048  # bytes; group 2 is hardly ever longer


def inflate(file: IO[bytes], name: str) -> IO[bytes]:
    """A DICOM file at its beginning, inflated if it is deflated.

    Raises:
        InputError: inflating takes too much memory.
        OSError, ValueError, ...: what pydicom and zlib raise on damaged files.
    """
    from pydicom.filereader import read_dataset

    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    if SYNTAX not in head and head.startswith(LENGTH, GROUP_2):
        end = GROUP_2 + len(LENGTH) + 4 + int.from_bytes(head[GROUP_2 + len(LENGTH) :][:4], "little")
        if end <= len(head):
            return file
    file.seek(GROUP_2)
    group = read_dataset(cast(BinaryIO, file), False, True, stop_when=lambda tag, *_: tag.group != 2)
    start = file.tell()
    if str(group.get("TransferSyntaxUID")) != SYNTAX.decode():
        file.seek(0)
        return file
    limit = resource_limits.memory() // 3  # two copies exist for a moment
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(file.read(), limit)
    if inflater.unconsumed_tail:
        raise InputError(
            f"{name}: is deflated, and would take more than {limit // resource_limits.MB} MB inflated; export it with "
            f"another transfer syntax, or allow more ({resource_limits.MEMORY})",
            Code.TOO_COSTLY,
        )
    if not inflater.eof:
        raise ValueError("its deflated part is cut short")
    file.seek(0)
    return io.BytesIO(file.read(start).replace(SYNTAX, PLAIN) + data)
