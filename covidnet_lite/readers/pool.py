"""Reads radiographs in processes of their own, for services, so that a bad file harms only such a process.

The kernel limits the memory of each and, for each radiograph, the seconds of processor; a process that dies is
replaced. It returns gray levels, so that the service itself decodes nothing from strangers; and its replies are
checked (:mod:`.replies`), since a file may have taken the process over.

The processes are forked from one that has loaded the decoders and does nothing else (``multiprocessing``'s fork
server), so that a new one is ready within milliseconds and shares its memory.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import socket
import struct
import sys
import tempfile
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
from ..errors import CovidNetLiteError, NoProcessError, UnforeseenError
from ..image_in.reduction import Size
from ..machine import board
from ..network.interpreter import available_cores
from ..radiograph import Radiograph, Source
from ..unforeseen import log
from . import replies
from .replies import ReaderDiedError

TIMEOUT = 60.0  # seconds for a reader's reply, whatever it waits for
SLACK = 96 * resource_limits.MB  # beside the budget: the reader's copy of the file, and decoders that it loads
STALL_SECONDS = 5.0  # for which a reply may pause half-way
MAX_MEMORY_KEPT = 16 << 20  # bytes of shared memory that a reader keeps for its next radiograph
HAS_SHARED_MEMORY = hasattr(os, "memfd_create")  # without shared memory, all data go through a pipe


def count() -> int:
    """The number of readers: one per core, as long as their budgets fit into half the memory."""
    return max(1, min(available_cores(), resource_limits.installed() // (2 * resource_limits.memory())))


class Readers:
    """Reader processes for many threads; :meth:`read` is :func:`covidnet_lite.radiograph.read` in one of them.

    A context manager; the processes end with it, and with this process, however it ends.
    """

    def __init__(self, processes: int | None = None, within: float = TIMEOUT) -> None:
        """Prepares the processes, which start when they are first needed.

        Args:
            processes: ``None`` for :func:`count`.
            within: seconds for reading a radiograph, including the wait for a free reader but not a reader's start.

        Raises:
            NoProcessError: there is no folder for temporary files, which processes meet in.
        """
        try:
            tempfile.gettempdir()
        except OSError as error:
            raise _no_process(error) from error
        self._within = within
        # Forked from a process without threads; spawned where that is not available (Windows).
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self._context.set_forkserver_preload([__name__, "covidnet_lite.readers.host"])
        self._free: queue.LifoQueue[_Reader | None] = queue.LifoQueue()
        for _ in range(processes or count()):
            self._free.put(None)
        self._all: set[_Reader] = set()
        self._lock = threading.Lock()
        # At exit, multiprocessing would send a signal that they ignore, and wait for them.
        Finalize(self, _end_all, args=(self._all,), exitpriority=10)

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills all processes."""
        with self._lock:
            _end_all(self._all)

    @property
    def processes(self) -> list[int]:
        """Identifiers of the processes that exist now."""
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
        """As :func:`covidnet_lite.radiograph.read`; PIL images and arrays, already decoded, are read in this process.

        Raises:
            ReaderDiedError: reading took too much memory or too long, or the reader died.
            NoProcessError: no reader can be started, or no memory is left for the file.
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
            raise self._timeout_error(name) from None
        options = (at_least, name, exact, colour, display)
        try:
            if reader is not None:
                try:
                    reader.request(source, options)
                except ConnectionError:  # it died while it was idle
                    self._drop(reader)
                    reader = None
            if reader is None:
                start = time.monotonic()
                reader = self._start_reader()
                deadline += time.monotonic() - start  # the start does not count
                reader.request(source, options)
            reply = reader.reply(name, deadline)
        except ValueError as error:
            raise ReaderDiedError(f"{name}: its reader sent an invalid reply; it is not read") from error
        except (EOFError, OSError) as error:  # the process is gone
            if reader is None:
                raise _no_process(error) from error
            reason, code = _exit_reason(reader)
            raise ReaderDiedError(f"{name}: {reason}; it is not read", code) from error
        finally:
            if reader is not None and not reader.usable:
                self._drop(reader)
                reader = None
            self._free.put(reader)
        if reply is None:
            raise self._timeout_error(name)
        if isinstance(reply, Radiograph):
            return reply
        if isinstance(reply, UnforeseenError):
            log(reply)  # a reader has no log
        raise reply

    def start(self) -> None:
        """Starts one reader and the process that they are forked from, before anybody waits for an answer.

        Raises:
            NoProcessError: none can be started.
        """
        reader = self._free.get()
        try:
            reader = reader or self._start_reader()
        except (EOFError, OSError) as error:
            raise _no_process(error) from error
        finally:
            self._free.put(reader)

    def _start_reader(self) -> _Reader:
        reader = _Reader(self._context)
        with self._lock:
            self._all.add(reader)
        return reader

    def _drop(self, reader: _Reader) -> None:
        with self._lock:
            self._all.discard(reader)
        reader.end()

    def _timeout_error(self, name: str) -> ReaderDiedError:
        return ReaderDiedError(
            f"{name}: was not read within {self._within:.0f} s; send a smaller one, or try again", Code.TOO_COSTLY
        )


def _no_process(error: Exception) -> NoProcessError:
    return NoProcessError(
        f"no process can be started to read radiographs ({error}); have TMPDIR name a folder that can be written to, "
        "and see what limits this service's memory and processes"
    )


def _no_memory(error: OSError) -> NoProcessError:
    return NoProcessError(
        f"no memory is left for the file of a radiograph ({error.strerror}); see what limits this service's memory, or "
        "have it work on fewer radiographs at once"
    )


def _end_all(readers: set[_Reader]) -> None:
    for reader in readers:
        reader.end()
    readers.clear()


class _Reader:
    """One process, the pipe to it, and memory shared with it.

    The shared memory holds the radiograph's file, then its pixels. It is written and read as a file and never mapped:
    whatever a reader does with it meanwhile, the service has its own copy, or notices that bytes are missing.

    Attributes:
        process: the reader's process.
        usable: whether it can read another radiograph.
    """

    def __init__(self, context: Any) -> None:
        self._pipe, theirs = context.Pipe()
        self._memory = (
            open(os.memfd_create("covidnet-lite radiograph"), "r+b", buffering=0) if HAS_SHARED_MEMORY else None
        )
        budget = resource_limits.memory() // resource_limits.MB, resource_limits.cpu_seconds()
        self.process = context.Process(
            target=_serve, args=(theirs, *budget, HAS_SHARED_MEMORY), daemon=True, name="covidnet-lite reader"
        )
        try:
            self.process.start()
            theirs.close()
            if self._memory is not None:
                reduction.send_handle(self._pipe, self._memory.fileno(), self.process.pid)
                _set_stall_timeout(self._pipe)
        except BaseException:
            self.end()
            raise
        self.usable = True

    def request(self, source: str | bytes, options: tuple[Any, ...]) -> None:
        """Asks for a radiograph; :meth:`reply` is next.

        Args:
            source: a path, or a file's bytes.
            options: further arguments of :func:`covidnet_lite.radiograph.read`.

        Raises:
            ConnectionError: the reader died before.
            NoProcessError: there is not enough memory for the file.
        """
        self.usable = False
        if isinstance(source, bytes) and self._memory is not None:
            try:
                self._memory.truncate(len(source))
                _write(self._memory.fileno(), source)
            except OSError as error:
                raise _no_memory(error) from error
            self._pipe.send((None, *options))
        else:
            self._pipe.send((source, *options))

    def reply(self, name: str, deadline: float) -> Radiograph | CovidNetLiteError | None:
        """The reader's reply, ``None`` where it does not come in time.

        Args:
            name: the radiograph's.
            deadline: of ``time.monotonic()``.

        Raises:
            EOFError, OSError: the reader died, or stopped sending.
            ValueError: the reply is invalid.
        """
        if not self._pipe.poll(max(deadline - time.monotonic(), 0.0)):
            return None
        reply = replies.decode(self._pipe.recv_bytes(replies.MAX_REPLY), name, self._pixels)
        self.usable = not isinstance(reply, ReaderDiedError)  # such a reader ends itself
        if self._memory is not None and os.fstat(self._memory.fileno()).st_size > MAX_MEMORY_KEPT:
            self._memory.truncate(0)
        return reply

    def _pixels(self, count: int) -> bytes:
        pixels: bytes
        if self._memory is None:
            pixels = self._pipe.recv_bytes(count)
        else:
            pixels = os.pread(self._memory.fileno(), count, 0)
        return pixels

    def end(self) -> None:
        """Kills the process."""
        with suppress(OSError, ValueError, AttributeError):  # not started, or already ended
            self.process.kill()
            self.process.join(5)
            self.process.close()
        self._pipe.close()
        if self._memory is not None:
            self._memory.close()


def _set_stall_timeout(pipe: Connection) -> None:
    """Makes a read from a pipe fail if it pauses half-way for some seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(STALL_SECONDS), 0))


