"""The queue on disk: what has been received and what has not yet been sent, safe from kills and power cuts.

Its folders: :mod:`.layout`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..logs import coded
from . import layout
from .inbox import Arrival, Inbox
from .layout import REASON, STORY, TEMPORARY, Folders, age, names, on_disk, remove
from .memory import Memory
from .outbox import Outbox
from .quarantine import RADIOGRAPH, Quarantine
from .seniority import Seniority
from .settings import Limits

log = logging.getLogger(__name__)

Parts = Mapping[str, Sequence[bytes]]  # destination -> DICOM files


class Queue(Inbox):
    """A bounded queue in a folder, for one process and many threads.

    Attributes:
        arrived: set when a radiograph has been received.
        outboxes: destination -> what waits for it.
        quarantine: what cannot be classified or sent.
        not_admitted: how many radiographs no rule has admitted since it was opened.
    """

    def __init__(self, folder: Path, limits: Limits, destinations: Sequence[str]) -> None:
        """Opens the queue, and brings what a kill or an older version has left to a clean state.

        Args:
            folder: of the queue.
            limits: of it.
            destinations: the names of all that results go to; one at least.

        Raises:
            OutputError: the folder cannot be used, or another node has it.
        """
        self.folder = folder
        folders = Folders(folder, tuple(destinations))
        super().__init__(folders, limits)
        self.not_admitted = 0
        self._waiting = Seniority()
        self.quarantine = Quarantine(folders, limits.failed)
        on_disk(folder, lambda: folder.mkdir(0o700, parents=True, exist_ok=True))  # patients are in there
        for part in folders.all:
            files.check_folder(part)
        taken = f"{folder}: another node works on this queue; stop it, or name another"
        self._claim = on_disk(folder, lambda: files.claim(folder, taken))
        self._memory = Memory(folders, limits.remember_days)
        on_disk(folder, self._recover)
        self.outboxes: dict[str, Outbox] = {}
        self.add_destinations(destinations)
        self._look()

    def close(self) -> None:
        """Lets another process have the queue."""
        self._claim.release()

    def add_destinations(self, names: Sequence[str]) -> None:
        """Makes an outbox for each destination that has none.

        Raises:
            OutputError: its folder cannot be used.
        """
        for name in names:
            files.check_folder(self._folders.to / name)
            self.outboxes.setdefault(name, Outbox(self._folders, name, self.quarantine, self._memory))

    def reload(self, limits: Limits, destinations: Sequence[str]) -> None:
        """Goes by other limits and destinations, which have outboxes; nobody works on the queue meanwhile."""
        self._folders.destinations = tuple(destinations)
        self._limits, self.quarantine.keep, self._memory.days = limits, limits.failed, limits.remember_days
        self.outboxes = {name: self.outboxes[name] for name in destinations}

    def wake(self) -> None:
        """Has whoever waits for something look up."""
        self.arrived.set()
        for outbox in self.outboxes.values():
            outbox.ready.set()

    def finish(self, arrival: Arrival, story: dict[str, Any], results: Parts) -> None:
        """Puts the results of a radiograph in its place, for all destinations or for none.

        Args:
            arrival: from :meth:`next`.
            story: what is to be logged of it, as JSON has it.
            results: DICOM files by destination; without any, the radiograph is done.

        Raises:
            OutputError: they cannot be written; the radiograph is still there.
        """
        parts = {name: data for name, data in results.items() if data}

        def put() -> None:
            if not self._folders.is_answered(arrival.key):  # else an attempt before this one came so far
                self._commit(arrival.key, story, parts)
            self._distribute(arrival.key)
            arrival.path.unlink()
            files.sync(self._folders.received)

        on_disk(self._folders.outgoing / arrival.key, put)
        for name in parts:
            self.outboxes[name].ready.set()

    def set_aside(self, arrival: Arrival, reason: str) -> None:
        """Takes a radiograph that cannot be worked on out of the way."""
        folder = self._folders.failed / arrival.key

        def move() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            files.write(folder / REASON, reason + "\n")
            os.replace(arrival.path, folder / RADIOGRAPH)
            for changed in (folder, self._folders.failed, self._folders.received):
                files.sync(changed)
            self.quarantine.trim()

        on_disk(folder, move)

    def forget(self) -> None:
        """Removes the memory of radiographs sent long ago.

        Raises:
            OutputError: the disk fails.
        """
        self._memory.forget()

    @property
    def counts(self) -> dict[str, int]:
        """How many radiographs are where; ``outgoing``: those that a destination waits for.

        Raises:
            OutputError: the disk fails.
        """
        return on_disk(self.folder, self._count)

    def _count(self) -> dict[str, int]:
        folders = self._folders
        unsent = set(layout.folders(folders.outgoing))
        unsent = unsent.union(*(layout.folders(folders.to / name) for name in layout.folders(folders.to)))
        return {
            "received": len(names(folders.received)),
            "outgoing": len(unsent),
            "sent": len(names(folders.sent)),
            "failed": len(names(folders.failed)),
        }

    @property
    def oldest(self) -> float | None:
        """For how many seconds the one has waited that has waited longest; ``None`` where none waits.

        Raises:
            OutputError: the disk fails.
        """
        on_disk(self.folder, self._look)
        return self._waiting.longest

    def _look(self) -> None:
        """Sees what waits: a radiograph for its answer, and results for their destination."""
        received, to = self._folders.received, self._folders.to
        waiting = {name.split(".")[0]: received / name for name in names(received)}
        for name in layout.folders(to):
            waiting |= {f"{name}/{key}": to / name / key / STORY for key in layout.folders(to / name)}
        waiting = {name: path for name, path in waiting.items() if path.exists()}
        self._waiting.order(waiting, lambda name: age(waiting[name])[0] / 1e9)

    def _commit(self, key: str, story: dict[str, Any], parts: Parts) -> None:
        """Everything about a radiograph appears at once."""
        if not parts:
            files.write(self._folders.sent / f"{key}.json", json.dumps(story))
            self._memory.add(key)
            return files.sync(self._folders.sent)
        unfinished = self._folders.outgoing / f"{TEMPORARY}{key}"
        shutil.rmtree(unfinished, ignore_errors=True)
        contents: dict[Path, bytes | str] = {}
        for name, results in parts.items():
            contents[unfinished / name / STORY] = json.dumps({**story, "results": len(results)})
            contents |= {unfinished / name / f"{i}.dcm": data for i, data in enumerate(results, 1)}
        files.write_all(contents)
        for folder in (*(unfinished / name for name in parts), unfinished):
            files.sync(folder)
        os.rename(unfinished, self._folders.outgoing / key)
        files.sync(self._folders.outgoing)

    def _distribute(self, key: str) -> None:
        """Gives each destination its results of what is committed."""
        folder = self._folders.outgoing / key
        if not folder.exists():
            return
        for name in layout.folders(folder):
            target = self._folders.to / name / key
            target.parent.mkdir(exist_ok=True)
            if target.is_dir():  # somebody has put them back meanwhile
                shutil.rmtree(folder / name)
            else:
                os.rename(folder / name, target)
            files.sync(target.parent)
        shutil.rmtree(folder)
        files.sync(self._folders.outgoing)

    def _recover(self) -> None:
        folders = self._folders
        with folders.exclusive():  # nobody adds
            for part in folders.all:
                for name in os.listdir(part):
                    if name.startswith(TEMPORARY):
                        remove(part / name)
        for key in layout.folders(folders.outgoing):
            self._adopt(folders.outgoing / key)
            self._distribute(key)
        for name in names(folders.received):
            if folders.is_answered(name.split(".")[0]):  # killed after its results were put in its place
                (folders.received / name).unlink()
        for name in layout.folders(folders.to):
            for key in layout.folders(folders.to / name):
                if not (folders.to / name / key / STORY).exists():  # killed after it was all sent
                    shutil.rmtree(folders.to / name / key)
            if name in folders.destinations:
                continue
            if left := len(layout.folders(folders.to / name)):
                text = "results of %d radiographs wait for %s, which the settings do not name"
                log.warning(text, left, name, **coded("destination-unknown", destination=name, count=left))
            else:
                with contextlib.suppress(OSError):  # somebody has put something there
                    (folders.to / name).rmdir()
        # What a killed process has renamed may not be on the disk yet, though it is seen.
        for part in (*folders.all, folders.root):
            files.sync(part)

    def _adopt(self, folder: Path) -> None:
        """Brings results that a version with one destination has left into today's form: they are for the first."""
        own = [name for name in names(folder) if not (folder / name).is_dir()]
        if not own:
            return
        part = folder / self._folders.destinations[0]
        part.mkdir(exist_ok=True)
        for name in own:
            os.rename(folder / name, part / name)
        files.sync(part)
