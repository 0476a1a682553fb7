"""Takes X-rays in (C-STORE) and answers that it is alive (C-ECHO)."""

from __future__ import annotations

import logging
import socket
import threading
import time
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, _config, evt, timer
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from ..errors import AddressError, OutputError
from ..logs import coded
from ..output import printable
from ..troubles import Troubles
from . import tls
from .events import Instance, Peer, Received, Record, Refused, discard
from .inbox import Priority
from .layout import identifier
from .listener import ListeningServer, takes_place
from .queue import Queue
from .settings import Limits, Settings
from .syntaxes import RADIOGRAPHS, UNCOMPRESSED, transfer_syntaxes

_config.LOG_HANDLER_LEVEL = "none"  # it would describe every message, which nobody reads
vars(timer)["time"] = SimpleNamespace(time=time.monotonic)  # a clock that is set ends no association

log = logging.getLogger(__name__)

PDU = 10  # seconds in which one has to come
SOMETHING = 16 << 10  # bytes; a sender of less is as good as silent
LONGEST_PDU = 1 << 16  # bytes; we ask for it, and take no longer one
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
RECEIVER = "receiver"  # in the troubles


class Receiver:
    """A listening DICOM application entity that fills a queue."""

    def __init__(self, settings: Settings, queue: Queue, record: Record = discard) -> None:
        """Listens; nothing is taken before :meth:`start`.

        Args:
            settings: of the node.
            queue: takes what is received.
            record: takes what goes into the audit trail.

        Raises:
            SettingsError: the address cannot be listened on (AddressError), or a certificate cannot be used.
        """
        self._queue, self._record, self._troubles = queue, record, Troubles()
        entity = _Entity(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.maximum_pdu_size = LONGEST_PDU
        entity.add_supported_context(Verification, list(UNCOMPRESSED))
        for kind in RADIOGRAPHS:
            entity.add_supported_context(kind, transfer_syntaxes())
        context = tls.receiving(settings.tls) if settings.tls else None
        try:
            self._server: Any = entity.make_server(
                (settings.host, settings.port),
                ssl_context=context,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, self._open),
                    (evt.EVT_CONN_CLOSE, lambda event: _wake(event.assoc)),
                    (evt.EVT_REJECTED, self._reject),
                    (evt.EVT_C_ECHO, _echo),
                    (evt.EVT_C_STORE, self._store),
                ],
                server_class=ListeningServer,
                networks=settings.senders.networks,
                per_address=settings.limits.per_address,
                record=record,
            )
        except OSError as error:
            raise AddressError(
                f"{settings.host} port {settings.port}: cannot be listened on ({error.strerror or error}); "
                "name an address of this machine and a port that is free"
            ) from error
        self._apply(settings)
        self._thread = threading.Thread(target=self._server.serve_forever, name="covidnet-lite receiver")

    def reload(self, settings: Settings) -> None:
        """Goes by other settings from the next connection on; associations that exist are left as they are.

        Raises:
            SettingsError: a certificate cannot be used; the settings are those of before.
        """
        context = tls.receiving(settings.tls) if settings.tls else None
        self._apply(settings)
        self._server.ssl_context = context
        self._server.let_in(settings.senders.networks, settings.limits.per_address)

    def _apply(self, settings: Settings) -> None:
        entity, self._limits = self._server.ae, settings.limits
        entity.ae_title = self._server.ae_title = settings.ae_title
        entity.require_calling_aet = list(settings.senders.ae_titles)
        entity.maximum_associations = self._limits.associations
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._limits.timeout

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Takes films from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Takes no more: what is not yet acknowledged is aborted, and its sender knows."""
        if self._thread.is_alive():
            self._server.end()
            self._thread.join()
        self._server.server_close()
        open_ones = self._server.active_associations
        for association in open_ones:
            if association.requestor.primitive is None:
                association.dul.socket.close()  # there is nothing to abort yet
            else:
                association.abort()
        for association in open_ones:
            association.join(self._limits.timeout)

    def _open(self, event: Any) -> None:
        connection = event.assoc.dul.socket
        connection.recv = _Reader(connection.socket, self._limits, event.address[0])

    def _store(self, event: Any) -> int:
        request, who = event.request, _who(event.assoc)
        event.assoc.dul.socket.recv.renew()
        meta = event.file_meta
        meta.SourceApplicationEntityTitle = event.assoc.requestor.ae_title
        head = BytesIO()
        head.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(head, meta)  # type: ignore[arg-type]  # takes any file
        data = head.getvalue() + event.encoded_dataset(include_meta=False)  # as it came: damage is found later
        peer, uid = _peer(event.assoc), str(request.AffectedSOPInstanceUID)
        instance = Instance(str(request.AffectedSOPClassUID), uid)
        try:
            new = self._queue.add(uid, data, Priority.of_request(request.Priority))
        except OutputError as error:
            if self._troubles.note(RECEIVER, error):
                log.warning("not taken from %s: %s", who, error, **coded("not-taken", sender=who, reason=error.code))
            self._record(Received(peer, instance, error.public))
            return OUT_OF_RESOURCES
        if refused := self._troubles.over(RECEIVER):
            text = "radiographs are taken again; %d transfers were refused meanwhile"
            log.info(text, refused, **coded("taken-again", count=refused))
        if not new:
            text = "%s: sent again by %s, not classified again"
            log.info(text, identifier(uid), who, **coded("sent-again", uid=identifier(uid), sender=who))
        self._record(Received(peer, instance, is_new=new))
        return SUCCESS

    def _reject(self, event: Any) -> None:
        association = event.assoc
        request, entity, who = association.requestor.primitive, association.ae, _who(association)
        if request.called_ae_title != association.acceptor.ae_title:
            why = f"it called {request.called_ae_title!r}, not us"
        elif entity.require_calling_aet and request.calling_ae_title not in entity.require_calling_aet:
            why = "its AE title is not among those that may send"
        else:
            why = f"there are {entity.maximum_associations} associations already"
        log.warning("refused an association with %s: %s", who, why, **coded("association-refused", sender=who))
        self._record(Refused(_peer(association), why))


class _Entity(AE):
    """Counts associations that take a place, and not connections that have not asked for one."""

    @property
    def active_associations(self) -> list[Any]:
        return [one for one in super().active_associations if one.requestor.primitive is not None and takes_place(one)]


class _Reader:
    """Reads for one association, in the place of ``AssociationSocket.recv``, which would read whatever is claimed.

    No PDU may be too long or too slow, and between two answers no more may come than one object.

    Attributes:
        asked: whether it has sent a message, or a good part of one.
    """

    def __init__(self, connection: socket.socket, limits: Limits, peer: str) -> None:
        self._connection = connection
        self._timeout, self._most, self._peer = min(limits.timeout, PDU), limits.object_mb * 10**6, peer
        self.renew()
        self.asked = False

    def renew(self) -> None:
        """Lets another object come, one having been asked about."""
        self._left, self._some, self._moved, self.asked = self._most, 0, time.monotonic(), True

    @property
    def silent(self) -> float:
        """Seconds since it has sent something worth the name."""
        return time.monotonic() - self._moved

    def __call__(self, count: int) -> bytearray:
        """Reads ``count`` bytes, fewer if the peer hangs up.

        Raises:
            OSError: the peer sends too much, too slowly, or breaks the connection; pynetdicom ends the association.
        """
        try:
            return self._read(count)
        except OSError as error:
            text = "ended an association with %s: %s"
            log.warning(text, self._peer, error, **coded("association-ended", sender=self._peer))
            raise

    def _read(self, count: int) -> bytearray:
        self._left -= count
        if count > LONGEST_PDU:
            raise OSError(f"sends a PDU of {count} bytes, agreed on were {LONGEST_PDU}")
        if self._left < 0:
            raise OSError(f"sends an object of more than {self._most // 10**6} MB (limits.object_mb)")
        data, got, deadline = bytearray(count), 0, time.monotonic() + self._timeout
        while got < count:
            self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
            received = self._connection.recv_into(memoryview(data)[got:])
            if not received:
                break
            got += received
            self._some += received
            if self._some >= SOMETHING:
                self._some, self._moved, self.asked = 0, time.monotonic(), True
        self._connection.settimeout(self._timeout)
        return data[:got]


def _wake(association: Any) -> None:
    """Ends the wait for a request that will not come, which would keep the place of another client."""
    if association.requestor.primitive is None:
        association.dul.to_user_queue.put(None)


def _echo(event: Any) -> int:
    event.assoc.dul.socket.recv.renew()
    return SUCCESS


def _who(association: Any) -> str:
    return printable(f"{association.requestor.ae_title}@{association.requestor.address}")


def _peer(association: Any) -> Peer:
    return Peer(association.requestor.ae_title, association.requestor.address)