def _write(memory: int, data: bytes) -> None:
    """Writes data at the beginning of the shared memory.

    Raises:
        OSError: there is not enough memory.
    """
    at, view = 0, memoryview(data)
    while at < len(view):
        at += os.pwrite(memory, view[at:], at)


def _exit_reason(reader: _Reader) -> tuple[str, Code]:
    """The reason why a process ended, and its code."""
    with suppress(ValueError):
        reader.process.join(5)
        code = reader.process.exitcode
        if code is not None and code == -getattr(signal, "SIGPROF", 0):
            return (
                f"took more than {resource_limits.cpu_seconds()} s to decode ({resource_limits.SECONDS})",
                Code.TOO_COSTLY,
            )
        if code is not None and code < 0:
            return f"the process that decoded it was stopped by signal {-code}", Code.DECODER_DIED
    return "the process that decoded it crashed", Code.DECODER_DIED


def _serve(pipe: Connection, memory: int, seconds: int, shared: bool) -> None:
    """Reads the requested radiographs, one after the other, until the service closes the pipe.

    Args:
        pipe: to the service.
        memory: megabytes of the budget.
        seconds: of processor, for each radiograph.
        shared: whether a handle of shared memory comes first.
    """
    # The host's environment may be older.
    os.environ.update({resource_limits.MEMORY: str(memory), resource_limits.SECONDS: str(seconds)})
    for name in ("SIGINT", "SIGTERM"):  # the service ends this process
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGPROF"):
        # See _limit_seconds; whoever started the service may ignore or block it.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    warnings.simplefilter("ignore")  # pydicom's quote the header, and would reach the service's log
    with suppress(OSError):  # not Linux
        _prefer_for_oom_kill()
    _limit_memory()
    memory_file = reduction.recv_handle(pipe) if shared else None
    while True:
        try:
            source, at_least, name, exact, colour, display = pipe.recv()
        except (EOFError, OSError):
            return
        _limit_seconds(seconds)
        error, pixels = None, b""
        try:
            source = f"/proc/self/fd/{memory_file}" if source is None else source
            result = radiograph.read(source, at_least, name, exact, colour, display)
            reply, pixels = replies.encode(result), replies.pixels_of(result)
            if memory_file is not None:
                _write(memory_file, pixels)
        except Exception as exception:
            error = replies.to_report(exception, name)
            reply = replies.encode_error(error)
        _limit_seconds(0)  # what comes next is not this radiograph's
        try:
            pipe.send_bytes(reply)
            if memory_file is None and error is None:
                pipe.send_bytes(pixels)
        except OSError:  # the service is gone
            return
        if isinstance(error, ReaderDiedError):
            return  # after a decoder ran out of memory, this process cannot be trusted


def _prefer_for_oom_kill() -> None:
    """Makes the kernel kill a reader rather than the service if memory runs out nevertheless."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _limit_memory() -> None:
    """Limits what this process may take from now on to the budget."""
    try:
        import resource
    except ImportError:  # Windows
        return
    kind, field = (resource.RLIMIT_DATA, "VmData") if sys.platform == "linux" else (resource.RLIMIT_AS, "VmSize")
    with suppress(OSError, ValueError):  # a sandbox forbids it
        limit = int((board.memory_mib(field) or 1024.0) * 2**20) + resource_limits.memory() + SLACK
        resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_seconds(seconds: int) -> None:
    """Has the kernel end this process once it has used so many seconds of processor from now on; 0 lifts the limit.

    By a timer: it would compare a resource limit with all the time that it has counted in ticks, which drifts from
    ``time.process_time()`` by some percent, and so by seconds within the life of a reader.
    """
    with suppress(AttributeError, OSError):  # Windows has none; a sandbox forbids it
        signal.setitimer(signal.ITIMER_PROF, seconds)
