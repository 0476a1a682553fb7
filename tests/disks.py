"""A disk that takes nothing, for tests that do not run as root."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHANGES = ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "unlink", "utime")  # of the os module
FULL, READ_ONLY, BROKEN = errno.ENOSPC, errno.EROFS, errno.EIO


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, number: int, changes: tuple[str, ...] = CHANGES, below: Path | None = None
) -> Iterator[list[str]]:
    """Has changes of the disk fail with an error number, ``below`` a folder alone where one is named; which ones did."""
    failed: list[str] = []

    def refuse(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def change(where: object, *args: object, **more: object) -> object:
            path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else str(where)
            if below and not Path(path).is_relative_to(below):
                return real(where, *args, **more)
            failed.append(name)
            raise OSError(number, os.strerror(number), path)

        return change

    with monkeypatch.context() as patch:
        for name in changes:
            patch.setattr(os, name, refuse(name, getattr(os, name)))
        yield failed
