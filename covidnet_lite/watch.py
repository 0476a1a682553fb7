"""A folder in which radiographs arrive as files -> a result beside each, as JSON.

The folder is looked at every second or so. Polling, and not inotify: it needs nothing, and it sees what another
machine writes to a network share, of which the kernel here hears nothing.

A result says which file it is of (size and time of change) and which network gave it, so that a second start does only
what is new or changed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import files
from .cases import SUFFIXES
from .errors import InputError, OutputError
from .report import EVIDENCE, printable

if TYPE_CHECKING:
    from .classifier import Classifier
    from .prediction import Failure, Prediction

RESULT = ".json"  # added to the name of a radiograph
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stamp:
    """Which state of a file: ``size`` in bytes, time of change in nanoseconds."""

    size: int
    changed_ns: int


@dataclass(frozen=True)
class Folder:
    """What is watched, and where results go.

    Attributes:
        root: searched with all folders in it.
        out: where results go, in the same folders as below ``root``; ``root`` itself for beside the radiographs.
        settle: seconds for which a file must not have changed to be taken for whole.
        heatmap: also write each radiograph with its evidence map.
    """

    root: Path
    out: Path
    settle: float = 2.0
    heatmap: bool = False

    def radiographs(self) -> Iterator[tuple[str, Stamp]]:
        """``path below root, stamp`` of all that looks like one; hidden files and folders are left alone.

        Raises:
            InputError: the folder itself cannot be looked at.
        """
        if not os.path.isdir(self.root):
            raise InputError(f"{self.root}: no such folder; make it, or mount what it is on")
        for folder, below, names in os.walk(self.root):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name.endswith(EVIDENCE) or Path(name).suffix.lower() not in SUFFIXES:
                    continue
                path = os.path.join(folder, name)
                stamp = stamp_of(path)
                if stamp:
                    yield os.path.relpath(path, self.root), stamp

    def result(self, name: str) -> Path:
        """Where the result of ``name``, a path below ``root``, is kept."""
        return self.out / (name + RESULT)

    def results(self) -> list[Path]:
        """All results there are, the oldest first."""
        found = [path for path in self.out.rglob("*" + RESULT) if Path(path.stem).suffix.lower() in SUFFIXES]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path))


def stamp_of(path: str | Path) -> Stamp | None:
    """The state of a file; ``None`` where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return Stamp(stat.st_size, stat.st_mtime_ns)


def load(path: Path) -> dict[str, Any] | None:
    """A result; ``None`` where there is none, or another program's file."""
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and isinstance(kept.get("file"), dict) else None


def is_of(kept: dict[str, Any] | None, stamp: Stamp, sha256: str) -> bool:
    """Whether a result is of this state of the file, by this network."""
    return kept is not None and kept.get("network") == sha256 and kept["file"] == _plain(stamp)


def _plain(stamp: Stamp) -> dict[str, int]:
    return {"size": stamp.size, "changed_ns": stamp.changed_ns}


class Settled:
    """Tells files that are still being written from whole ones, by looking again; clocks of others play no part."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[str, tuple[Stamp, float]] = {}

    def whole(self, found: dict[str, Stamp], now: float) -> list[str]:
        """Of what was found, what has not changed for long enough; the rest is remembered. ``now`` in seconds."""
        seen = self._seen
        # Only what is still there: a folder that is emptied day by day must not fill the memory.
        self._seen = {
            name: seen[name] if name in seen and seen[name][0] == stamp else (stamp, now)
            for name, stamp in found.items()
        }
        return [name for name, (_, since) in self._seen.items() if now - since >= self._seconds]


class Watch:
    """Classifies what arrives in a folder, once each."""

    def __init__(self, folder: Folder, classifier: Classifier, say: Say, deliver: Callable[[Path], None] | None = None):
        """``deliver`` is given the path of each result written, to be sent on; ``None`` where none is to be."""
        self._folder, self._classifier, self._say, self._deliver = folder, classifier, say, deliver
        self._settled = Settled(folder.settle)
        self._done: dict[str, Stamp] = {}

    def look(self, now: float) -> tuple[int, int]:
        """Once: classifies what is new and whole. How many that were, and how many are still being written.

        Raises:
            InputError: the folder is not there.
            OutputError: a result cannot be written; its radiograph stays to be done.
        """
        found = dict(self._folder.radiographs())
        self._done = {name: stamp for name, stamp in self._done.items() if found.get(name) == stamp}
        new = {
            name: stamp
            for name, stamp in found.items()
            if name not in self._done and not self._is_answered(name, stamp)
        }
        whole = self._settled.whole(new, now)
        paths = [os.path.join(self._folder.root, name) for name in whole]
        count = 0
        for name, path, result in zip(whole, paths, self._classifier.classify_many(paths)):
            if stamp_of(path) == new[name]:  # else it was changed, or taken away, meanwhile
                self._keep(name, new[name], result)
                count += 1
        return count, len(new) - count

    def _is_answered(self, name: str, stamp: Stamp) -> bool:
        answered = is_of(load(self._folder.result(name)), stamp, self._classifier.model.sha256)
        if answered:
            self._done[name] = stamp  # not opened again at each look
        return answered

    def _keep(self, name: str, stamp: Stamp, result: Prediction | Failure) -> None:
        kept = {
            **result.to_dict(),
            "name": name,
            "reason": None if result.reason is None else result.reason.replace(str(self._folder.root), ".."),
            "file": _plain(stamp),
            "network": self._classifier.model.sha256,
        }
        if self._deliver:
            kept["delivered"] = False
        path = self._folder.result(name)
        if self._folder.heatmap and getattr(result, "evidence", None) is not None:
            files.write_png(path.with_name(Path(name).name + EVIDENCE), result.heatmap())  # type: ignore[union-attr]
        files.write(path, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")
        self._done[name] = stamp
        self._say(f"{printable(name)}: {result.status}" + (f", resembles {result.label}" if result.label else ""))
        if self._deliver:
            self._deliver(path)


def run(watch: Watch, say: Say, stop: threading.Event, interval: float = 1.0, once: bool = False) -> bool:
    """Looks until told to stop; or ``once``, until all that is there is done. Whether all went well.

    A folder that is away (a share, a stick) and results that cannot be written are told once, and tried again.
    """
    trouble = ""
    while not stop.is_set():
        try:
            _, waiting = watch.look(time.monotonic())
        except (InputError, OutputError) as error:
            if str(error) != trouble:
                trouble = str(error)
                say(trouble)
            if once:
                return False
        else:
            trouble = ""
            if once and not waiting:
                return True
        stop.wait(interval)
    return not once
