"""What happens in a node and is worth an entry in its audit trail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """An application at the other end of a connection.

    Attributes:
        ae_title: its AE title, or its URL for DICOMweb; empty where it has not named one.
        address: its IP address or host name.
    """

    ae_title: str
    address: str


@dataclass(frozen=True)
class Instance:
    """A DICOM object, by the UIDs of its class and of itself."""

    sop_class: str
    uid: str


@dataclass(frozen=True)
class Started:
    """The node takes radiographs from now on."""


@dataclass(frozen=True)
class Stopped:
    """The node takes none any more."""


@dataclass(frozen=True)
class Refused:
    """A connection or an association was refused; ``reason`` in words of ours."""

    sender: Peer
    reason: str


@dataclass(frozen=True)
class Received:
    """A radiograph was sent to us.

    Attributes:
        objection: why it was not taken; ``None`` where it was.
        is_new: whether the node did not have it before.
    """

    sender: Peer
    radiograph: Instance
    objection: str | None = None
    is_new: bool = True


@dataclass(frozen=True)
class Answered:
    """Work on a radiograph ended, with an ``answer``, or in quarantine for an ``objection``; both in public words."""

    radiograph: Instance
    answer: str = ""
    objection: str | None = None


@dataclass(frozen=True)
class Sent:
    """A result was sent to a destination, which took it or, for good, refused it with an ``objection``."""

    destination: Peer
    result: Instance
    objection: str | None = None


Event = Started | Stopped | Refused | Received | Answered | Sent
Record = Callable[[Event], None]


def discard(event: Event) -> None:
    """Takes an event where no audit trail is kept."""
