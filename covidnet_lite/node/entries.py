"""What is in a queue, for a person who looks after it; a node may work on it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info

from .. import files
from ..errors import OutputError, SettingsError
from ..logs import utc
from ..output import printable
from . import layout
from .inbox import FILE
from .layout import Folders, age, identifier, names
from .quarantine import RADIOGRAPH, Item, Quarantine

TO_CLASSIFY, TO_SEND, QUARANTINED = "to classify", "to send", "quarantined"


@dataclass(frozen=True)
class Entry:
    """A radiograph, or its results for one destination.

    Attributes:
        state: :data:`TO_CLASSIFY`, :data:`TO_SEND` or :data:`QUARANTINED`.
        name: of its file or folder, without what changes in it.
        uid: SOP Instance UID of the radiograph; its key where that is none.
        destination: that the results are for; ``None`` for a radiograph.
        since: when it came there, in Unix time.
        path: its file or folder.
        reason: why it was quarantined, in full: it may quote the header.
        begun: how often work on it has begun.
    """

    state: str
    name: str
    uid: str
    destination: str | None
    since: float
    path: Path
    reason: str = ""
    begun: int = 0
    item: Item | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        hidden = {"since": utc(self.since), "path": str(self.path)}
        return {name: hidden.get(name, value) for name, value in vars(self).items() if name != "item"}

    def __str__(self) -> str:
        where = f"  for {self.destination}" if self.destination else ""
        line = f"{self.state:<11}  {utc(self.since)}  {self.name}  {self.uid}{where}  {self.reason}"
        return printable(line.rstrip())


class Queued:
    """The entries of a queue that exists."""

    def __init__(self, folder: Path, destinations: Sequence[str] = ()) -> None:
        """Opens nothing, and locks nothing.

        Args:
            folder: of the queue.
            destinations: where they are known.

        Raises:
            SettingsError: there is no queue.
        """
        if not (folder / "received").is_dir():
            raise SettingsError(f"{folder}: is no queue of a node; name its folder with --queue DIR")
        to = folder / "to"
        self._folders = Folders(folder, tuple(destinations or (layout.folders(to) if to.is_dir() else ())) or ("pacs",))
        self._quarantine = Quarantine(self._folders, 0)

    def entries(self) -> list[Entry]:
        """All, in the order of their way through the queue, the oldest first; what moves meanwhile may be left out."""
        return [*self._received(), *self._outgoing(), *self._failed()]

    def chosen(self, wanted: Sequence[str], all_quarantined: bool) -> list[Entry]:
        """Entries by name, by the beginning of a name, or by UID; or all that are quarantined.

        Raises:
            SettingsError: one is not there, or several have a beginning in common.
        """
        entries = self.entries()
        if bool(wanted) == all_quarantined:
            raise SettingsError("name entries, or give --all for all that are quarantined")
        if all_quarantined:
            return [entry for entry in entries if entry.state == QUARANTINED]
        return list(dict.fromkeys(entry for text in wanted for entry in _matching(entries, text)))

    def retry(self, entry: Entry) -> None:
        """Puts a quarantined entry back, to be classified or sent again.

        Raises:
            OutputError: it is not quarantined, is in the queue already, or the disk fails.
        """
        if entry.item is None:
            raise OutputError(f"{entry.name}: waits {entry.state}, and is not quarantined")
        self._quarantine.retry(entry.item)

    def drop(self, entry: Entry) -> None:
        """Removes an entry for good.

        Raises:
            OutputError: it waits and a node works with the queue, or the disk fails.
        """
        if entry.item is not None:
            self._quarantine.drop(entry.item)
            return
        at_work = f"{entry.name}: waits {entry.state}, and a node works with the queue; stop it to remove what waits"
        with files.claim(self._folders.root, at_work):
            layout.on_disk(entry.path, lambda: layout.remove(entry.path))
            files.sync(entry.path.parent)

    def _received(self) -> Iterator[Entry]:
        folder = self._folders.received
        for path in sorted((folder / name for name in names(folder)), key=age):
            if match := FILE.fullmatch(path.name):
                uid = _uid(path, match["key"])
                yield Entry(TO_CLASSIFY, match["key"], uid, None, _since(path), path, begun=int(match["begun"]))

    def _outgoing(self) -> Iterator[Entry]:
        to = self._folders.to
        for destination in sorted(layout.folders(to)) if to.is_dir() else ():
            for path in sorted((to / destination / key for key in layout.folders(to / destination)), key=age):
                uid = str(layout.story(path).get("film", path.name))
                yield Entry(TO_SEND, f"{path.name}.{destination}", uid, destination, _since(path), path)

    def _failed(self) -> Iterator[Entry]:
        for item in self._quarantine.items():
            uid = str(item.story.get("film", "")) or _uid(item.folder / RADIOGRAPH, item.key)
            since = _since(item.folder)
            yield Entry(QUARANTINED, item.name, uid, item.destination, since, item.folder, item.reason, item=item)


def _matching(entries: Sequence[Entry], text: str) -> list[Entry]:
    """Those of a name or a UID, or the one whose name begins so."""
    exact = [entry for entry in entries if text in (entry.name, entry.uid)]
    begun = [entry for entry in entries if text and entry.name.startswith(text)]
    if exact or len(begun) == 1:
        return exact or begun
    why = f"is how {len(begun)} names begin; write more of one" if begun else "is not there"
    raise SettingsError(f"{text}: {why}; see: covidnet-lite node queue list")


def _uid(path: Path, key: str) -> str:
    try:
        return identifier(str(read_file_meta_info(path).MediaStorageSOPInstanceUID), key)
    except Exception:  # not even this can be read, or it has just gone
        return key


def _since(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it has just moved on
        return 0.0
