"""Standard error without what TFLite's native code logs there."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from typing import IO

_LOCK = threading.Lock()  # one thread redirects descriptor 2 at a time: another would save the redirected one


@contextmanager
def silent_creation() -> Iterator[None]:
    """Keeps what native code logs when an interpreter is made ("Created XNNPACK delegate") off descriptor 2.

    What Python itself writes to standard error meanwhile, above all warnings, still appears.
    """
    with _LOCK:
        try:
            stderr = os.dup(2)
        except OSError:  # closed: nothing to keep clean
            yield
            return
        own = sys.stderr
        try:
            with (
                open(os.devnull, "wb") as devnull,
                os.fdopen(os.dup(stderr), "w", errors="backslashreplace") as python_stderr,
            ):
                if own is not None:
                    own.flush()
                os.dup2(devnull.fileno(), 2)
                with redirect_stderr(python_stderr) if _writes_to_2(own) else nullcontext():
                    yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _writes_to_2(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a test's, a notebook's
        return False


@contextmanager
def silent_runtime() -> Iterator[IO[str]]:
    """Keeps what native code logs ("Created XNNPACK delegate") off standard error; Python's own output appears."""
    if sys.stderr is None:  # closed: nothing to keep clean
        yield io.StringIO()
        return
    sys.stderr.flush()
    stderr = os.fdopen(os.dup(2), "w")
    try:
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        with redirect_stderr(stderr):
            yield stderr
    finally:
        os.dup2(stderr.fileno(), 2)
        stderr.close()
