"""Radiographs read in processes of their own, for services: what a file does to its decoder, it does to that process.

The kernel holds each to so much memory and, for each radiograph, so many seconds of processor; a process that dies is
replaced. What it read comes back as gray levels, so the service itself decodes nothing that a stranger sent.

The processes are forked from one that has loaded the decoders and does nothing else (``multiprocessing``'s fork
server), so another is there in some milliseconds, and they share its memory.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

from .. import limits, radiograph
from ..codes import Code
from ..errors import CovidNetLiteError, InputError, UnforeseenError
from ..machine import board
from ..network.interpreter import available_cores
from ..radiograph import Radiograph, Source
from ..unforeseen import log, unforeseen

WITHIN = 60.0  # seconds until a reader has to answer, whatever it waits for
SLACK = 96 * limits.MB  # beside the budget: what a reader holds of the file, and decoders that it loads


class ReaderDiedError(InputError):
    """A radiograph with which its reader died, or was stopped."""

    code = Code.DECODER_DIED


def count() -> int:
    """How many may read at a time: one a core, as far as half the memory goes round."""
    return max(1, min(available_cores(), limits.installed() // (2 * limits.memory())))


class Readers:
    """Some processes that read, for many threads; :meth:`read` is :func:`covidnet_lite.radiograph.read` in one of them.

    A context manager; they end with it, and with this process, however it ends.
    """

    def __init__(self, processes: int | None = None, within: float = WITHIN) -> None:
        """Starts them when they are first needed.

        Args:
            processes: ``None`` for :func:`count`.
            within: seconds in which a radiograph has to be read, the wait for a free reader included.
        """
        self._within = within
        # Forked from a process without threads; where that is not to be had (Windows), started anew.
        known = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
        if "forkserver" in known:
            self._context.set_forkserver_preload([__name__, "covidnet_lite.readers.host"])
        self._free: queue.LifoQueue[_Reader | None] = queue.LifoQueue()
        for _ in range(processes or count()):
            self._free.put(None)
        self._all: set[_Reader] = set()
        self._lock = threading.Lock()
        # At the exit multiprocessing would ask them to end, which they do not hear, and wait.
        Finalize(self, _end, args=(self._all,), exitpriority=10)

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends them, whatever they do."""
        with self._lock:
            _end(self._all)

    @property
    def processes(self) -> list[int]:
        """Identifiers of those that are there now."""
        return [reader.process.pid for reader in self._all if reader.process.pid is not None]

    def read(
        self,
        img: Source,
        at_least: tuple[int, int] | None = None,
        name: str | None = None,
        exact: bool = False,
        colour: bool = False,
    ) -> Radiograph:
        """As :func:`covidnet_lite.radiograph.read`; pictures and arrays are read here, for they are decoded.

        Raises:
            ReaderDiedError: it took too much memory or too long, or killed its reader.
            CovidNetLiteError: as for :func:`covidnet_lite.radiograph.read`.
        """
        name = name or radiograph.name_of(img)
        source: str | bytes
        if isinstance(img, (str, os.PathLike)):
            source = os.path.abspath(os.fspath(img))
        elif isinstance(img, (bytes, bytearray, memoryview)):
            source = bytes(img)
        elif hasattr(img, "read"):
            source = radiograph.read_all(img, name)
        else:
            return radiograph.read(img, at_least, name, exact, colour)
        deadline = time.monotonic() + self._within
        try:
            reader = self._free.get(timeout=self._within)
        except queue.Empty:
            raise self._late(name) from None
        try:
            if reader is not None and not reader.process.is_alive():  # died of something else meanwhile
                self._drop(reader)
                reader = None
            if reader is None:
                reader = _Reader(self._context)
                with self._lock:
                    self._all.add(reader)
            answer = reader.ask((source, at_least, name, exact, colour), deadline)
            if answer is None:
                raise self._late(name)
            return _told(answer)
        except (EOFError, OSError) as error:  # the process is gone
            why, code = _why(reader)
            raise ReaderDiedError(f"{name}: {why}; it is not read", code) from error
        finally:
            if reader is not None and not reader.fit:
                self._drop(reader)
                reader = None
            self._free.put(reader)

    def _drop(self, reader: _Reader) -> None:
        with self._lock:
            self._all.discard(reader)
        reader.end()

    def _late(self, name: str) -> ReaderDiedError:
        return ReaderDiedError(
            f"{name}: was not read within {self._within:.0f} s; send a smaller one, or try again", Code.TOO_COSTLY
        )


def _end(readers: set[_Reader]) -> None:
    for reader in readers:
        reader.end()
    readers.clear()


