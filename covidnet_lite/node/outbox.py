"""Results that one destination does not have yet."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import files
from . import layout
from .layout import REASON, STORY, Folders, age, on_disk
from .memory import Memory
from .quarantine import Quarantine
from .seniority import Seniority


@dataclass(frozen=True)
class Parcel:
    """The results of one radiograph that a destination does not have yet."""

    key: str
    folder: Path

    @property
    def objects(self) -> list[Path]:
        """What is left to send, in order."""
        return sorted(self.folder.glob("[!.]*.dcm"))

    @cached_property
    def story(self) -> dict[str, Any]:
        """What is to be logged of the radiograph, from :meth:`Queue.finish`."""
        return layout.story(self.folder)

    @property
    def is_urgent(self) -> bool:
        """Whether it goes before others."""
        return self.story.get("urgent") is True


class Outbox:
    """The folder of one destination; no other takes from it.

    Attributes:
        name: of the destination.
        ready: set when something is put into it.
    """

    def __init__(self, folders: Folders, name: str, quarantine: Quarantine, memory: Memory) -> None:
        self.name, self._folder, self._sent = name, folders.to / name, folders.sent
        self._quarantine, self._memory = quarantine, memory
        self._seniority = Seniority()
        self._parcels: dict[str, Parcel] = {}  # known before; what was read of them is kept
        self.ready = threading.Event()

    @property
    def waiting(self) -> int:
        """For how many radiographs there are results."""
        return len(layout.folders(self._folder))

    def parcels(self) -> list[Parcel]:
        """What waits to be sent, the oldest first.

        Raises:
            OutputError: the disk fails.
        """
        keys, before = on_disk(self._folder, lambda: layout.folders(self._folder)), self._parcels
        order = self._seniority.order(keys, lambda key: age(self._folder / key / STORY)[0] / 1e9)
        self._parcels = {key: before.get(key) or Parcel(key, self._folder / key) for key in order}
        return list(self._parcels.values())

    def mark_sent(self, path: Path) -> None:
        """Notes, durably, that the destination has one of :attr:`Parcel.objects`; after a failure, does the rest."""
        on_disk(path, lambda: path.unlink(missing_ok=True))
        files.sync(path.parent)

    def close(self, parcel: Parcel) -> None:
        """Notes, durably, that the destination has all its results of a radiograph; after a failure, does the rest."""

        def move() -> None:
            with contextlib.suppress(FileNotFoundError):
                os.replace(parcel.folder / STORY, self._sent / f"{parcel.key}.json")
                self._memory.add(parcel.key)
            files.sync(self._sent)
            if parcel.folder.exists():
                shutil.rmtree(parcel.folder)
            files.sync(self._folder)

        self._parcels.pop(parcel.key, None)
        on_disk(parcel.folder, move)

    def reject(self, parcel: Parcel, reason: str) -> str:
        """Takes results that the destination will never take out of the way; the name that they have there."""
        name = f"{parcel.key}.{self.name}"

        def move() -> None:
            files.write(parcel.folder / REASON, reason + "\n")
            files.sync(parcel.folder)
            self._quarantine.take(parcel.folder, name)

        self._parcels.pop(parcel.key, None)
        on_disk(parcel.folder, move)
        return name
