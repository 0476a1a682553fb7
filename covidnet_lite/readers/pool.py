"""Radiographs read in processes of their own, for services: what a file does to its decoder, it does to that process.

The kernel holds each to so much memory and, for each radiograph, so many seconds of processor; a process that dies is
replaced. What it read comes back as gray levels, so the service itself decodes nothing that a stranger sent; and what
it says is checked (:mod:`.replies`), for a file may have taken it over.

The processes are forked from one that has loaded the decoders and does nothing else (``multiprocessing``'s fork
server), so another is there in some milliseconds, and they share its memory.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

from .. import radiograph, resource_limits
from ..codes import Code
from ..errors import CovidNetLiteError, UnforeseenError
from ..image_in.reduction import Size
from ..machine import board
from ..network.interpreter import available_cores
from ..radiograph import Radiograph, Source
from ..unforeseen import log
from . import replies
from .replies import ReaderDiedError

WITHIN = 60.0  # seconds until a reader has to answer, whatever it waits for
SLACK = 96 * resource_limits.MB  # beside the budget: what a reader holds of the file, and decoders that it loads
STALLED = 5.0  # seconds for which an answer may stop half-way
KEPT = 16 << 20  # bytes of shared memory that a reader keeps for its next radiograph
SHARED = hasattr(os, "memfd_create")  # whether there is memory that both processes see; else all goes through a pipe


def count() -> int:
    """How many may read at a time: one a core, as far as half the memory goes round."""
    return max(1, min(available_cores(), resource_limits.installed() // (2 * resource_limits.memory())))


class Readers:
    """Some processes that read, for many threads; :meth:`read` is :func:`covidnet_lite.radiograph.read` in one of them.

    A context manager; they end with it, and with this process, however it ends.
    """

    def __init__(self, processes: int | None = None, within: float = WITHIN) -> None:
        """Starts them when they are first needed.

        Args:
            processes: ``None`` for :func:`count`.
            within: seconds in which a radiograph has to be read, the wait for a free reader included; not the time in
                which a reader starts.
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
        display: Size | None = None,
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
            return radiograph.read(img, at_least, name, exact, colour, display)
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
                begun = time.monotonic()
                reader = self._started()
                deadline += time.monotonic() - begun  # no fault of the radiograph
            answer = reader.ask(source, (at_least, name, exact, colour, display), deadline)
        except ValueError as error:
            raise ReaderDiedError(f"{name}: its reader did not answer as readers do; it is not read") from error
        except (EOFError, OSError) as error:  # the process is gone
            why, code = _why(reader)
            raise ReaderDiedError(f"{name}: {why}; it is not read", code) from error
        finally:
            if reader is not None and not reader.fit:
                self._drop(reader)
                reader = None
            self._free.put(reader)
        if answer is None:
            raise self._late(name)
        if isinstance(answer, Radiograph):
            return answer
        if isinstance(answer, UnforeseenError):
            log(answer)  # a reader has no log
        raise answer

    def start(self) -> None:
        """Starts one of them, and what they are forked from, however long it takes: nobody waits for an answer yet.

        Raises:
            ReaderDiedError: it cannot be done.
        """
        reader = self._free.get()
        try:
            reader = reader or self._started()
        except (EOFError, OSError) as error:
            raise ReaderDiedError(f"no process can be started to read radiographs ({error})") from error
        finally:
            self._free.put(reader)

    def _started(self) -> _Reader:
        reader = _Reader(self._context)
        with self._lock:
            self._all.add(reader)
        return reader

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
    """One process, the pipe to it, and memory that both see.

    In that memory lies the radiograph's file, then what was made of it. It is written and read as a file and never
    mapped: whatever a reader does with it meanwhile, the service has its own copy, or less than it was promised.

    Attributes:
        fit: whether it can read another radiograph.
    """

    def __init__(self, context: Any) -> None:
        self._pipe, theirs = context.Pipe()
        self._memory = open(os.memfd_create("covidnet-lite radiograph"), "r+b", buffering=0) if SHARED else None
        budget = resource_limits.memory() // resource_limits.MB, resource_limits.cpu_seconds()
        self.process = context.Process(
            target=_serve, args=(theirs, *budget, SHARED), daemon=True, name="covidnet-lite reader"
        )
        try:
            self.process.start()
            theirs.close()
            if self._memory is not None:
                reduction.send_handle(self._pipe, self._memory.fileno(), self.process.pid)
                _let_stall(self._pipe)
        except BaseException:
            self.end()
            raise
        self.fit = True

    def ask(self, source: str | bytes, how: tuple[Any, ...], deadline: float) -> Radiograph | CovidNetLiteError | None:
        """Its answer, ``None`` where it does not come in time.

        Args:
            source: a path, or a file's bytes.
            how: further arguments of :func:`covidnet_lite.radiograph.read`.
            deadline: of ``time.monotonic()``.

        Raises:
            EOFError, OSError: it died, or says no more.
            ValueError: it answers with something else.
        """
        self.fit = False
        if isinstance(source, bytes) and self._memory is not None:
            self._memory.truncate(len(source))
            _write(self._memory.fileno(), source)
            self._pipe.send((None, *how))
        else:
            self._pipe.send((source, *how))
        if not self._pipe.poll(max(deadline - time.monotonic(), 0.0)):
            return None
        name = how[1]
        answer = replies.decoded(self._pipe.recv_bytes(replies.MOST), name, self._pixels)
        self.fit = not isinstance(answer, ReaderDiedError)  # it ends itself
        if self._memory is not None and os.fstat(self._memory.fileno()).st_size > KEPT:
            self._memory.truncate(0)
        return answer

    def _pixels(self, count: int) -> bytes:
        pixels: bytes
        if self._memory is None:
            pixels = self._pipe.recv_bytes(count)
        else:
            pixels = os.pread(self._memory.fileno(), count, 0)
        return pixels

    def end(self) -> None:
        """Kills it."""
        with suppress(OSError, ValueError, AttributeError):  # not started, or ended before
            self.process.kill()
            self.process.join(5)
            self.process.close()
        self._pipe.close()
        if self._memory is not None:
            self._memory.close()