class _Reader:
    """One process, and the pipe to it.

    Attributes:
        fit: whether it can read another radiograph.
    """

    def __init__(self, context: Any) -> None:
        self._pipe, theirs = context.Pipe()
        budget = limits.memory() // limits.MB, limits.cpu_seconds()
        self.process = context.Process(target=_serve, args=(theirs, *budget), daemon=True, name="covidnet-lite reader")
        self.process.start()
        theirs.close()
        self.fit = True

    def ask(self, question: tuple[Any, ...], deadline: float) -> Any:
        """Its answer, ``None`` where it does not come in time.

        Raises:
            EOFError, OSError: it died.
        """
        self.fit = False
        source, *more = question
        if isinstance(source, bytes) and hasattr(os, "memfd_create"):
            # A film through a pipe is some hundred turns of two processes; memory that both see is one.
            self._pipe.send((None, *more))
            with open(os.memfd_create("covidnet-lite radiograph"), "wb") as file:
                file.write(source)
                file.flush()
                reduction.send_handle(self._pipe, file.fileno(), self.process.pid)
        else:
            self._pipe.send(question)
        if not self._pipe.poll(max(deadline - time.monotonic(), 0.0)):
            return None
        answer = self._pipe.recv()
        self.fit = not (isinstance(answer, dict) and isinstance(answer["error"], ReaderDiedError))  # it ends itself
        return answer

    def end(self) -> None:
        """Kills it."""
        with suppress(OSError, ValueError):
            self.process.kill()
            self.process.join(5)
            self.process.close()
        self._pipe.close()


def _told(answer: Any) -> Radiograph:
    """What a reader answered: a radiograph, or an error to be raised here as there."""
    from PIL import Image

    if isinstance(answer, tuple):
        mode, size, pixels, *more = answer
        return Radiograph(Image.frombytes(mode, size, pixels), *more)
    error, cause = answer["error"], answer["cause"]
    if isinstance(error, UnforeseenError):
        log(error)  # a reader has no log
    raise error from cause


def _why(reader: _Reader | None) -> tuple[str, Code]:
    """Why a process is gone."""
    if reader is None:
        return "no process could be started to read it", Code.DECODER_DIED
    with suppress(ValueError):
        reader.process.join(5)
        code = reader.process.exitcode
        if code is not None and code == -getattr(signal, "SIGXCPU", 0):
            return f"took more than {limits.cpu_seconds()} s to decode ({limits.SECONDS})", Code.TOO_COSTLY
        if code is not None and code < 0:
            return f"its decoder died of signal {-code}", Code.DECODER_DIED
    return "its decoder died", Code.DECODER_DIED


def _serve(pipe: Connection, memory: int, seconds: int) -> None:
    """Reads what is asked for, one after the other, until nobody asks any more."""
    os.environ.update({limits.MEMORY: str(memory), limits.SECONDS: str(seconds)})  # the host's may be older
    for name in ("SIGINT", "SIGTERM"):  # the service ends us
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(OSError):  # not Linux
        _be_first_to_go()
    _limit_memory()
    while True:
        try:
            source, at_least, name, exact, colour = pipe.recv()
        except (EOFError, OSError):
            return
        _limit_seconds()
        shared = reduction.recv_handle(pipe) if source is None else None
        try:
            found = radiograph.read(source or f"/proc/self/fd/{shared}", at_least, name, exact, colour)
            answer: Any = (found.image.mode, found.image.size, found.image.tobytes(), found.name, found.width,
                           found.height, found.examination, found.notes)  # fmt: skip
        except Exception as error:
            answer = _as_told(error, name)
        if shared is not None:
            os.close(shared)
        try:
            pipe.send(answer)
        except OSError:  # nobody is there any more
            return
        if isinstance(answer, dict) and isinstance(answer["error"], ReaderDiedError):
            return  # what a decoder leaves behind that ran out of memory is not to be trusted


def _as_told(error: Exception, name: str) -> dict[str, Any]:
    """An error and the part of its cause that somebody asks for, which pickling would leave out."""
    if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        allowed = f"{limits.memory() // limits.MB} MB are allowed"
        return {
            "error": ReaderDiedError(
                f"{name}: takes too much memory to decode; {allowed} ({limits.MEMORY})", Code.TOO_COSTLY
            ),
            "cause": None,
        }
    told = error if isinstance(error, CovidNetLiteError) else unforeseen(name, error)
    cause = told.__cause__
    if not isinstance(cause, OSError):
        return {"error": told, "cause": None}
    return {"error": told, "cause": OSError(cause.errno, cause.strerror) if cause.errno else OSError(str(cause))}


def _be_first_to_go() -> None:
    """If memory runs out all the same, the kernel is to take a reader and not the service."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _limit_memory() -> None:
    """Lets this process take the budget, beside what it has by now."""
    try:
        import resource
    except ImportError:  # Windows
        return
    kind, field = (resource.RLIMIT_DATA, "VmData") if sys.platform == "linux" else (resource.RLIMIT_AS, "VmSize")
    with suppress(OSError, ValueError):  # a sandbox forbids it
        most = int((board.held(field) or 1024.0) * 2**20) + limits.memory() + SLACK
        resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_seconds() -> None:
    """Lets this process take so many seconds of processor more, then the kernel ends it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        most = math.ceil(time.process_time()) + limits.cpu_seconds()
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
