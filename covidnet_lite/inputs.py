"""The paths on the command line -> the radiographs there, and the relative path of each."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import IO, TYPE_CHECKING

from . import formats
from .codes import Code
from .errors import InputError

if TYPE_CHECKING:
    from .archive import Member


def find(paths: Sequence[str]) -> Iterator[str | IO[bytes] | Member]:
    """Yields files as they are, the contents of folders and zip archives, and standard input for ``-``.

    Raises:
        InputError: a folder holds no radiograph, or part of it cannot be searched.
    """
    from . import archive
    from .output import OURS

    def unreadable(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be searched ({error.strerror}); grant access or name the files", Code.NOT_OPENED
        )

    for path in paths:
        if path == "-":
            stream = _standard_input()
            zipped = stream.read(4) in archive.HEADS
            stream.seek(0)
            yield from archive.members(stream.read(), "<stdin>") if zipped else [stream]
        elif os.path.isdir(path):
            files = [os.path.join(folder, n) for folder, _, names in os.walk(path, onerror=unreadable) for n in names]
            radiographs = sorted(f for f in files if not f.endswith(OURS) and (_is_zip(f) or formats.is_radiograph(f)))
            if not radiographs:
                raise InputError(
                    f"{path}: holds no radiograph ({', '.join(sorted(formats.SUFFIXES))}, DICOM without a suffix)",
                    Code.NO_PICTURE,
                )
            for file in radiographs:
                yield from archive.members(file) if _is_zip(file) else [file]
        elif archive.is_archive(path):
            yield from archive.members(path)
        else:
            yield path


def relative_paths(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Where each of ``names`` lies below the folder that all of ``paths`` lie in; an archive counts as a folder.

    ``ward/A/IM1`` lies at ``A/IM1`` in ``ward``; ``A/IM1`` and ``B/IM1``, named one by one, lie at just that.
    No path leads out of the folder, whatever an archive calls its members.
    """
    roots = [os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path)) for path in paths if path != "-"]
    try:
        base = os.path.commonpath(roots)
    except ValueError:  # standard input alone, or several disks
        return [os.path.basename(name) for name in names]
    return [_relative_to(base, name) for name in names]


def _relative_to(base: str, name: str) -> str:
    relative = os.path.relpath(os.path.abspath(name), base)
    return os.path.basename(name) if ".." in PurePath(relative).parts else relative


def _is_zip(path: str) -> bool:
    from . import archive

    name = os.path.basename(path)
    return name.lower().endswith(archive.SUFFIX) and not name.startswith(formats.APPLE) and archive.is_archive(path)


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise InputError("<stdin>: is closed; give a file instead of -", Code.NOT_OPENED)
    data = io.BytesIO(sys.stdin.buffer.read())
    data.name = "<stdin>"
    return data
