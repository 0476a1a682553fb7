"""A deflated DICOM file (PS3.5, A.5) as one that is not: a few bytes may inflate to gigabytes, so not by its parser."""

from __future__ import annotations

import io
import zlib
from typing import IO, BinaryIO, cast

from .. import resource_limits
from ..codes import Code
from ..errors import InputError

SYNTAX, PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"  # transfer syntaxes, of one length
BEGINNING = 132  # bytes: preamble and DICM
LENGTH = b"\x02\0\0\0UL\x04\0"  # how the first element begins, which tells the length of the others of its group
HEAD = 2048  # bytes; group 2 is hardly ever longer


def inflated(file: IO[bytes], name: str) -> IO[bytes]:
    """A DICOM file at its beginning, inflated where it is deflated.

    Raises:
        InputError: it takes too much memory.
        OSError, ValueError, ...: what pydicom and zlib raise on damaged files.
    """
    from pydicom.filereader import read_dataset

    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    if SYNTAX not in head and head.startswith(LENGTH, BEGINNING):
        end = BEGINNING + len(LENGTH) + 4 + int.from_bytes(head[BEGINNING + len(LENGTH) :][:4], "little")
        if end <= len(head):
            return file
    file.seek(BEGINNING)
    group = read_dataset(cast(BinaryIO, file), False, True, stop_when=lambda tag, *_: tag.group != 2)
    start = file.tell()
    if str(group.get("TransferSyntaxUID")) != SYNTAX.decode():
        file.seek(0)
        return file
    most = resource_limits.memory() // 3  # it is there twice for a moment
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(file.read(), most)
    if inflater.unconsumed_tail:
        raise InputError(
            f"{name}: is deflated, and larger than {most // resource_limits.MB} MB without; export it with another "
            f"transfer syntax, or allow more ({resource_limits.MEMORY})",
            Code.TOO_COSTLY,
        )
    if not inflater.eof:
        raise ValueError("its deflated part is cut short")
    file.seek(0)
    return io.BytesIO(file.read(start).replace(SYNTAX, PLAIN) + data)
