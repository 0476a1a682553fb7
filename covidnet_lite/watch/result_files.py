"""Results as files: what was answered, and what of it was delivered, so that a kill or a power cut loses nothing.

A result says which file it is of (size and time of change) and which network gave it; with MQTT, whether it was
delivered. One thread answers and another delivers: both change results through here, or one would undo the other.
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
    """Which state of a file: ``size`` in bytes, time of change in nanoseconds."""

    size: int
    changed_ns: int


def stamp_of(path: str | Path) -> Stamp | None:
    """The state of a file; ``None`` where there is none: pipes and devices are no files."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def load(path: Path) -> dict[str, Any] | None:
    """A result; ``None`` where there is none, or another program's file."""
    if stamp_of(path) is None:  # to open a pipe would block
        return None
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return kept if isinstance(kept, dict) and isinstance(kept.get("file"), dict) else None


class ResultFiles:
    """The results of what is in a folder, in the same folders below ``out``."""

    def __init__(self, out: Path) -> None:
        self._out, self._lock = out, threading.Lock()

    def path(self, name: str) -> Path:
        """Where the result of ``name``, a path below the watched folder, is kept."""
        return self._out / (name + SUFFIX)

    def is_answered(self, name: str, stamp: Stamp, network: str) -> bool:
        """Whether there is a result of this state of the file by this network (SHA-256)."""
        kept = load(self.path(name))
        return kept is not None and kept.get("network") == network and kept["file"] == asdict(stamp)

    def keep(
        self, name: str, told: dict[str, Any], stamp: Stamp | None, network: str, deliver: bool, place: str = ""
    ) -> bool:
        """Writes a result; ``False`` where the very same is there already.

        Args:
            name: what it is the result of.
            stamp: ``None`` where the file could not be looked at: the next start tries again.
            deliver: whether it is to be delivered.
            place: the name under which it is kept, if another.

        Raises:
            OutputError: it cannot be written, or another program's file bears its name, which is left as it is.
        """
        path = self.path(place or name)
        kept = json.loads(_text({**told, "name": name, "file": asdict(stamp) if stamp else {}, "network": network}))
        with self._lock:
            there = load(path)
            if there is None and _holds_something(path):
                raise OutputError(f"{path}: is no result of this program; move it, or choose another folder with --out")
            if there is not None and {**there, "delivered": 0} == {**kept, "delivered": 0}:
                return False
            _write(path, {**kept, "delivered": False} if deliver else kept)
        return True

    def tidy(self) -> None:
        """Removes halves of files that a kill or a power cut left; of others that write here too, nothing recent."""
        files.tidy(self._out, below=True)

    def undelivered(self) -> list[Path]:
        """Results still to be delivered, the oldest first."""
        found = []
        for path in self._out.rglob("*" + SUFFIX):
            if (load(path) or {}).get("delivered") is False:
                with suppress(OSError):  # taken away meanwhile
                    found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def mark(self, path: Path, sent: bytes) -> bool:
        """Remembers that these bytes of a result were delivered; ``False`` where it is another by now.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock:
            try:
                if path.read_bytes() != sent:
                    return False
            except FileNotFoundError:  # taken away: nothing is left to be delivered
                return True
            except OSError as error:
                raise OutputError(f"{path}: cannot be read ({error.strerror or error}); check the disk") from error
            _write(path, {**json.loads(sent), "delivered": True})
        return True


def _holds_something(path: Path) -> bool:
    stamp = stamp_of(path)
    return os.path.lexists(path) if stamp is None else stamp.size > 0


def _text(kept: dict[str, Any]) -> bytes:
    return (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")  # odd file names


def _write(path: Path, kept: dict[str, Any]) -> None:
    files.write(path, _text(kept))
    with suppress(OutputError):  # some shares cannot; a power cut there may undo what was told last
        files.sync(path.parent)
