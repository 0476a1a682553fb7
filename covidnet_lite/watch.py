"""A folder in which radiographs arrive as files -> a result beside each, as JSON.

The folder is looked at every second or so. Polling, and not inotify: it needs nothing, and it sees what another
machine writes to a network share, of which the kernel here hears nothing.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cases, files, heatmap
from .errors import BackendError, InputError, MissingExtraError, OutputError
from .prediction import Failure, Prediction
from .report import EVIDENCE, OURS, printable
from .result_files import ResultFiles, Stamp, stamp_of
from .unforeseen import unforeseen

if TYPE_CHECKING:
    from .classifier import Classifier

RETRY = 60.0  # seconds until what went wrong, and may go well another time, is tried again
FULL = (errno.ENOSPC, errno.EDQUOT)
ENDING = (OutputError, BrokenPipeError)  # what is no fault of one film: the disk is full, nobody reads what is told
Say = Callable[[str], None]


@dataclass(frozen=True)
class Folder:
    """What is watched.

    Attributes:
        root: searched with all folders in it.
        settle: seconds for which a file must not have changed to be taken for whole.
        heatmap: also write each answered radiograph with its evidence map.
    """

    root: Path
    settle: float = 2.0
    heatmap: bool = False

    def candidates(self, unseen: Say) -> Iterator[tuple[str, Stamp]]:
        """``path below root, stamp`` of all files that may be one by name; hidden files and folders are left alone.

        ``unseen`` is told of each folder in it that cannot be looked into.

        Raises:
            InputError: the folder itself cannot be looked at.
        """
        if not os.path.isdir(self.root):
            raise InputError(f"{self.root}: no such folder; make it, or mount what it is on")

        def closed(error: OSError) -> None:
            unseen(
                f"{error.filename}: cannot be looked into ({error.strerror}); give this program the right to read it"
            )

        for folder, below, names in os.walk(self.root, onerror=closed):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name.endswith(OURS):
                    continue
                if cases.may_be_radiograph(name):
                    path = os.path.join(folder, name)
                    stamp = stamp_of(path)
                    if stamp:
                        yield os.path.relpath(path, self.root), stamp


class Settled:
    """Tells files that are still being written from whole ones, by looking again; clocks of others play no part."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[str, tuple[Stamp, float]] = {}

    def whole(self, found: dict[str, Stamp], now: float) -> list[str]:
        """Of what was found, what has not changed for long enough; the rest is remembered. ``now`` in seconds."""
        seen = self._seen
        # Only what is still there: a folder that is emptied day by day must not fill the memory.
        self._seen = {
            name: seen[name] if name in seen and seen[name][0] == stamp else (stamp, now)
            for name, stamp in found.items()
        }
        return [name for name, (_, since) in self._seen.items() if now - since >= self._seconds]


@dataclass(frozen=True)
class Look:
    """How many radiographs a look ``done``, left ``waiting`` (still being written), and had ``trouble`` with."""

    done: int
    waiting: int
    trouble: int


