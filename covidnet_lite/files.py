"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import io
import os
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
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".covidnet-lite-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's are private
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
