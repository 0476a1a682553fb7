"""The settings of a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """The settings of a server.

    Attributes:
        token: that a client must send, or ``None``.
        hosts: names that clients may use for the server; addresses and ``localhost`` are always accepted.
        most_bytes: of one upload, all its files together.
        most_files: in one upload.
        waiting: uploads that may wait for admission; others get status 503.
        seconds: for waiting and for the answer, each; an upload may take longer as long as it is fast enough.
        reviews: the SQLite file of the reviews, or ``None`` where none are stored.
        keep: the folder for the images of reviewed radiographs, or ``None`` where none are stored.
        source: the source of the radiographs in the exported manifest.
        recent_bytes: of the page's last uploads, which it requests again by their hash.
    """

    token: str | None = None
    hosts: frozenset[str] = frozenset()
    most_bytes: int = 64 * MB
    most_files: int = 16
    waiting: int = 100
    seconds: float = 60.0
    reviews: Path | None = None
    keep: Path | None = None
    source: str = "reviewed"
    recent_bytes: int = 48 * MB
