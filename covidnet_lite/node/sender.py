"""Sends what is ready to the PACS, and goes on trying while it is away."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
)

from ..errors import OutputError
from ..output import printable
from ..unforeseen import unforeseen
from . import tls
from .queue import Parcel, Queue
from .settings import Settings

log = logging.getLogger(__name__)

RESULTS = (ComprehensiveSRStorage, SecondaryCaptureImageStorage)
SYNTAXES: list[str | uid.UID] = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds
LINGER = 2.0  # seconds an association is kept with nothing to send

SUCCESS, DUPLICATE = 0x0000, 0x0111


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
    """A DICOM application entity that empties a queue."""

    def __init__(self, settings: Settings, queue: Queue, stop: threading.Event) -> None:
        """Sends nothing before :meth:`run`.

        Raises:
            SettingsError: a certificate cannot be used.
        """
        self._pacs, self._queue, self._stop = settings.pacs, queue, stop
        self._name = f"PACS {self._pacs.ae_title}@{self._pacs.host}:{self._pacs.port}"
        self._tls = (tls.sending(self._pacs.tls), self._pacs.host) if self._pacs.tls else None
        self._entity = AE(ae_title=settings.ae_title)
        timeout = settings.limits.timeout
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = timeout
        self._entity.connection_timeout = timeout
        self._association: Any = None
        self._away = Pause()  # the PACS as a whole
        self._not_now: dict[str, Pause] = {}  # key -> of a parcel that the PACS would not take yet

    def run(self) -> None:
        """Works until ``stop`` is set, and ``queue.ready`` after it."""
        while True:
            self._queue.ready.clear()
            if self._stop.is_set():
                break
            parcels = self._queue.parcels()
            due = [parcel for parcel in parcels if not self._pause(parcel).left]
            if due and self._connect(len(parcels)):
                for parcel in due:
                    if not self._stop.is_set() and self._connected:
                        self._try(parcel)
            elif due:
                self._stop.wait(self._away.left)
            elif self._association:
                if not self._queue.ready.wait(LINGER):
                    self._hang_up()
            else:
                self._queue.ready.wait(min((self._pause(parcel).left for parcel in parcels), default=None))
        self._hang_up()

    @property
    def _connected(self) -> bool:
        return bool(self._association and self._association.is_established)

    def _pause(self, parcel: Parcel) -> Pause:
        return self._not_now.get(parcel.key, Pause())

    def _connect(self, waiting: int) -> bool:
        """Makes sure of an association."""
        if self._connected:
            return True
        why = self._associate()
        if why is None:
            if self._away.length:
                log.info("%s is back", self._name)
            self._away = Pause()
            return True
        self._hang_up()
        self._away = self._away.longer()
        log.warning("%s %s; %d to send, trying again in %.0f s", self._name, why, waiting, self._away.length)
        return False

    def objection(self) -> str | None:
        """What keeps the PACS from taking results now, or ``None``; nothing is sent."""
        why = self._associate()
        self._hang_up()
        return f"{self._name} {why}" if why else None

    def _associate(self) -> str | None:
        try:
            self._association = self._entity.associate(
                self._pacs.host,
                self._pacs.port,
                contexts=[build_context(kind, SYNTAXES) for kind in RESULTS],
                ae_title=self._pacs.ae_title,
                tls_args=self._tls,
            )
        except OSError as error:  # its name is not known
            self._association = None
            return str(error.strerror or error)
        return _objection(self._association)

    def _hang_up(self) -> None:
        if self._connected:
            self._association.release()
        self._association = None

    def _try(self, parcel: Parcel) -> None:
        """Sends one parcel; what nobody foresaw sets it aside, and the others are sent."""
        try:
            self._send(parcel)
        except OutputError:  # the disk
            raise
        except Exception as error:
            told = unforeseen(parcel.key, error)
            self._queue.reject(parcel, str(told))
            log.error("set aside in failed/%s: %s", parcel.key, told)
            self._not_now.pop(parcel.key, None)

    def _send(self, parcel: Parcel) -> None:
        for path in parcel.objects:
            status = self._store(path)
            if status is None and self._connected:
                self._association.abort()  # it may not know yet that it has ended
                self._association = None
            if status is None or _for_now(status):
                self._not_now[parcel.key] = pause = self._pause(parcel).longer()
                why = "broke off" if status is None else f"answered 0x{status:04X}"
                log.warning("%s %s for %s; trying again in %.0f s", self._name, why, _film(parcel), pause.length)
                return
            if not _taken(status):
                reason = f"the PACS will not take {path.name}: it answered 0x{status:04X}"
                self._queue.reject(parcel, f"{_film(parcel)}: {reason}")
                log.error("%s: set aside in failed/%s: %s", _film(parcel), parcel.key, reason)
                self._not_now.pop(parcel.key, None)
                return
            self._queue.mark_sent(path)
        story = parcel.story
        self._queue.close_parcel(parcel)
        self._not_now.pop(parcel.key, None)
        _tell(story, self._pacs.ae_title)

    def _store(self, path: Path) -> int | None:
        """The PACS's status, or ``None`` where the association came to an end."""
        try:
            answer = self._association.send_c_store(path)
        except RuntimeError:  # ended just before
            return None
        return int(answer.Status) if "Status" in answer else None


def _objection(association: Any) -> str | None:
    """Why nothing can be sent over an association, or ``None``."""
    if association.is_rejected:
        return f"refuses us: {association.acceptor.primitive.reason_str}"
    if not association.is_established:
        return "cannot be reached"
    taken = {context.abstract_syntax for context in association.accepted_contexts}
    missing = [kind.name for kind in RESULTS if kind not in taken]
    return f"does not take {' and '.join(missing)}" if missing else None


def _taken(status: int) -> bool:
    """Success, a warning (it took it all the same), or there already."""
    return status in (SUCCESS, DUPLICATE) or status >> 12 == 0xB


def _for_now(status: int) -> bool:
    """What another attempt may mend; not: the object does not match its class, or cannot be understood."""
    return not _taken(status) and status >> 8 != 0xA9 and status >> 12 != 0xC


def _film(parcel: Parcel) -> str:
    return printable(str(parcel.story.get("film", parcel.key)))


def _tell(story: dict[str, Any], pacs: str) -> None:
    """The one line of a film."""
    after = time.time() - float(story.get("received", time.time()))
    line = (
        f"{story.get('film')} from {story.get('from')}: {story.get('answer')}; "
        f"{story.get('results', 0)} results with {pacs} after {after:.1f} s"
    )
    log.info("%s", printable(line))
