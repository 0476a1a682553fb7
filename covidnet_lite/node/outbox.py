"""Results that one destination does not have yet."""

from __future__ import annotations

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
from .quarantine import Quarantine


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

    @cached_property
    def made(self) -> tuple[int, str]:
        """When, to be sorted by."""
        return age(self.folder / STORY)[0], self.key

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

    def __init__(self, folders: Folders, name: str, quarantine: Quarantine) -> None:
        self.name, self._folder, self._sent = name, folders.to / name, folders.sent
        self._quarantine = quarantine
        self._parcels: dict[str, Parcel] = {}  # known before; what was read of them is kept
        self.ready = threading.Event()

    @property
    def waiting(self) -> int:
        """For how many radiographs there are results."""
        return len(layout.folders(self._folder))

    def parcels(self) -> list[Parcel]:
        """What waits to be sent, the oldest first."""
        before = self._parcels
        self._parcels = {
            key: before.get(key) or Parcel(key, self._folder / key) for key in layout.folders(self._folder)
        }
        return sorted(self._parcels.values(), key=lambda parcel: parcel.made)

    def mark_sent(self, path: Path) -> None:
        """Notes, durably, that the destination has one of :attr:`Parcel.objects`."""
        on_disk(path, path.unlink)
        files.sync(path.parent)

    def close(self, parcel: Parcel) -> None:
        """Notes, durably, that the destination has all its results of a radiograph."""

        def move() -> None:
            os.replace(parcel.folder / STORY, self._sent / f"{parcel.key}.json")
            files.sync(self._sent)
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
