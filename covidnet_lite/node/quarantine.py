"""What is quarantined, with the reason, and how it comes back: the folder ``failed`` of a queue."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import OutputError
from . import layout
from .layout import REASON, Folders, age, on_disk

RADIOGRAPH = "film.dcm"


@dataclass(frozen=True)
class Item:
    """A radiograph, or results for a destination, in quarantine.

    Attributes:
        name: of its folder.
        key: of the radiograph.
        destination: that will not take its results; ``None`` for a radiograph.
    """

    name: str
    key: str
    destination: str | None
    folder: Path

    @property
    def reason(self) -> str:
        """Why, in full: it may quote the file. ``""`` where it cannot be read."""
        try:
            return (self.folder / REASON).read_text("utf-8", "replace").strip()
        except OSError:
            return ""

    @property
    def story(self) -> dict[str, Any]:
        """What is to be logged of the radiograph, where there are results."""
        return layout.story(self.folder)


class Quarantine:
    """Works beside a running node too: everything is one renaming."""

    def __init__(self, folders: Folders, keep: int) -> None:
        """``keep``: so many items, of more the oldest goes."""
        self._folders, self.keep = folders, keep

    def items(self) -> list[Item]:
        """All of them, the oldest first."""
        return [self._item(folder) for folder in self._oldest_first()]

    def take(self, folder: Path, name: str) -> None:
        """Sets a folder aside under a name, in place of what was there."""
        target = self._folders.failed / name
        shutil.rmtree(target, ignore_errors=True)
        os.rename(folder, target)
        for changed in (self._folders.failed, folder.parent):
            files.sync(changed)
        self.trim()

    def trim(self) -> None:
        """Removes the oldest items beyond those that are kept."""
        folders = self._oldest_first()
        for folder in folders[: max(0, len(folders) - self.keep)]:
            shutil.rmtree(folder)

    def retry(self, item: Item) -> None:
        """Has a radiograph classified again, or results offered again; a running node finds them.

        Raises:
            OutputError: they are here again already, or the disk fails; the item is still there.
        """
        on_disk(item.folder, lambda: self._retry(item))

    def drop(self, item: Item) -> None:
        """Removes an item for good.

        Raises:
            OutputError: it cannot be removed.
        """
        on_disk(item.folder, lambda: shutil.rmtree(item.folder))

    def _retry(self, item: Item) -> None:
        if item.destination is None:
            with self._folders.exclusive():
                if self._folders.is_known(item.key):
                    raise OutputError(f"{item.name}: the same radiograph is in the queue already, or was answered")
                os.rename(item.folder / RADIOGRAPH, self._folders.received / f"{item.key}.0.dcm")
                files.sync(self._folders.received)
            shutil.rmtree(item.folder)
        else:
            target = self._folders.to / item.destination / item.key
            if target.exists():
                raise OutputError(f"{item.name}: results of the same radiograph wait for {item.destination} already")
            target.parent.mkdir(exist_ok=True)
            os.rename(item.folder, target)  # with its reason, which is not sent, and goes with the folder
            files.sync(target.parent)
        files.sync(self._folders.failed)

    def _oldest_first(self) -> list[Path]:
        return sorted((self._folders.failed / name for name in layout.folders(self._folders.failed)), key=age)

    def _item(self, folder: Path) -> Item:
        key, _, destination = folder.name.partition(".")
        if not destination and not (folder / RADIOGRAPH).exists():  # of a version that had one destination
            destination = self._folders.destinations[0]
        return Item(folder.name, key, destination or None, folder)
