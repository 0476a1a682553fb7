"""The audit trail: DICOM audit messages (PS3.15, A.5) in a file of each day, or to a syslog server (A.6, RFC 5424).

A subset: messages name application entities, addresses and UIDs, and what was answered, but neither patient nor study,
which the UIDs lead to.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import itertools
import logging
import logging.handlers
import os
import socket
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from pydicom.uid import UID

from .. import files
from ..errors import AddressError, OutputError
from ..logs import coded, utc
from ..output import printable
from ..troubles import Troubles
from .events import Answered, Event, Instance, Peer, Received, Refused, Sent, Started, Stopped
from .layout import identifier
from .settings import Audit

log = logging.getLogger(__name__)

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = "0", "4", "8"
MACHINE, IP_ADDRESS = "1", "2"  # NetworkAccessPointTypeCode
MEANINGS = {
    "110100": "Application Activity",
    "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred",
    "110113": "Security Alert",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110126": "Node Authentication",
    "110150": "Application",
    "110152": "Destination Role ID",
    "110153": "Source Role ID",
    "110181": "SOP Class UID",
}
APPLICATION, DESTINATION, SOURCE = "110150", "110152", "110153"
# PS3.15, A.6.1
MESSAGE_ID = "DICOM+RFC3881"


class Trail:
    """Writes events; one that cannot be written is reported in the log and costs nothing else."""

    def __init__(self, settings: Audit, node: Peer, troubles: Troubles | None = None) -> None:
        """Opens the file and finds the server.

        Args:
            settings: where to write.
            node: the application entity whose trail it is.
            troubles: takes what keeps it from being written.

        Raises:
            OutputError: the file cannot be written.
            AddressError: the server's name is not known.
        """
        self._node = node
        self._handlers: list[_Reporting] = []
        if settings.file:
            self._handlers.append(_DailyFile(settings.file, settings.keep_days))
        if settings.syslog:
            self._handlers.append(_Syslog(settings.syslog))
        for handler in self._handlers:
            handler.troubles = troubles or Troubles()

    def write(self, event: Event) -> None:
        """Writes one event, at the time of now; for many threads."""
        now = time.time()
        record = logging.makeLogRecord({"msg": message(event, self._node, now), "created": now})
        for handler in self._handlers:
            handler.handle(record)

    def close(self) -> None:
        """Closes file and socket."""
        for handler in self._handlers:
            with contextlib.suppress(OSError):  # what a full disk did not take
                handler.close()


def message(event: Event, node: Peer, when: float) -> str:
    """An audit message: XML in one line.

    Args:
        event: what happened.
        node: to which application entity.
        when: in Unix time.
    """
    us = Peer(node.ae_title, node.address)
    objects: list[Element] = []
    match event:
        case Started() | Stopped():
            kind = "110120" if isinstance(event, Started) else "110121"
            head = _event(when, "110100", "E", kind=kind)
            participants = [_participant(us, APPLICATION)]
        case Refused():
            head = _event(when, "110113", "E", MINOR_FAILURE, event.reason, kind="110126")
            participants = [_participant(event.sender, SOURCE, True), _participant(us, DESTINATION)]
        case Received():
            outcome = MINOR_FAILURE if event.objection else SUCCESS
            head = _event(when, "110104", "C" if event.is_new else "R", outcome, event.objection)
            participants = [_participant(event.sender, SOURCE, True), _participant(us, DESTINATION)]
            objects = [_object(event.radiograph)]
        case Answered():
            head = _event(when, "110103", "R", SERIOUS_FAILURE if event.objection else SUCCESS, event.objection)
            participants = [_participant(us, APPLICATION, True)]
            objects = [_object(event.radiograph, event.answer)]
        case Sent():
            head = _event(when, "110104", "R", SERIOUS_FAILURE if event.objection else SUCCESS, event.objection)
            participants = [_participant(us, SOURCE, True), _participant(event.destination, DESTINATION)]
            objects = [_object(event.result)]
    source = _element("AuditSourceIdentification", AuditSourceID=f"{us.ae_title}@{us.address}")
    return tostring(_with(Element("AuditMessage"), head, *participants, source, *objects), encoding="unicode")


def _event(
    when: float, code: str, action: str, outcome: str = SUCCESS, description: str | None = None, kind: str | None = None
) -> Element:
    event = _element(
        "EventIdentification", EventActionCode=action, EventDateTime=utc(when), EventOutcomeIndicator=outcome
    )
    event.append(_code("EventID", code))
    if kind:
        event.append(_code("EventTypeCode", kind))
    if description:
        event.append(_element("EventOutcomeDescription"))
        event[-1].text = printable(description)
    return event


def _participant(peer: Peer, role: str, is_requestor: bool = False) -> Element:
    participant = _element(
        "ActiveParticipant",
        UserID=peer.ae_title or peer.address,
        AlternativeUserID=f"AETITLES={peer.ae_title}",
        UserIsRequestor=str(is_requestor).lower(),
        NetworkAccessPointID=peer.address,
        NetworkAccessPointTypeCode=IP_ADDRESS if _is_ip(peer.address) else MACHINE,
    )
    return _with(participant, _code("RoleIDCode", role))


def _object(instance: Instance, answer: str = "") -> Element:
    """The class of an instance, and the instance in it, as PS3.15 has it; and what was answered."""
    sop_class, uid = identifier(instance.sop_class), identifier(instance.uid)
    described = _element(
        "ParticipantObjectIdentification",
        ParticipantObjectID=sop_class,
        ParticipantObjectTypeCode="2",  # a system object
        ParticipantObjectTypeCodeRole="3",  # a report; so PS3.15 has it for images, too
    )
    described.append(_code("ParticipantObjectIDTypeCode", "110181"))
    described.append(_element("ParticipantObjectName"))
    described[-1].text = UID(sop_class).name
    if answer:
        value = base64.b64encode(answer.encode()).decode()
        described.append(_element("ParticipantObjectDetail", type="answer", value=value))
    instances = _element("SOPClass", UID=sop_class, NumberOfInstances="1")
    _with(instances, _element("Instance", UID=uid))
    return _with(described, _with(_element("ParticipantObjectDescription"), instances))


def _code(name: str, code: str) -> Element:
    return _element(name, **{"csd-code": code, "codeSystemName": "DCM", "originalText": MEANINGS[code]})


def _element(tag: str, **attributes: str) -> Element:
    return Element(tag, {name: printable(value) for name, value in attributes.items()})


def _with(element: Element, *children: Element) -> Element:
    element.extend(children)
    return element


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


class _Reporting(logging.Handler):
    """Logs the first of several failures in a row and their end, and never a traceback."""

    troubles: Troubles

    def emit(self, record: logging.LogRecord) -> None:
        self._error: BaseException | None = None
        super().emit(record)  # calls handleError where it fails
        part = f"audit {self.get_name()}"
        if self._error is None:
            if count := self.troubles.over(part):
                text = "the audit trail can be written to %s again; %d messages at most are missing"
                log.info(text, self.get_name(), count, **coded("audit-written", count=count))
            return
        why = getattr(self._error, "strerror", None) or self._error
        error = OutputError(
            f"the audit trail cannot be written to {self.get_name()} ({why}); the node goes on without it"
        )
        error.__cause__ = self._error
        if self.troubles.note(part, error):
            log.error("%s", error, **coded("audit-not-written"))

    def handleError(self, record: logging.LogRecord) -> None:
        self._error = sys.exc_info()[1]


class _DailyFile(_Reporting, logging.handlers.TimedRotatingFileHandler):
    """A message a line, for the user alone to read; older days' files have their date at the end of their names."""

    def __init__(self, path: Path, keep_days: int) -> None:
        try:
            super().__init__(path, "midnight", backupCount=keep_days, encoding="utf-8", utc=True)
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"{path}: the audit trail cannot be written ({why}); name another file") from error
        self.set_name(str(path))

    def shouldRollover(self, record: logging.LogRecord) -> int:
        now = int(time.time())
        if self.rolloverAt - now > self.interval:  # the clock was ahead, and has been set back
            self.rolloverAt = self.computeRollover(now)
        return super().shouldRollover(record)

    def rotation_filename(self, default_name: str) -> str:
        """A name of that day that no file has: after the clock has been set back, a day may end twice."""
        others = (f"{default_name}.{i}" for i in itertools.count(2))
        return next(name for name in itertools.chain([default_name], others) if not os.path.exists(name))

    def _open(self) -> TextIOWrapper:
        opened = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, files.OWN_FILE)
        return os.fdopen(opened, "a", encoding="utf-8")


class _Syslog(_Reporting, logging.handlers.SysLogHandler):
    """A message a datagram, of facility authpriv and severity notice (PS3.15, A.6.1)."""

    append_nul = False

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        try:
            super().__init__((host.strip("[]"), int(port)), facility=self.LOG_AUTHPRIV)
        except OSError as error:
            why = error.strerror or error
            raise AddressError(f"{server}: the syslog server is not known ({why}); name another HOST:PORT") from error
        self.set_name(server)

    def mapPriority(self, levelName: str) -> str:
        return "notice"

    def format(self, record: logging.LogRecord) -> str:
        head = f"1 {utc(record.created)} {socket.gethostname()} covidnet-lite {os.getpid()} {MESSAGE_ID} -"
        return f"{head} \ufeff{record.getMessage()}"
