"""Which connections the receiver accepts: of known addresses, that send a request at once, and not too many from one.

A connection costs no thread before its first message is there as a whole. One that says nothing is let go after some
seconds, or as soon as others need its place; an association that has fallen silent gives way when there is no other.
One that has asked for nothing yet takes no place at all, and is the first to go where there are many like it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import select
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from pynetdicom.transport import AssociationServer

from ..logs import coded
from ..unforeseen import unforeseen
from .events import Peer, Record, Refused
from .settings import Network

log = logging.getLogger(__name__)

FIRST = 5.0  # seconds from a connection to its first message, as a whole
WAITING = 64  # connections that have not sent it yet
EACH = 4  # of them for every association that one address may have
YIELDS = 5.0  # seconds of silence after which an association gives way to another
HELLO, ASSOCIATE_RQ = 0x16, 0x01  # how a first message begins, with TLS and without
FIRST_MESSAGE = 1.0  # seconds that an association has for it where many others have none either
GLANCE = 0.01  # seconds between looks at connections that have begun to say something


@dataclass(eq=False)
class _Visitor:
    """A connection that has not asked for an association yet."""

    client: socket.socket
    address: Any
    since: float
    begun: bool = False

    @property
    def host(self) -> str:
        """The address alone."""
        return str(self.address[0])


class ListeningServer(AssociationServer):
    """Talks to known addresses only; no slow handshake and no flood of connections holds up others."""

    request_queue_size = 64  # connections not yet looked at

    def __init__(
        self, *args: Any, networks: tuple[Network, ...], per_address: int, record: Record, **more: Any
    ) -> None:
        self.let_in(networks, per_address)
        self._record = record
        self._visitors: list[_Visitor] = []
        self._over = threading.Event()
        self._dismissed: WeakSet[Any] = WeakSet()  # associations
        super().__init__(*args, **more)

    def let_in(self, networks: tuple[Network, ...], per_address: int) -> None:
        """From now on, connections from these addresses, and so many associations with one of them."""
        self._networks, self._per_address = networks, per_address

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Lets in until :meth:`end`."""
        while not self._over.is_set():
            silent = [visitor.client for visitor in self._visitors if not visitor.begun]
            wait = poll_interval if len(silent) == len(self._visitors) else GLANCE
            ready, _, _ = select.select([self.socket, *silent], [], [], wait)  # type: ignore[type-var]
            if self.socket in ready:
                self._handle_request_noblock()  # type: ignore[attr-defined]  # of socketserver
            for visitor in list(self._visitors):
                try:
                    self._look_at(visitor)
                except Exception as error:  # one connection never ends the server
                    unforeseen(f"a connection with {visitor.host}", error)
                    self._send_away(visitor)

    def end(self) -> None:
        """Lets nobody in any more."""
        self._over.set()

    def server_close(self) -> None:
        """Hangs up on whoever waits, too."""
        super().server_close()
        for visitor in list(self._visitors):
            self._send_away(visitor)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts, without any handshake."""
        client, address = self.socket.accept()  # type: ignore[union-attr]
        client.setblocking(False)  # with a time-out, even a glance would wait for it
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the address may send."""
        address = ipaddress.ip_address(client_address[0].split("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if not any(address in network for network in self._networks):
            text = "refused a connection from %s, which is not among the addresses that may send"
            log.warning(text, address, **coded("connection-refused", sender=address))
            self._record(Refused(Peer("", str(address)), "its address is not among those that may send"))
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Has a connection wait for its first message; where too many wait, the longest of the busiest address goes."""
        self._visitors.append(_Visitor(request, client_address, time.monotonic()))
        hosts = Counter(visitor.host for visitor in self._visitors)
        busiest, count = hosts.most_common(1)[0]
        if count > EACH * self._per_address or len(self._visitors) > WAITING:
            self._send_away(next(visitor for visitor in self._visitors if visitor.host == busiest))

    def _look_at(self, visitor: _Visitor) -> None:
        try:
            said = visitor.client.recv(1 << 17, socket.MSG_PEEK)
        except BlockingIOError:
            said = None
        except OSError:
            said = b""
        if said == b"":  # it has hung up
            self._send_away(visitor)
        elif said and whole(said, tls=bool(self.ssl_context)) and self._has_room(visitor.host):
            self._let_in(visitor)
        elif time.monotonic() - visitor.since > FIRST:
            text = "ended a connection with %s, which asked for nothing within %.0f s"
            log.warning(text, visitor.host, FIRST, **coded("connection-ended", sender=visitor.host))
            self._send_away(visitor)
        else:
            visitor.begun = said is not None

    def _let_in(self, visitor: _Visitor) -> None:
        client = visitor.client
        client.settimeout(self.ae.network_timeout)
        if self.ssl_context:
            # The handshake comes with the first read, in the association's own thread.
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        self._visitors.remove(visitor)
        self.finish_request(client, visitor.address)

    def _has_room(self, host: str) -> bool:
        """Whether another association may begin; where there is none, one that is silent gives way."""
        everyone, most = self.active_associations, int(self.ae.maximum_associations)
        active = [one for one in everyone if takes_place(one)]
        idle = [one for one in everyone if one not in active and one not in self._dismissed]
        ours = [one for one in (*active, *idle) if one.requestor.address == host]
        if len(ours) >= self._per_address and not self._dismiss_one([one for one in ours if one in idle]):
            self._give_way(ours)
            return False
        if len(active) >= most and self._give_way(active):
            return False
        if len(idle) >= most:
            self._dismiss_one(idle)
        return len(active) < 2 * most and len(everyone) < 4 * most  # a few too many are told so in DICOM

    def _dismiss_one(self, idle: list[Any]) -> bool:
        """Ends the association that has asked for nothing for longest, if for so long; whether one ends."""
        longest = max(idle, key=_silence, default=None)
        if longest is None or _silence(longest) < FIRST_MESSAGE:
            return False
        text, sender = "ended an association with %s, which asked for nothing: others wait", longest.requestor.address
        log.warning(text, sender, **coded("association-ended", sender=sender))
        connection = getattr(longest.dul.socket, "socket", None)  # None once it has ended by itself
        self._dismiss(longest)
        if connection:
            with contextlib.suppress(
                OSError
            ):  # its client need not agree; SSLSocket's own method would forget its keys
                socket.socket.shutdown(connection, socket.SHUT_RD)
        return True

    def _give_way(self, associations: list[Any]) -> bool:
        """Has the association end that has been silent longest, if for so long; whether one ends."""
        longest = max(associations, key=_silence)
        if longest in self._dismissed:
            return True
        silence = _silence(longest)
        if silence < YIELDS:
            return False
        text, sender = "ended an association with %s, silent for %.0f s: others wait", longest.requestor.address
        log.warning(text, sender, silence, **coded("association-ended", sender=sender))
        self._dismiss(longest)
        return True

    def _dismiss(self, association: Any) -> None:
        self._dismissed.add(association)
        association.abort(block=False)

    def _send_away(self, visitor: _Visitor) -> None:
        if visitor in self._visitors:
            self._visitors.remove(visitor)
        self.shutdown_request(visitor.client)


def whole(said: bytes, tls: bool) -> bool:
    """Whether a first message is there as a whole: a PDU (PS3.8, 9.3.1), or the record of a TLS ClientHello.

    What is longer than a receive buffer holds is not waited for, nor what begins as neither: its reader refuses it.
    """
    if said[0] != (HELLO if tls else ASSOCIATE_RQ):
        return True
    if tls:
        return len(said) >= 5 and len(said) >= 5 + int.from_bytes(said[3:5], "big")
    return len(said) >= 6 and len(said) >= min(6 + int.from_bytes(said[2:6], "big"), 1 << 15)


def takes_place(association: Any) -> bool:
    """Whether it is one of those that may be at the same time: it is negotiated, or has asked for something."""
    over = association.is_established or association.is_aborted
    return not over or bool(getattr(_reader(association), "asked", True))


def _silence(association: Any) -> float:
    return float(getattr(_reader(association), "silent", 0.0))


def _reader(association: Any) -> Any:
    return association.dul.socket.recv if association.dul.socket else None
