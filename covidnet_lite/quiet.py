"""Standard error without what TFLite's native code logs there."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from typing import IO

_TURNS = threading.Lock()  # of those that lead descriptor 2 elsewhere: who comes second must not take that for ours


@contextmanager
def silent_creation() -> Iterator[None]:
    """Keeps what native code says when an interpreter is made ("Created XNNPACK delegate") off descriptor 2.

    What Python itself writes to standard error meanwhile, warnings above all, goes there as ever.
    """
    with _TURNS:
        try:
            kept = os.dup(2)
        except OSError:  # closed: nothing to keep clean
            yield
            return
        own = sys.stderr
        try:
            with open(os.devnull, "wb") as nowhere, os.fdopen(os.dup(kept), "w", errors="backslashreplace") as told:
                if own is not None:
                    own.flush()
                os.dup2(nowhere.fileno(), 2)
                with redirect_stderr(told) if _writes_to_2(own) else nullcontext():
                    yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _writes_to_2(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a test's, a notebook's
        return False


@contextmanager
def silent_runtime() -> Iterator[IO[str]]:
    """Keeps what native code logs ("Created XNNPACK delegate") off standard error; Python's own goes there."""
    if sys.stderr is None:  # closed: nothing to keep clean
        yield io.StringIO()
        return
    sys.stderr.flush()
    kept = os.fdopen(os.dup(2), "w")
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with redirect_stderr(kept):
            yield kept
    finally:
        os.dup2(kept.fileno(), 2)
        kept.close()