class Watch:
    """Classifies what arrives in a folder, once each."""

    def __init__(
        self,
        folder: Folder,
        results: ResultFiles,
        classifier: Classifier,
        say: Say,
        warn: Say | None = None,
        deliver: Callable[[Path], None] | None = None,
    ) -> None:
        """``say`` is told each result, ``warn`` each trouble once.

        ``deliver`` is given the path of each result written, to be sent on; ``None`` where none is to be.
        """
        self._folder, self._results, self._classifier = folder, results, classifier
        self._say, self._warn, self._deliver = say, warn or say, deliver
        self._network = classifier.model.sha256
        self._settled = Settled(folder.settle)
        self._done: dict[str, Stamp] = {}
        self._later: dict[str, tuple[float, str]] = {}  # name -> when to try again, what was wrong
        self._warned: set[str] = set()

    def look(self, now: float, stop: threading.Event | None = None) -> Look:
        """Once: classifies what is new and whole, or as much of it as there is time for until ``stop``.

        Raises:
            InputError: the folder is not there.
            OutputError: the disk is full; what is left stays to be done.
        """
        closed: list[str] = []
        found = dict(self._folder.candidates(closed.append))
        self._done = {name: stamp for name, stamp in self._done.items() if found.get(name) == stamp}
        new = {name: stamp for name, stamp in found.items() if not self._is_done(name, stamp)}
        self._later = {name: later for name, later in self._later.items() if name in new}
        due = []
        for name in self._settled.whole(new, now):
            if name in self._later and now < self._later[name][0]:
                continue
            if _is_radiograph(os.path.join(self._folder.root, name)):
                due.append(name)
            else:
                self._done[name] = new.pop(name)
        done = self._classify(due, new, now, stop)
        told = {*closed, *(why for _, why in self._later.values())}
        for text in sorted(told - self._warned):
            self._warn(text)
        self._warned = told
        return Look(done, len(new) - done - len(self._later), len(told))

    def _is_done(self, name: str, stamp: Stamp) -> bool:
        try:
            if name not in self._done and self._results.is_answered(name, stamp, self._network):
                self._done[name] = stamp  # not opened again at each look
        except Exception as error:
            unforeseen(name, error)
        return name in self._done

    def _classify(self, names: list[str], new: dict[str, Stamp], now: float, stop: threading.Event | None) -> int:
        paths = [os.path.join(self._folder.root, name) for name in names]
        count = 0
        for name, path, result in zip(names, paths, self._classifier.classify_many(paths)):
            if stop is not None and stop.is_set():
                break
            self._later.pop(name, None)
            if stamp_of(path) != new[name]:
                continue  # it was changed, or taken away, meanwhile
            try:
                count += self._settle(name, new[name], result, now)
            except ENDING:
                raise
            except Exception as error:
                count += self._fail(name, new[name], error, now)
        return count

    def _fail(self, name: str, stamp: Stamp, error: Exception, now: float) -> bool:
        """The last catch: keeps a failed result; where not even that can be kept, tries again later."""
        failure = Failure(name, unforeseen(name, error))
        try:
            return self._settle(name, stamp, failure, now)
        except ENDING:
            raise
        except Exception as another:
            self._later[name] = (now + RETRY, printable(str(unforeseen(name, another))))
            return False

    def _settle(self, name: str, stamp: Stamp, result: Prediction | Failure, now: float) -> bool:
        """Keeps a result; whether the file is done with, or is to be tried again later.

        Raises:
            OutputError: the disk is full.
        """
        try:
            if _may_pass(result):
                self._keep(name, None, result)
                self._later[name] = (now + RETRY, f"{printable(name)}: {printable(result.reason or '')}")
                return False
            self._keep(name, stamp, result)
            self._done[name] = stamp
            return True
        except (InputError, OutputError) as error:  # InputError: read again for its evidence map
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
                raise
            self._later[name] = (now + RETRY, printable(str(error)))
            return False

    def _keep(self, name: str, stamp: Stamp | None, result: Prediction | Failure) -> None:
        told: dict[str, Any] = result.to_dict()
        if result.reason:
            told["reason"] = result.reason.replace(os.path.join(self._folder.root, name), name)
        path = self._results.path(name)
        if self._folder.heatmap and isinstance(result, Prediction) and result.labels and result.evidence is not None:
            film = self._classifier.read(os.path.join(self._folder.root, name), heatmap.SIZE).image
            files.write_png(path.with_name(Path(name).name + EVIDENCE), result.heatmap(image=film))
        if self._results.keep(name, told, stamp, self._network, deliver=self._deliver is not None):
            self._say(f"{printable(name)}: {result.status}" + (f", {_answer(result)}" if result.answer else ""))
            if self._deliver:
                self._deliver(path)


def _is_radiograph(path: str) -> bool:
    try:
        return cases.is_radiograph(path)
    except Exception as error:
        unforeseen(path, error)
        return True  # it is opened, and then told of


def _answer(result: Prediction | Failure) -> str:
    return f"resembles {result.label}" if result.label else str(result.answer)


def _may_pass(result: Prediction | Failure) -> bool:
    """Whether it failed for a fault not of the file: no right to read it, a share that broke off, a missing extra."""
    if not isinstance(result, Failure):
        return False
    why = result.error.__cause__  # what decoders raise as OSError has no number
    of_the_system = isinstance(why, OSError) and why.errno is not None
    return of_the_system or isinstance(why, MemoryError) or isinstance(result.error, (MissingExtraError, BackendError))


def run(watch: Watch, say: Say, stop: threading.Event, interval: float = 1.0, once: bool = False) -> bool:
    """Looks until told to stop; or ``once``, until all that is there is done. Whether all went well.

    A folder that is away (a share, a stick) and a full disk are told once, and tried again.
    """
    trouble = ""
    while not stop.is_set():
        try:
            seen = watch.look(time.monotonic(), stop)
        except (InputError, OutputError) as error:
            if str(error) != trouble:
                trouble = str(error)
                say(trouble)
            if once:
                return False
        except BrokenPipeError:
            raise
        except Exception as error:
            say(str(unforeseen("a look at the folder", error)))
            if once:
                return False
        else:
            trouble = ""
            if once and not seen.waiting:
                return not seen.trouble
        stop.wait(interval)
    return not once
