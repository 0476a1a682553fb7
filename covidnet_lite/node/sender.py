"""Sends what is ready to one destination, and goes on trying while it is away."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info

from ..errors import OutputError
from ..logs import coded
from ..output import printable
from ..troubles import Troubles
from ..unforeseen import unforeseen
from .connections import connection
from .events import Instance, Peer, Record, Sent, discard
from .inbox import Turns
from .layout import LOOK, described, fields
from .outbox import Outbox, Parcel
from .reply import Verdict
from .settings import Settings

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds
DISK_PAUSE = 10.0  # seconds, when the disk takes nothing
LINGER = 2.0  # seconds a connection is kept with nothing to send


@dataclass(frozen=True)
class Pause:
    """How long to wait after failures, twice as long after each."""

    length: float = 0.0  # seconds
    until: float = 0.0  # of the monotonic clock

    def longer(self) -> Pause:
        """The pause after another failure, now."""
        length = min(max(FIRST_PAUSE, 2 * self.length), LONGEST_PAUSE)
        return Pause(length, time.monotonic() + length)

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.until - time.monotonic())


class Sender:
    """Empties the outbox of one destination, in a thread of its own, so that no other waits for it.

    Attributes:
        is_away: whether the destination could not be reached when it was last tried.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        stop: threading.Event,
        record: Record = discard,
        troubles: Troubles | None = None,
    ) -> None:
        """Sends nothing before :meth:`run`.

        Args:
            settings: of the node.
            outbox: what to send.
            stop: ends it.
            record: takes what goes into the audit trail.
            troubles: takes what keeps it from its work.

        Raises:
            SettingsError: a certificate or a token cannot be used.
        """
        destination = settings.everywhere[outbox.name]
        self._outbox, self._stop, self._record = outbox, stop, record
        self._label, self._name = destination.label, destination.title
        self._connection = connection(settings, outbox.name)
        self._peer = Peer(destination.label, destination.address)
        self._turns, self._troubles = Turns(), troubles or Troubles()
        self._away = Pause()  # the destination as a whole
        self._not_now: dict[str, Pause] = {}  # key -> of a parcel that the destination would not take yet

    @property
    def is_away(self) -> bool:
        return bool(self._away.length)

    def run(self) -> None:
        """Works until ``stop`` is set, and the outbox's ``ready`` after it."""
        ready = self._outbox.ready
        while True:
            ready.clear()
            if self._stop.is_set():
                break
            try:
                self._turn()
            except OutputError as error:
                self._wait_for_disk(error)
            else:
                self._disk_is_back()
        self._connection.close()

    def _turn(self) -> None:
        ready, parcels = self._outbox.ready, self._outbox.parcels()
        due = [parcel for parcel in parcels if not self._pause(parcel).left]
        if due and self._connect(len(parcels)):
            self._send_all(due)
        elif due:
            self._stop.wait(self._away.left)
        elif self._connection.is_connected:
            if not ready.wait(LINGER):
                self._connection.close()
        else:
            ready.wait(min((LOOK, *(self._pause(parcel).left for parcel in parcels))))

    def _wait_for_disk(self, error: OutputError) -> None:
        if self._troubles.note(self._outbox.name, error):
            line = coded("waiting-for-disk", destination=self._outbox.name, reason=error.code)
            log.error("%s; trying again every %.0f s", error, DISK_PAUSE, **line)
        self._stop.wait(DISK_PAUSE)

    def _disk_is_back(self) -> None:
        if self._troubles.over(self._outbox.name):
            log.info("results can be sent to %s again", self._name, **coded("disk-back", destination=self._outbox.name))

    def _pause(self, parcel: Parcel) -> Pause:
        return self._not_now.get(parcel.key, Pause())

    def _connect(self, waiting: int) -> bool:
        """Makes sure of a connection."""
        why = self._connection.connect()
        if why is None:
            if self.is_away:
                log.info("%s is back", self._name, **coded("destination-back", destination=self._outbox.name))
            self._away = Pause()
            return True
        self._away = self._away.longer()
        line = coded("destination-away", destination=self._outbox.name, waiting=waiting)
        text = "%s %s; %d to send, trying again in %.0f s"
        log.warning(text, self._name, why, waiting, self._away.length, **line)
        return False

    def _send_all(self, due: list[Parcel]) -> None:
        """Sends parcels, urgent ones first, until another comes, which may be more urgent."""
        while due and self._connection.is_connected and not self._outbox.ready.is_set() and not self._stop.is_set():
            parcel = self._turns.pick(due, lambda one: not one.is_urgent)
            due.remove(parcel)
            self._try(parcel)

    def _try(self, parcel: Parcel) -> None:
        """Sends one parcel; what nobody foresaw sets it aside, and the others are sent."""
        try:
            self._send(parcel)
        except OutputError:  # the disk
            raise
        except Exception as error:
            self._quarantine(parcel, str(unforeseen(parcel.key, error)))

    def _send(self, parcel: Parcel) -> None:
        for path in parcel.objects:
            reply = self._connection.store(path)
            if reply.verdict is Verdict.LATER:
                self._not_now[parcel.key] = pause = self._pause(parcel).longer()
                text = "%s %s for %s; trying again in %.0f s"
                line = coded("not-sent", uid=_radiograph(parcel), destination=self._outbox.name)
                log.warning(text, self._name, reply.words, _radiograph(parcel), pause.length, **line)
                return
            objection = reply.words if reply.verdict is Verdict.NEVER else None
            self._record(Sent(self._peer, _instance(path), objection))
            if objection:
                return self._quarantine(parcel, f"{self._name} will not take {path.name}: it {reply.words}")
            self._mark(path)
        story = parcel.story
        self._outbox.close(parcel)
        _log_sent(story, self._label, self._outbox.name)
        self._not_now.pop(parcel.key, None)

    def _mark(self, path: Path) -> None:
        """Notes that an object is there; until that is on the disk nothing else is sent, so that none is sent twice.

        Raises:
            OutputError: it cannot be noted, and the node is to stop.
        """
        while True:
            try:
                self._outbox.mark_sent(path)
                return
            except OutputError as error:
                if self._stop.is_set():
                    raise
                self._wait_for_disk(error)

    def _quarantine(self, parcel: Parcel, reason: str) -> None:
        folder = self._outbox.reject(parcel, f"{_radiograph(parcel)}: {reason}")
        line = coded("quarantined", uid=_radiograph(parcel), item=folder, destination=self._outbox.name)
        log.error("%s: quarantined in failed/%s: %s", _radiograph(parcel), folder, reason, **line)
        self._not_now.pop(parcel.key, None)


def _radiograph(parcel: Parcel) -> str:
    return printable(str(parcel.story.get("film", parcel.key)))


def _instance(path: Path) -> Instance:
    meta = read_file_meta_info(path)
    return Instance(str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID))


def _log_sent(story: dict[str, Any], label: str, destination: str) -> None:
    """The one line of a radiograph and a destination."""
    count = story.get("results", 0)
    after = max(0.0, time.time() - float(story.get("received", time.time())))  # the clock may have been set
    line = coded("sent", **fields(story), destination=destination, results=count, seconds=round(after, 1))
    log.info("%s", described(story, f"{count} results with {label} after {after:.1f} s"), **line)
