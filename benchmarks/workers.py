"""Peers as processes of their own, asked one path at a time; see benchmarks/peers/protocol.py."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from covidnet_lite.errors import BackendError, BenchmarkError


@dataclass(frozen=True)
class Answer:
    """Milliseconds from file to label, and the index of that label; -1 for a refusal."""

    milliseconds: float
    label: int


def parse(line: str) -> Answer:
    """An answer from its line.

    Raises:
        BenchmarkError: the line says that the peer failed on this file.
    """
    if line.startswith("failed"):
        raise BenchmarkError(line.removeprefix("failed").strip())
    nanoseconds, label = line.split()
    return Answer(int(nanoseconds) / 1e6, int(label))


class Worker:
    """A peer's process, loaded and waiting."""

    def __init__(self, command: Sequence[str]) -> None:
        """Starts it and waits until it is ready.

        Raises:
            BackendError: it cannot be started, or ends before it is ready.
        """
        self._errors = tempfile.TemporaryFile("w+", errors="replace")
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
        except OSError as error:
            self._errors.close()
            raise BackendError(f"{command[0]} cannot be started ({error.strerror})") from error
        try:
            self._line()  # ready
        except BackendError:
            self.close()
            raise

    def ask(self, path: Path) -> Answer:
        """One classification.

        Raises:
            BenchmarkError: the peer cannot take this file.
            BackendError: the peer died.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BackendError(self._last_words()) from None
        return parse(self._line())

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BackendError(self._last_words())
        return line

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"it ended with code {self._process.returncode}, without a word"
