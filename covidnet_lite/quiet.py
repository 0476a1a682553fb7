"""Standard error without what TFLite's native code logs there."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import IO


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
