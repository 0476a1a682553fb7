"""The command ``covidnet-lite watch``, started for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def watching(*options: object, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command itself, ended at the end."""
    command = [
        sys.executable,
        "-m",
        "covidnet_lite",
        "watch",
        *map(str, options),
        "--model",
        "nano",
        "--interval",
        "0.1",
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def line_of(stream: IO[str] | None, words: str) -> str:
    """The next line that holds these words; a process that ended before tells none."""
    assert stream is not None
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"no line holds {words!r}")


def results(folder: Path) -> dict[str, dict[str, object]]:
    """All results in a folder, by their paths below it."""
    return {str(p.relative_to(folder)): json.loads(p.read_text()) for p in sorted(folder.rglob("*.json"))}
