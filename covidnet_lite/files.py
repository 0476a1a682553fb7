"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    from PIL import Image


def write(path: str | Path, data: bytes | str) -> Path:
    """Writes under a temporary name in the same folder, then renames.

    Raises:
        OutputError: the folder is missing or read-only, or the disk is full;
            what stood at ``path`` is untouched.
    """
    path = Path(path)
    data = data.encode("utf-8", "replace") if isinstance(data, str) else data
    temporary = path.parent / f".covidnet-lite-{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave an empty file under the final name
        os.replace(temporary, path)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written ({why}); choose another folder") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()  # still there only if something went wrong, an interrupt included
    return path


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
