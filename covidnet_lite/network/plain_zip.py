"""Entries of a zip archive without compression, so that none takes more memory than the file itself."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Container

# What zipfile and numpy raise about bytes that are not theirs; NotImplementedError is a RuntimeError.
ZIP_ERRORS = (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, KeyError, RuntimeError, OverflowError)


def read(archive: zipfile.ZipFile, names: Container[str] | None = None) -> dict[str, bytes]:
    """Name -> bytes of the entries with these names, or of all.

    Raises:
        ValueError: one is packed, or claims to be longer than it is; none has been read then.
        One of ``ZIP_ERRORS``: one is damaged.
    """
    entries = [info for info in archive.infolist() if names is None or info.filename in names]
    for info in entries:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{info.filename} is packed, or claims to be longer than it is")
    return {info.filename: archive.read(info) for info in entries}
