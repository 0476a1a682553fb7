"""A destination that speaks DICOM: C-STORE over one association."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydicom import uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from . import tls
from .reply import Reply
from .settings import Pacs, Results, Settings
from .syntaxes import RADIOGRAPHS, RESULTS, transfer_syntaxes

SYNTAXES: list[str | uid.UID] = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]


class CStore:
    """A DICOM application entity that sends."""

    def __init__(self, pacs: Pacs, results: Results, settings: Settings) -> None:
        """Connects to nobody yet.

        Args:
            pacs: where to.
            results: what it gets; what is not among them it need not take.
            settings: of the node.

        Raises:
            SettingsError: a certificate cannot be used.
        """
        self._pacs = pacs
        self._tls = (tls.sending(pacs.tls), pacs.host) if pacs.tls else None
        self._entity = AE(ae_title=settings.ae_title)
        timeout = settings.limits.timeout
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = timeout
        self._entity.connection_timeout = timeout
        self._association: Any = None
        self._wanted = [kind for name, kind in RESULTS.items() if name in results.kinds]
        self._contexts = [build_context(kind, SYNTAXES) for kind in (*self._wanted, Verification)]
        if pacs.forward:  # one syntax each, for radiographs are sent on as they came
            self._contexts += [build_context(kind, one) for kind in RADIOGRAPHS for one in transfer_syntaxes()]

    @property
    def is_connected(self) -> bool:
        """Whether there is an association."""
        return bool(self._association and self._association.is_established)

    def connect(self) -> str | None:
        """Makes sure of an association; why there is none over which results can be sent, or ``None``."""
        if self.is_connected:
            return None
        try:
            self._association = self._entity.associate(
                self._pacs.host,
                self._pacs.port,
                contexts=self._contexts,
                ae_title=self._pacs.ae_title,
                tls_args=self._tls,
            )
        except OSError as error:  # its name is not known
            self._association = None
            return str(error.strerror or error)
        why = _objection(self._association, self._wanted)
        if why:
            self.close()
        else:
            _send_at_once(self._association)
        return why

    def check(self) -> str | None:
        """What keeps it from taking results now, or ``None``; asked by C-ECHO, nothing is sent."""
        try:
            return self.connect() or self._echo()
        finally:
            self.close()

    def _echo(self) -> str | None:
        if Verification not in {context.abstract_syntax for context in self._association.accepted_contexts}:
            return None  # it has accepted results, and answers no question
        try:
            status = self._association.send_c_echo().get("Status")
        except RuntimeError:  # ended just before
            status = None
        if status == 0:
            return None
        return "does not answer" if status is None else f"answers 0x{status:04X} to C-ECHO"

    def store(self, path: Path) -> Reply:
        """Sends an object, and waits for the answer."""
        try:
            answer = self._association.send_c_store(path)
        except RuntimeError:  # ended just before
            answer = {}
        except ValueError:  # no context was agreed on for it
            return Reply.never("does not take objects of its kind or transfer syntax")
        if "Status" in answer:
            return Reply.of_status(int(answer.Status))
        if self.is_connected:
            self._association.abort()  # it may not know yet that it has ended
        self._association = None
        return Reply.later("broke off")

    def close(self) -> None:
        """Ends the association."""
        if self.is_connected:
            self._association.release()
        self._association = None


def _send_at_once(association: Any) -> None:
    """Has the kernel send each part of a C-STORE at once, not 40 ms later, when the one before is acknowledged.

    pynetdicom writes a request in several parts, which Nagle's algorithm holds back.
    """
    with suppress(AttributeError, OSError):  # pynetdicom's thread closes it when the peer hangs up
        association.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _objection(association: Any, wanted: list[Any]) -> str | None:
    """Why nothing can be sent over an association, or ``None``."""
    if association.is_rejected:
        return f"refuses us: {association.acceptor.primitive.reason_str}"
    if not association.is_established:
        return "cannot be reached"
    taken = {context.abstract_syntax for context in association.accepted_contexts}
    missing = [kind.name for kind in wanted if kind not in taken]
    return f"does not take {' and '.join(missing)}" if missing else None
