"""The queue on disk: what has been received and what has not yet been sent, safe from kills and power cuts.

A film moves from folder to folder by renaming, and a folder is synchronised before the next step counts on it:

    received/KEY.N.dcm    acknowledged to its sender; begun N times
    outgoing/KEY/         its results, 1.dcm and 2.dcm, each removed once the PACS has it; film.json, for the log
    sent/KEY.json         the same film.json: all results are with the PACS
    failed/KEY/           film.dcm, or results, set aside; reason.txt says why

KEY is a hash of the SOP Instance UID, so the same film sent again is known again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import files
from ..errors import OutputError, QueueFullError
from .settings import Limits

T = TypeVar("T")

TEMPORARY = "."  # begins the names of what is not finished
FILM = re.compile(r"[0-9a-f]+\.[0-9]{1,9}\.dcm")  # what else somebody puts among the received films is left alone


@dataclass(frozen=True)
class Film:
    """A received instance: a DICOM file, and how often work on it has begun."""

    key: str
    path: Path
    begun: int


@dataclass(frozen=True)
class Parcel:
    """The results of one film that the PACS does not have yet."""

    key: str
    folder: Path

    @property
    def objects(self) -> list[Path]:
        """What is left to send, in order."""
        return sorted(self.folder.glob("[!.]*.dcm"))

    @property
    def story(self) -> dict[str, Any]:
        """What was told of the film by :meth:`Queue.finish`."""
        return _story(self.folder / "film.json")


class Queue:
    """A bounded queue in a folder, for one process and many threads.

    Attributes:
        arrived: set when a film has been received.
        ready: set when results wait to be sent.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Opens the queue, and brings what a kill has left half done to a clean state.

        Raises:
            OutputError: the folder cannot be used, or another node has it.
        """
        self.folder, self._limits = folder, limits
        self._received, self._outgoing, self._sent, self._failed = (
            folder / name for name in ("received", "outgoing", "sent", "failed")
        )
        _on_disk(folder, lambda: folder.mkdir(0o700, parents=True, exist_ok=True))  # patients are in there
        for part in (self._received, self._outgoing, self._sent, self._failed):
            files.check_folder(part)
        self._adding = threading.Lock()
        self.arrived, self.ready = threading.Event(), threading.Event()
        taken = f"{folder}: another node works on this queue; stop it, or name another"
        self._claim = _on_disk(folder, lambda: files.claim(folder, taken))
        _on_disk(folder, self._recover)

    def close(self) -> None:
        """Lets another process have the queue."""
        self._claim.release()

    def add(self, uid: str, data: bytes) -> bool:
        """Takes a film in; when this returns, no power cut can lose it.

        Args:
            uid: its SOP Instance UID.
            data: it, as a DICOM file.

        Returns:
            False if the film is here already, or its results have been sent.

        Raises:
            QueueFullError: there is no room, in numbers or on the disk.
            OutputError: it cannot be written.
        """
        key = _key(uid)
        with self._adding:
            if self._known(key):
                return False
            waiting = _on_disk(self.folder, lambda: len(_names(self._received)) + len(_names(self._outgoing)))
            if waiting >= self._limits.films:
                raise QueueFullError(f"{self.folder}: is full ({waiting} films); see why the PACS takes no results")
            free = (_on_disk(self.folder, lambda: shutil.disk_usage(self.folder)).free - len(data)) / 1e6
            if free < self._limits.free_mb:
                raise QueueFullError(f"{self.folder}: its disk would have {free:.0f} MB left; make room on it")
            files.write(self._received / f"{key}.0.dcm", data)
            files.sync(self._received)
        self.arrived.set()
        return True

    def next(self) -> Film | None:
        """The film that has waited longest."""
        names = [name for name in _names(self._received) if FILM.fullmatch(name)]
        if not names:
            return None
        path = min((self._received / name for name in names), key=_age)
        key, begun, _ = path.name.split(".")
        return Film(key, path, int(begun))

    def begin(self, film: Film) -> Film:
        """Notes that work on a film begins, so that one that kills the process is known by it."""
        return self._renumbered(film, film.begun + 1)

    def put_back(self, film: Film) -> Film:
        """Notes that work on a film ended without fault of its own."""
        return self._renumbered(film, film.begun - 1)

    def finish(self, film: Film, story: dict[str, Any], results: Sequence[bytes]) -> None:
        """Puts the results of a film in its place, all of them or none.

        Args:
            film: from :meth:`next`.
            story: what is to be told of it, as JSON has it.
            results: DICOM files; without any, the film is done.

        Raises:
            OutputError: they cannot be written; the film is still there.
        """
        unfinished, folder = self._outgoing / f"{TEMPORARY}{film.key}", self._outgoing / film.key

        def put() -> None:
            shutil.rmtree(unfinished, ignore_errors=True)
            contents = {unfinished / f"{i}.dcm": data for i, data in enumerate(results, 1)}
            files.write_all({**contents, unfinished / "film.json": json.dumps(story)})
            files.sync(unfinished)
            os.rename(unfinished, folder)
            files.sync(self._outgoing)
            film.path.unlink()
            files.sync(self._received)

        _on_disk(folder, put)
        self.ready.set()

    def set_aside(self, film: Film, reason: str) -> None:
        """Takes a film that cannot be worked on out of the way."""
        folder = self._failed / film.key

        def move() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            files.write(folder / "reason.txt", reason + "\n")
            os.replace(film.path, folder / "film.dcm")
            for changed in (folder, self._failed, self._received):
                files.sync(changed)
            self._trim()

        _on_disk(folder, move)

    def parcels(self) -> list[Parcel]:
        """What waits to be sent, the oldest first."""
        folders = sorted((self._outgoing / name for name in _names(self._outgoing)), key=_age)
        return [Parcel(folder.name, folder) for folder in folders]

    def mark_sent(self, path: Path) -> None:
        """Notes, durably, that the PACS has one of :attr:`Parcel.objects`."""
        _on_disk(path, path.unlink)
        files.sync(path.parent)

    def close_parcel(self, parcel: Parcel) -> None:
        """Notes, durably, that the PACS has all results of a film."""

        def move() -> None:
            os.replace(parcel.folder / "film.json", self._sent / f"{parcel.key}.json")
            files.sync(self._sent)
            shutil.rmtree(parcel.folder)
            files.sync(self._outgoing)

        _on_disk(parcel.folder, move)

    def reject(self, parcel: Parcel, reason: str) -> None:
        """Takes results that the PACS will never take out of the way."""
        folder = self._failed / parcel.key

        def move() -> None:
            files.write(parcel.folder / "reason.txt", reason + "\n")
            files.sync(parcel.folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(parcel.folder, folder)
            for changed in (self._failed, self._outgoing):
                files.sync(changed)
            self._trim()

        _on_disk(folder, move)

    def forget(self) -> None:
        """Removes the memory of films sent long ago."""
        oldest = time.time() - self._limits.remember_days * 86400
        for path in list(self._sent.glob("*.json")):
            if _age(path)[0] < oldest * 1e9:
                _on_disk(path, path.unlink)

    @property
    def counts(self) -> dict[str, int]:
        """How many films are where."""
        parts = {"received": self._received, "outgoing": self._outgoing, "sent": self._sent, "failed": self._failed}
        return {name: len(_names(part)) for name, part in parts.items()}

    def _known(self, key: str) -> bool:
        """Looks in the order in which films move, so that none slips past."""
        return any(name.startswith(f"{key}.") for name in _names(self._received)) or self._done(key)

    def _done(self, key: str) -> bool:
        return (self._outgoing / key).exists() or (self._sent / f"{key}.json").exists()

    def _renumbered(self, film: Film, begun: int) -> Film:
        path = film.path.with_name(f"{film.key}.{begun}.dcm")
        with self._adding:  # whoever lists the folder meanwhile may see neither name
            _on_disk(film.path, lambda: os.rename(film.path, path))
        return Film(film.key, path, begun)

    def _recover(self) -> None:
        for part in (self._received, self._outgoing, self._sent, self._failed):
            for name in os.listdir(part):
                if name.startswith(TEMPORARY):
                    _remove(part / name)
        for name in _names(self._received):
            if self._done(name.split(".")[0]):  # killed after its results were put in its place
                (self._received / name).unlink()
        for parcel in self.parcels():
            if not (parcel.folder / "film.json").exists():  # killed after it was all sent
                shutil.rmtree(parcel.folder)
        # What a killed process has renamed may not be on the disk yet, though it is seen.
        for part in (self._received, self._outgoing, self._sent, self._failed, self.folder):
            files.sync(part)

    def _trim(self) -> None:
        folders = sorted((self._failed / name for name in _names(self._failed)), key=_age)
        for folder in folders[: max(0, len(folders) - self._limits.failed)]:
            shutil.rmtree(folder)


def identifier(uid: str, key: str = "") -> str:
    """A UID as the log has it: what is none might be a name, and the film's key stands for it."""
    return uid if re.fullmatch(r"[0-9.]{1,64}", uid) else key or _key(uid)


def _key(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def _names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(TEMPORARY)]


def _age(path: Path) -> tuple[int, str]:
    """When it was made, and its name; what has just gone is the youngest."""
    try:
        return path.stat().st_mtime_ns, path.name
    except FileNotFoundError:
        return 1 << 63, path.name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _story(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):  # only told, never needed
        return {}


def _on_disk(path: Path, action: Callable[[], T]) -> T:
    try:
        return action()
    except OSError as error:
        raise OutputError(f"{path}: cannot be changed ({error.strerror or error}); check disk and owner") from error
