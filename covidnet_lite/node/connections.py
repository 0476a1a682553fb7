"""The ways to destinations."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from .cstore import CStore
from .reply import Reply
from .settings import DicomWeb, Settings
from .stow import Stow


class Connection(Protocol):
    """A way to a destination: it is opened, kept while there is something to send, and closed."""

    @property
    def is_connected(self) -> bool:
        """Whether objects can be sent."""

    def connect(self) -> str | None:
        """Makes sure that they can; why not, to follow the destination's name, or ``None``."""

    def check(self) -> str | None:
        """What keeps the destination from taking results now, or ``None``; nothing is sent, and it is closed again."""

    def store(self, path: Path) -> Reply:
        """Sends one, and waits for the answer."""

    def close(self) -> None:
        """Ends it, if it is open."""


def connection(settings: Settings, name: str) -> Connection:
    """The way to a destination, not yet opened.

    Raises:
        SettingsError: a certificate or a token cannot be used.
    """
    destination = settings.everywhere[name]
    if isinstance(destination, DicomWeb):
        return Stow(destination, settings.limits.timeout)
    return CStore(destination, settings.results_for(name), settings)
