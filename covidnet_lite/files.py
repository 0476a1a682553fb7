"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import stat
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .errors import MissingExtraError, OutputError

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from PIL import Image

TEMPORARY = ".covidnet-lite-"  # starts the name of a file that is not complete yet
LOCK = ".covidnet-lite.lock"  # in a folder that one process has for itself
LEFTOVER = 3600.0  # seconds after which an incomplete file is removed, whichever process wrote it
OWN_FILE, OWN_FOLDER = 0o600, 0o700  # rights for the user alone


def write(path: str | Path, data: bytes | str, mode: int = 0o666) -> Path:
    """Writes under a temporary name in the same folder, then renames; ``mode`` are rights, less the umask.

    Raises:
        OutputError: the folder is missing or read-only, or the disk is full;
            what stood at ``path`` is untouched.
    """
    path = Path(path)
    write_all({path: data}, mode)
    return path


def write_all(contents: Mapping[Path, bytes | str], mode: int = 0o666) -> None:
    """Writes several files under temporary names and renames them only when all are written.

    Raises:
        OutputError: one cannot be written; what stood under the names is untouched.
    """
    temporary = {path: path.parent / _temporary() for path in contents}
    path = Path()
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary[path], "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                file.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())  # a power cut must not leave an empty file under the final name
        for path in contents:
            os.replace(temporary[path], path)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise _not_written(path, error, "folder") from error
    finally:
        for leftover in temporary.values():
            with contextlib.suppress(OSError, ValueError):
                leftover.unlink()  # still there only if something went wrong, an interrupt included


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[IO[str]]:
    """A text file that is written bit by bit under a temporary name, and renamed when it is complete.

    Raises:
        OutputError: as for :func:`write`.
    """
    path = Path(path)
    temporary = path.parent / _temporary()
    try:
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        raise _not_written(path, error, "file") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()


def _not_written(path: str | Path, error: Exception, place: str) -> OutputError:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    room = "make room on its disk, or " if full else ""
    cause = getattr(error, "strerror", None) or error
    return OutputError(f"{path}: cannot be written ({cause}); {room}choose another {place}")


def own(variable: str, folder: str) -> Path:
    """This user's folder for covidnet-lite: in the one that an environment variable names, or in ``folder`` at home."""
    home = os.path.expanduser("~")
    base = os.environ.get(variable) or os.path.join(home if os.path.isabs(home) else os.sep, folder)
    return Path(base) / "covidnet-lite"


def _temporary() -> str:
    """A name with the machine and the process that write under it."""
    return f"{TEMPORARY}{_machine()}-{os.getpid()}-{os.urandom(8).hex()}"


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def tidy(folder: str | Path, below: bool = False) -> None:
    """Removes incomplete files that a kill or a power cut left in a folder, and ``below`` it.

    Removes those of processes of this machine that have ended; and those of other machines, which may write here too,
    when they are older than an hour. A file of a process that lives stays, however the clock has been set meanwhile.
    """
    pattern = f"{TEMPORARY}*"
    for path in Path(folder).rglob(pattern) if below else Path(folder).glob(pattern):
        with contextlib.suppress(OSError):
            lives = _lives(path.name)
            if lives is False or (lives is None and time.time() - path.stat().st_mtime > LEFTOVER):
                path.unlink()


def _lives(name: str) -> bool | None:
    """Whether another process of this machine lives that writes under a name; ``None`` where it is none such.

    Of our own number there may have been one before us: in a container, all have the same.
    """
    machine, _, process = name.removeprefix(TEMPORARY).partition("-")
    number = process.partition("-")[0]
    if os.name != "posix" or machine != _machine() or not (number.isascii() and number.isdigit()):
        return None
    if int(number) == os.getpid():
        return None
    try:
        os.kill(int(number), 0)  # asks; no signal is sent
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    except (OSError, OverflowError):
        return None
    return True


def make_private(path: str | Path) -> None:
    """Takes away other users' rights to our file, or to our folder and the files in it.

    Raises:
        OutputError: the rights cannot be changed: another user owns it.
    """
    path = Path(path)
    try:
        for entry in (path, *(path.iterdir() if path.is_dir() else ())):
            mode = (entry.stat() if entry == path else entry.lstat()).st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                entry.chmod(stat.S_IMODE(mode) & OWN_FOLDER)
    except OSError as error:
        raise OutputError(
            f"{path}: other users may read it, and its permissions cannot be changed ({error.strerror or error}); "
            "choose another"
        ) from error


def sync(folder: str | Path) -> None:
    """Makes renames and removals within a folder outlast a power cut.

    Raises:
        OutputError: the folder is gone, or the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written through to the disk ({error.strerror or error}); check the disk"
        ) from error


def write_png(path: str | Path, image: Image.Image, mode: int = 0o666) -> Path:
    """A PIL image, written as :func:`write` does.

    Raises:
        OutputError: as for :func:`write`.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return write(path, buffer.getvalue(), mode)


def check_folder(folder: str | Path) -> None:
    """Makes a folder, tidies it, and makes sure that files can be made in it, before long work begins.

    A full disk is no objection: work may well make room on it.

    Raises:
        OutputError: it cannot be written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _try_to_write(folder, b"")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another folder"
        ) from error
    tidy(folder)


def check_writable(folder: str | Path) -> None:
    """Makes sure that a file with something in it can be written in a folder now.

    Raises:
        OutputError: it cannot be written to, or its disk is full.
    """
    try:
        _try_to_write(folder, b"\0")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror or error}); check disk and owner"
        ) from error


def _try_to_write(folder: str | Path, data: bytes) -> None:
    import tempfile  # whose imports take two milliseconds, which a single radiograph need not wait for

    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(data)


def claim(folder: str | Path, message: str) -> BaseFileLock:
    """Locks a folder against other processes of this machine that claim it, until the lock is released.

    The lock ends with the process, however that ends; its empty file ``LOCK`` stays.

    Raises:
        OutputError: another process has it; ``message`` is the error's.
        MissingExtraError: filelock is not installed.
        OSError: it cannot be locked, as on some network shares.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise MissingExtraError("locking a folder needs the extra: pip install 'covidnet-lite[watch]'") from None
    lock = FileLock(Path(folder, LOCK), blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(message) from None
    return lock
