"""The folders of a queue, and what its parts do to them.

    received/KEY.N.dcm    acknowledged to its sender, work on it begun N times; KEY.N.high.dcm, KEY.N.low.dcm: priority
    outgoing/KEY/         results of one radiograph, all of them, on the way to their destinations: NAME/ as below
    to/NAME/KEY/          those that destination NAME does not have yet: 1.dcm and so on; film.json, for the log
    sent/KEY.json         the same film.json: one destination has all its results, or there was nothing to send
    failed/KEY/           film.dcm, a quarantined radiograph; reason.txt says why
    failed/KEY.NAME/      results that destination NAME will never take, as they were in to/, with reason.txt
    clock                 empty; its time is that of the queue, which :mod:`.memory` goes by

KEY is a hash of the SOP Instance UID, so the same radiograph sent again is known again. A radiograph moves down this
list by renaming, and a folder is synchronised before the next step counts on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from ..errors import OutputError
from ..output import printable

T = TypeVar("T")

TEMPORARY = "."  # begins the names of what is not finished
STORY, REASON = "film.json", "reason.txt"
# What the log has of a story, by the names that fields of a line have.
FIELDS = {"film": "uid", "accession": "accession", "from": "sender", "answer": "answer", "code": "reason"}
EXCLUSIVE = ".exclusive.lock"
CLOCK = "clock"
LOOK = 5.0  # seconds after which another process may have put something into the queue


class Folders:
    """Where things are.

    Attributes:
        destinations: names of those that results go to.
    """

    def __init__(self, root: Path, destinations: tuple[str, ...]) -> None:
        self.root, self.destinations = root, destinations
        self.received, self.outgoing, self.to, self.sent, self.failed = (
            root / name for name in ("received", "outgoing", "to", "sent", "failed")
        )
        self._thread, self._process = threading.Lock(), FileLock(root / EXCLUSIVE, thread_local=False)

    @property
    def all(self) -> tuple[Path, ...]:
        """Those of the queue, and of each destination, named or left over."""
        named = {self.to / name for name in self.destinations}
        left_over = {self.to / name for name in folders(self.to)} if self.to.is_dir() else set()
        return (self.received, self.outgoing, self.to, *sorted(named | left_over), self.sent, self.failed)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps other threads and processes from looking while a name in ``received`` changes.

        Raises:
            OutputError: the lock of the queue cannot be had: it is another user's, for one.
        """
        with self._thread:
            on_disk(self.root / EXCLUSIVE, self._process.acquire)
            try:
                yield
            finally:
                self._process.release()

    def is_known(self, key: str) -> bool:
        """Whether a radiograph is here or was. Looks in the order in which it moves, so that none slips past."""
        return any(name.startswith(f"{key}.") for name in names(self.received)) or self.is_answered(key)

    def is_answered(self, key: str) -> bool:
        """Whether results of it wait, or a destination has them."""
        return (self.outgoing / key).exists() or self.is_waited_for(key) or (self.sent / f"{key}.json").exists()

    def is_waited_for(self, key: str) -> bool:
        """Whether results of it wait to be sent."""
        return any((self.to / name / key).exists() for name in folders(self.to))


def key_of(uid: str) -> str:
    """The key of a SOP Instance UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def identifier(uid: str, key: str = "") -> str:
    """A UID as the log has it: what is none might be a name, and the radiograph's key stands for it."""
    return uid if re.fullmatch(r"[0-9.]{1,64}", uid) else key or key_of(uid)


def names(folder: Path) -> list[str]:
    """What is finished in a folder."""
    return [name for name in os.listdir(folder) if not name.startswith(TEMPORARY)]


def folders(folder: Path) -> list[str]:
    """What is finished in a folder and is a folder itself: what else somebody puts there is left alone."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(TEMPORARY) and entry.is_dir()]


def age(path: Path) -> tuple[int, str]:
    """When it was made, and its name; what has just gone is the youngest."""
    try:
        return path.stat().st_mtime_ns, path.name
    except FileNotFoundError:
        return 1 << 63, path.name


def story(folder: Path) -> dict[str, Any]:
    """What is to be logged of a radiograph, from the folder of its results."""
    try:
        return dict(json.loads((folder / STORY).read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # only logged, never needed
        return {}


def described(story: dict[str, Any], end: str) -> str:
    """A line of the log on a radiograph: what it is, who sent it, what was answered, and an ``end``."""
    accession = f" (accession {story['accession']})" if story.get("accession") else ""
    return printable(f"{story.get('film')}{accession} from {story.get('from')}: {story.get('answer')}; {end}")


def fields(story: dict[str, Any]) -> dict[str, Any]:
    """The same for programs."""
    return {name: story.get(key) for key, name in FIELDS.items()}


def remove(path: Path) -> None:
    """Removes a file, or a folder with what is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def on_disk(path: Path, action: Callable[[], T]) -> T:
    """Changes something there.

    Raises:
        OutputError: it cannot be done.
    """
    try:
        return action()
    except OSError as error:
        raise OutputError(f"{path}: cannot be changed ({error.strerror or error}); check disk and owner") from error
