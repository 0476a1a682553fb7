"""A folder in which radiographs arrive as files -> a result beside each, as JSON.

The folder is looked at every second or so. Polling, and not inotify: it needs nothing, and it sees what another
machine writes to a network share, of which the kernel here hears nothing.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import archive, files, formats
from ..codes import Code
from ..errors import BackendError, InputError, MissingExtraError, OutputError, SettingsError
from ..output import EVIDENCE, OURS, printable
from ..prediction import Failure, Prediction
from ..unforeseen import unforeseen
from .result_files import ResultFiles, Stamp, stamp_of

if TYPE_CHECKING:
    from ..classifier import Classifier

RESULTS = ".results"  # added to the name of an archive: the folder with the results of what is in it
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
            SettingsError: the folder itself cannot be looked at.
        """
        if not os.path.isdir(self.root):
            raise SettingsError(f"{self.root}: no such folder; make it, or mount what it is on", Code.NOT_OPENED)

        def closed(error: OSError) -> None:
            unseen(
                f"{error.filename}: cannot be looked into ({error.strerror}); give this program the right to read it"
            )

        for folder, below, names in os.walk(self.root, onerror=closed):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name.endswith(OURS):
                    continue
                if formats.may_be_radiograph(name) or name.lower().endswith(archive.SUFFIX):
                    path = os.path.join(folder, name)
                    stamp = stamp_of(path)
                    if stamp:
                        yield os.path.relpath(path, self.root), stamp


@dataclass(frozen=True)
class _Film:
    """One radiograph to be classified.

    Attributes:
        name: below the watched folder: that of the file, or ``archive.zip/member``.
        file: in which it is, below the watched folder.
        source: what is read.
        place: the name under which its result is kept.
    """

    name: str
    file: str
    source: str | archive.Member
    place: str


