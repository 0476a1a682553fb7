"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

TEMPORARY = ".covidnet-lite-"  # how a name begins that a file has until it is whole


def write(path: str | Path, data: bytes | str) -> Path:
    """Writes under a temporary name in the same folder, then renames.

    Raises:
        OutputError: the folder is missing or read-only, or the disk is full;
            what stood at ``path`` is untouched.
    """
    path = Path(path)
    write_all({path: data})
    return path


def write_all(contents: Mapping[Path, bytes | str]) -> None:
    """Writes several files under temporary names and renames them only when all are written.

    Raises:
        OutputError: one cannot be written; what stood under the names is untouched.
    """
    temporary = {path: path.parent / f"{TEMPORARY}{secrets.token_hex(8)}" for path in contents}
    path = Path()
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary[path], "xb") as file:
                file.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())  # a power cut must not leave an empty file under the final name
        for path in contents:
            os.replace(temporary[path], path)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written ({why}); choose another folder") from error
    finally:
        for leftover in temporary.values():
            with contextlib.suppress(OSError, ValueError):
                leftover.unlink()  # still there only if something went wrong, an interrupt included


def sync(folder: str | Path) -> None:
    """Makes renames and removals within a folder outlast a power cut.

    Raises:
        OutputError: the folder is gone, or the disk fails.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made safe on disk ({error.strerror or error}); check the disk"
        ) from error


def write_png(path: str | Path, image: Image.Image) -> Path:
    """A PIL image, written as :func:`write` does.

    Raises:
        OutputError: as for :func:`write`.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return write(path, buffer.getvalue())


def check_folder(folder: str | Path) -> None:
    """Makes a folder and makes sure that it can be written to, before long work begins.

    Raises:
        OutputError: it cannot.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another folder"
        ) from error


def claim(folder: str | Path, taken: str) -> int:
    """Has a folder for this process alone, among those of this machine that ask; :func:`os.close` gives it up.

    The folder itself is locked: nothing is left behind, and the lock is gone with the process, however that ends.

    Raises:
        OutputError: another process has it, as ``taken`` says.
        OSError: it cannot be locked, as on some network shares.
    """
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        if isinstance(error, BlockingIOError):
            raise OutputError(taken) from None
        raise
    return opened
