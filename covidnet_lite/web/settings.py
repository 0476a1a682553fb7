"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Attributes:
        token: what a client must show, or ``None``.
        hosts: names under which it may be called; addresses and ``localhost`` are always taken.
        most_bytes: of one upload, all its files together.
        most_files: in one upload.
        waiting: uploads that may wait for their turn; more are sent away with 503.
        seconds: for waiting and for the answer, each; an upload may take as long as it comes fast enough.
        reviews: the SQLite file of the reviews, or ``None`` where none are kept.
        keep: the folder for the pictures of reviewed cases, or ``None`` where none are kept.
        source: what the exported manifest says of where the films come from.
        recent_bytes: of the last uploads of the page, which are asked for again by their hash.
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
