"""Results as files, with what was delivered, so that a kill or a power cut loses nothing.

A result names the state of its file (size and time of change) and the network; with MQTT, whether it was delivered.
One thread writes results and another marks them as delivered; both use this class, or one would undo the other's work.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import OutputError

SUFFIX = ".json"  # added to the name of a radiograph


@dataclass(frozen=True)
class Stamp:
    """The state of a file: ``size`` in bytes, time of change in nanoseconds."""

    size: int
    changed_ns: int


def stamp_of(path: str | Path) -> Stamp | None:
    """The state of a regular file; ``None`` where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def load(path: Path) -> dict[str, Any] | None:
    """A result; ``None`` where there is no file, or another program's."""
    if stamp_of(path) is None:  # opening a pipe would block
        return None
    try:
        result = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) and isinstance(result.get("file"), dict) else None


class ResultFiles:
    """The results of the radiographs in a folder, in the same subfolders below ``out``."""

    def __init__(self, out: Path) -> None:
        self._out, self._lock = out, threading.Lock()

    def path(self, name: str) -> Path:
        """The path of the result of ``name``, a path below the watched folder."""
        return self._out / (name + SUFFIX)

    def is_answered(self, name: str, stamp: Stamp, network: str) -> bool:
        """Whether there is a result of this state of the file by this network (SHA-256)."""
        result = load(self.path(name))
        return result is not None and result.get("network") == network and result["file"] == asdict(stamp)

    def write(
        self, name: str, fields: dict[str, Any], stamp: Stamp | None, network: str, deliver: bool, result_name: str = ""
    ) -> bool:
        """Writes a result; returns ``False`` where the same result exists already.

        Args:
            name: of the radiograph.
            fields: of the result.
            stamp: of the radiograph's file; ``None`` where the next start is to try again.
            network: SHA-256.
            deliver: whether the result is to be delivered.
            result_name: replaces ``name`` in the path of the result; empty for the same.

        Raises:
            OutputError: it cannot be written, or another program's file has its name, which stays untouched.
        """
        path = self.path(result_name or name)
        result = json.loads(_text({**fields, "name": name, "file": asdict(stamp) if stamp else {}, "network": network}))
        with self._lock:
            existing = load(path)
            if existing is None and _is_occupied(path):
                raise OutputError(f"{path}: is no result of this program; move it, or choose another folder with --out")
            if existing is not None and {**existing, "delivered": 0} == {**result, "delivered": 0}:
                return False
            _write(path, {**result, "delivered": False} if deliver else result)
        return True

    def tidy(self) -> None:
        """Removes incomplete files that a kill or a power cut left, except recent ones of other machines."""
        files.tidy(self._out, below=True)

    def undelivered(self) -> list[Path]:
        """Results still to be delivered, the oldest first."""
        waiting = []
        for path in self._out.rglob("*" + SUFFIX):
            if (load(path) or {}).get("delivered") is False:
                with suppress(OSError):  # removed meanwhile
                    waiting.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(waiting)]

    def mark_delivered(self, path: Path, data: bytes) -> bool:
        """Marks a result with these bytes as delivered; returns ``False`` where it was replaced meanwhile.

        Raises:
            OutputError: the result cannot be written.
        """
        with self._lock:
            try:
                if path.read_bytes() != data:
                    return False
            except FileNotFoundError:  # removed: there is nothing to deliver
                return True
            except OSError as error:
                raise OutputError(f"{path}: cannot be read ({error.strerror or error}); check the disk") from error
            _write(path, {**json.loads(data), "delivered": True})
        return True


def _is_occupied(path: Path) -> bool:
    stamp = stamp_of(path)
    return os.path.lexists(path) if stamp is None else stamp.size > 0


def _text(result: dict[str, Any]) -> bytes:
    return (json.dumps(result, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")  # odd file names


def _write(path: Path, result: dict[str, Any]) -> None:
    files.write(path, _text(result))
    with suppress(OutputError):  # some shares cannot; a power cut there may undo the last result
        files.sync(path.parent)
