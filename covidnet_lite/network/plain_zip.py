"""Entries of a zip archive that packs nothing, so that none takes more memory than the file itself."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Container

# What zipfile and numpy raise about bytes that are not theirs; NotImplementedError is a RuntimeError.
ZIP_ERRORS = (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, KeyError, RuntimeError, OverflowError)


def read(archive: zipfile.ZipFile, wanted: Container[str] | None = None) -> dict[str, bytes]:
    """Name -> bytes of the wanted entries, or of all.

    Raises:
        ValueError: one is packed, or claims to be longer than it is; none has been read then.
        One of ``ZIP_ERRORS``: one is damaged.
    """
    found = [info for info in archive.infolist() if wanted is None or info.filename in wanted]
    for info in found:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{info.filename} is packed, or claims to be longer than it is")
    return {info.filename: archive.read(info) for info in found}
