"""Radiographs that wait to be classified, and the order in which they are."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from .. import files
from ..errors import OutputError, QueueFullError
from . import layout
from .layout import Folders, age, key_of, names, on_disk
from .seniority import Seniority
from .settings import Limits

T = TypeVar("T")

# What else somebody puts among them is left alone.
FILE = re.compile(r"(?P<key>[0-9a-f]+)\.(?P<begun>[0-9]{1,9})(\.(?P<priority>high|low))?\.dcm")
TURN = 5  # of so many picks, one goes to what has waited longest


class Priority(IntEnum):
    """Of a radiograph, as C-STORE has it (PS3.7, 9.3.1.1), the first first."""

    HIGH, MEDIUM, LOW = range(3)

    @classmethod
    def of_request(cls, number: Any) -> Priority:
        """The Priority element of a C-STORE request; what is none is medium."""
        return {1: cls.HIGH, 2: cls.LOW}.get(number, cls.MEDIUM)


class Turns:
    """Picks by rank, the oldest first; but every fifth pick is the oldest of all, so that none waits for ever."""

    def __init__(self) -> None:
        self._count = 0

    def pick(self, waiting: Sequence[T], rank: Callable[[T], int]) -> T:
        """One of those that wait, the oldest first, of which there has to be one."""
        self._count += 1
        return waiting[0] if self._count % TURN == 0 else min(waiting, key=rank)


@dataclass(frozen=True)
class Arrival:
    """A received instance: a DICOM file, how often work on it has begun, and its priority."""

    key: str
    path: Path
    begun: int
    priority: Priority = Priority.MEDIUM


class Inbox:
    """The folder ``received`` of a queue; several processes may add to it, one takes from it.

    Attributes:
        arrived: set when this process has added one.
    """

    def __init__(self, folders: Folders, limits: Limits) -> None:
        self._folders, self._limits = folders, limits
        self._turns, self._seniority = Turns(), Seniority()
        self.arrived = threading.Event()

    def knows(self, uid: str) -> bool:
        """Whether a radiograph is here already, or was, and needs not be sent again.

        Raises:
            OutputError: the disk fails.
        """
        with self._folders.exclusive():
            return on_disk(self._folders.root, lambda: self._folders.is_known(key_of(uid)))

    def add(self, uid: str, data: bytes, priority: Priority = Priority.MEDIUM) -> bool:
        """Takes a radiograph in; when this returns, no power cut can lose it.

        Args:
            uid: its SOP Instance UID.
            data: it, as a DICOM file.
            priority: what has a higher one is classified first.

        Returns:
            False if it is here already, or its results have been sent.

        Raises:
            QueueFullError: there is no room, in numbers or on the disk.
            OutputError: it cannot be written.
        """
        key, folder = key_of(uid), self._folders.received
        with self._folders.exclusive():
            if on_disk(self._folders.root, lambda: self._folders.is_known(key)):
                return False
            self._check_room(len(data))
            files.write(_path(folder, key, 0, priority), data)
            files.sync(folder)
        self.arrived.set()
        return True

    def next(self) -> Arrival | None:
        """The one to work on: of the highest priority the one that has waited longest, :class:`Turns` aside.

        Raises:
            OutputError: the disk fails.
        """
        folder = self._folders.received
        matches = map(FILE.fullmatch, on_disk(folder, lambda: names(folder)))
        by_key = {match["key"]: match for match in matches if match}
        order = self._seniority.order(by_key, lambda key: age(folder / by_key[key].string)[0] / 1e9)
        return _arrival(folder, self._turns.pick([by_key[key] for key in order], _priority)) if order else None

    def begin(self, arrival: Arrival) -> Arrival:
        """Notes that work on one begins, so that one that kills the process is known by it."""
        return self._renumbered(arrival, arrival.begun + 1)

    def put_back(self, arrival: Arrival) -> Arrival:
        """Notes that work on one ended without fault of its own; what is gone was finished all the same."""
        if not arrival.path.exists():
            return arrival
        return self._renumbered(arrival, arrival.begun - 1)

    def _renumbered(self, arrival: Arrival, begun: int) -> Arrival:
        path = _path(arrival.path.parent, arrival.key, begun, arrival.priority)
        with self._folders.exclusive():  # whoever lists the folder meanwhile may see neither name
            on_disk(arrival.path, lambda: os.rename(arrival.path, path))
        return Arrival(arrival.key, path, begun, arrival.priority)

    @property
    def objection(self) -> str | None:
        """Why no other radiograph can be taken, or ``None``."""
        try:
            self._check_room(0)
            files.check_writable(self._folders.received)
        except OutputError as error:
            return str(error)
        return None

    def _check_room(self, size: int) -> None:
        """A destination that is away alone does not fill the queue: as long as another keeps up, only the disk does."""
        root = self._folders.root

        def count() -> int:
            unsent = [len(layout.folders(self._folders.to / name)) for name in self._folders.destinations]
            return len(names(self._folders.received)) + min(unsent)

        waiting = on_disk(root, count)
        if waiting >= self._limits.films:
            raise QueueFullError(f"{root}: is full ({waiting} radiographs); see why no destination takes results")
        free = (on_disk(root, lambda: shutil.disk_usage(root)).free - size) / 1e6
        if free < self._limits.free_mb:
            raise QueueFullError(f"{root}: its disk would have {free:.0f} MB left; make room on it")


def _path(folder: Path, key: str, begun: int, priority: Priority) -> Path:
    suffix = "" if priority is Priority.MEDIUM else f".{priority.name.lower()}"
    return folder / f"{key}.{begun}{suffix}.dcm"


def _arrival(folder: Path, name: re.Match[str]) -> Arrival:
    return Arrival(name["key"], folder / name.string, int(name["begun"]), _priority(name))


def _priority(name: re.Match[str]) -> Priority:
    return Priority[(name["priority"] or "medium").upper()]