def _let_stall(pipe: Connection) -> None:
    """Has reads from a pipe fail where nothing comes for some seconds, once something has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(STALLED), 0))


def _write(memory: int, data: bytes) -> None:
    """Writes all of it at the beginning of shared memory.

    Raises:
        OSError: there is not so much memory.
    """
    at, view = 0, memoryview(data)
    while at < len(view):
        at += os.pwrite(memory, view[at:], at)


def _why(reader: _Reader | None) -> tuple[str, Code]:
    """Why a process is gone."""
    if reader is None:
        return "no process could be started to read it", Code.DECODER_DIED
    with suppress(ValueError):
        reader.process.join(5)
        code = reader.process.exitcode
        if code is not None and code == -getattr(signal, "SIGXCPU", 0):
            return (
                f"took more than {resource_limits.cpu_seconds()} s to decode ({resource_limits.SECONDS})",
                Code.TOO_COSTLY,
            )
        if code is not None and code < 0:
            return f"its decoder died of signal {-code}", Code.DECODER_DIED
    return "its decoder died", Code.DECODER_DIED


def _serve(pipe: Connection, memory: int, seconds: int, shared: bool) -> None:
    """Reads what is asked for, one after the other, until nobody asks any more.

    Args:
        pipe: to the service.
        memory: megabytes of the budget.
        seconds: of processor, for each radiograph.
        shared: whether memory that both see comes first.
    """
    os.environ.update(
        {resource_limits.MEMORY: str(memory), resource_limits.SECONDS: str(seconds)}
    )  # the host's may be older
    for name in ("SIGINT", "SIGTERM"):  # the service ends us
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    warnings.simplefilter("ignore")  # pydicom's quote the header, and end in the service's log
    with suppress(OSError):  # not Linux
        _be_first_to_go()
    _limit_memory()
    memory_file = reduction.recv_handle(pipe) if shared else None
    while True:
        try:
            source, at_least, name, exact, colour, display = pipe.recv()
        except (EOFError, OSError):
            return
        _limit_seconds()
        error, pixels = None, b""
        try:
            source = f"/proc/self/fd/{memory_file}" if source is None else source
            film = radiograph.read(source, at_least, name, exact, colour, display)
            answer, pixels = replies.encoded(film), replies.pixels_of(film)
            if memory_file is not None:
                _write(memory_file, pixels)
        except Exception as raised:
            error = replies.reported(raised, name)
            answer = replies.encoded_error(error)
        try:
            pipe.send_bytes(answer)
            if memory_file is None and error is None:
                pipe.send_bytes(pixels)
        except OSError:  # nobody is there any more
            return
        if isinstance(error, ReaderDiedError):
            return  # what a decoder leaves behind that ran out of memory is not to be trusted


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
        most = int((board.memory_mib(field) or 1024.0) * 2**20) + resource_limits.memory() + SLACK
        resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_seconds() -> None:
    """Lets this process take so many seconds of processor more, then the kernel ends it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        most = math.ceil(time.process_time()) + resource_limits.cpu_seconds()
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