@dataclass(frozen=True)
class Line:
    """What is logged of a radiograph: its name below the folder, and what it came to.

    Attributes:
        reason: the code of why there is no answer.
    """

    name: str
    status: str
    answer: str | None
    reason: str | None

    @classmethod
    def of(cls, name: str, result: Prediction | Failure) -> Line:
        """The line of a result."""
        answer = f"resembles {result.label}" if result.label else result.answer
        return cls(printable(name), result.status, answer, result.code)

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f", {self.answer}" if self.answer else "")


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
        say: Callable[[object], None],
        warn: Say | None = None,
        deliver: Callable[[Path], None] | None = None,
    ) -> None:
        """``say`` is given a :class:`Line` of each result, ``warn`` each trouble once.

        ``deliver`` is given the path of each result written, to be sent on; ``None`` where none is to be.
        """
        self._folder, self._results, self._classifier = folder, results, classifier
        self._say, self._warn, self._deliver = say, warn or say, deliver
        self._network = classifier.identity
        self._settled = Settled(folder.settle)
        self._done: dict[str, Stamp] = {}
        self._later: dict[str, tuple[float, str]] = {}  # name -> when to try again, what was wrong
        self._warned: set[str] = set()

    def look(self, now: float, stop: threading.Event | None = None) -> Look:
        """Once: classifies what is new and whole, or as much of it as there is time for until ``stop``.

        Raises:
            SettingsError: the folder is not there.
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
        return Look(done, len(new.keys() - self._done.keys() - self._later.keys()), len(told))

    def _is_done(self, name: str, stamp: Stamp) -> bool:
        try:
            if name not in self._done and self._results.is_answered(name, stamp, self._network):
                self._done[name] = stamp  # not opened again at each look
        except Exception as error:
            unforeseen(name, error)
        return name in self._done

    def _classify(self, names: list[str], new: dict[str, Stamp], now: float, stop: threading.Event | None) -> int:
        films = [film for name in names for film in self._films(name, new[name])]
        left = Counter(film.file for film in films)
        for name in names:
            self._later.pop(name, None)
            if name not in left:  # an archive of which every film has its result
                self._done[name] = new[name]
        count = 0
        results = self._classifier.classify_many((film.source for film in films), keep_images=self._folder.heatmap)
        for film, result in zip(films, results):
            if stop is not None and stop.is_set():
                return count
            if stamp_of(os.path.join(self._folder.root, film.file)) != new[film.file]:
                continue  # it was changed, or taken away, meanwhile
            try:
                settled = self._settle(film, new[film.file], result, now)
            except ENDING:
                raise
            except Exception as error:
                settled = self._fail(film, new[film.file], error, now)
            count += settled
            left[film.file] -= settled
            if not left[film.file]:
                self._done[film.file] = new[film.file]
        return count

    def _films(self, name: str, stamp: Stamp) -> list[_Film]:
        """The one in a file, or those in a zip archive that have no result yet."""
        path = os.path.join(self._folder.root, name)
        try:
            if archive.is_archive(path):
                return list(self._packed(name, path, stamp))
        except Exception as error:
            unforeseen(name, error)
        return [_Film(name, name, path, name)]

    def _packed(self, name: str, path: str, stamp: Stamp) -> Iterator[_Film]:
        for member in archive.members(path):
            inner = member.name.removeprefix(path)
            # Beside the archive, whatever a member's name says.
            parts = [part for part in inner.replace("\\", "/").split("/") if part.strip(". ")]
            film = _Film(name + inner, name, member, "/".join((name + RESULTS, *parts)) if inner else name)
            if not self._results.is_answered(film.place, stamp, self._network):
                yield film

    def _fail(self, film: _Film, stamp: Stamp, error: Exception, now: float) -> bool:
        """The last catch: keeps a failed result; where not even that can be kept, tries again later."""
        failure = Failure(film.name, unforeseen(film.name, error))
        try:
            return self._settle(film, stamp, failure, now)
        except ENDING:
            raise
        except Exception as another:
            self._later[film.file] = (now + RETRY, printable(str(unforeseen(film.name, another))))
            return False

    def _settle(self, film: _Film, stamp: Stamp, result: Prediction | Failure, now: float) -> bool:
        """Keeps a result; whether the film is done with, or is to be tried again later.

        Raises:
            OutputError: the disk is full.
        """
        try:
            if _may_pass(result):
                self._keep(film, None, result)
                self._later[film.file] = (now + RETRY, f"{printable(film.name)}: {result.public_reason}")
                return False
            self._keep(film, stamp, result)
            return True
        except (InputError, OutputError) as error:  # InputError: read again for its evidence map
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
                raise
            # What cannot be written is told as it is; what was read again is a film, and may not be quoted.
            told = str(error) if isinstance(error, OutputError) else f"{film.name}: {error.public}"
            self._later[film.file] = (now + RETRY, printable(told))
            return False

    def _keep(self, film: _Film, stamp: Stamp | None, result: Prediction | Failure) -> None:
        told: dict[str, Any] = result.to_dict()
        if result.reason:
            told["reason"] = result.reason.replace(os.path.join(self._folder.root, film.name), film.name)
        path = self._results.path(film.place)
        if self._folder.heatmap and isinstance(result, Prediction) and result.labels and result.evidence is not None:
            shown = result.heatmap(image=self._classifier.image_of(result))
            files.write_png(path.with_name(Path(film.place).name + EVIDENCE), shown)
        deliver = self._deliver is not None
        if self._results.keep(film.name, told, stamp, self._network, deliver, film.place):
            self._say(Line.of(film.name, result))
            if self._deliver:
                self._deliver(path)


def _is_radiograph(path: str) -> bool:
    try:
        return path.lower().endswith(archive.SUFFIX) or formats.is_radiograph(path)
    except Exception as error:
        unforeseen(path, error)
        return True  # it is opened, and then told of


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
        except (SettingsError, OutputError) as error:
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
