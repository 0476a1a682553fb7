"""A folder in which radiographs arrive as files -> a result beside each, as JSON.

The folder is scanned every second or so. Polling, unlike inotify, also sees what another machine writes to a network
share.
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
from ..errors import BackendError, InputError, MissingExtraError, NoProcessError, OutputError, SettingsError
from ..output import EVIDENCE, OURS, printable
from ..prediction import Failure, Prediction
from ..unforeseen import unforeseen
from .result_files import ResultFiles, Stamp, stamp_of

if TYPE_CHECKING:
    from ..classifier import Classifier

RESULTS = ".results"  # added to the name of an archive: the folder with the results of what is in it
RETRY = 60.0  # seconds until a file that failed for a temporary reason is tried again
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # no other result could be written either
FATAL = (OutputError, BrokenPipeError)  # errors that concern all radiographs: of the disk, or the output is closed
Print = Callable[[str], None]


@dataclass(frozen=True)
class Folder:
    """A folder to watch.

    Attributes:
        root: searched with all folders in it.
        settle: seconds without a change after which a file counts as complete.
        heatmap: also write each answered radiograph with its evidence map.
    """

    root: Path
    settle: float = 2.0
    heatmap: bool = False

    def candidates(self, on_unreadable: Print) -> Iterator[tuple[str, Stamp]]:
        """``path below root, stamp`` of all files that may be radiographs by name; skips hidden files and folders.

        ``on_unreadable`` is called with a message on each subfolder that cannot be searched.

        Raises:
            SettingsError: the folder itself does not exist.
        """
        if not os.path.isdir(self.root):
            raise SettingsError(f"{self.root}: no such folder; make it, or mount what it is on", Code.NOT_OPENED)

        def report(error: OSError) -> None:
            on_unreadable(
                f"{error.filename}: cannot be searched ({error.strerror}); give this program the right to read it"
            )

        for folder, below, names in os.walk(self.root, onerror=report):
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
class _Radiograph:
    """One radiograph to be classified.

    Attributes:
        name: path below the watched folder: of the file, or ``archive.zip/member``.
        file: path of its file below the watched folder.
        source: the path or the member of an archive to read.
        result_name: the name of its result, below the folder of results.
    """

    name: str
    file: str
    source: str | archive.Member
    result_name: str


@dataclass(frozen=True)
class Line:
    """The log line on a radiograph: its name below the folder, and its result.

    Attributes:
        reason: the code of the reason why there is no answer.
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


class SettledFiles:
    """Separates complete files from those still being written, by repeated scans; needs no other machine's clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stamps: dict[str, tuple[Stamp, float]] = {}

    def complete(self, stamps: dict[str, Stamp], now: float) -> list[str]:
        """The files that have not changed for long enough; remembers the others. ``now`` in seconds."""
        previous = self._stamps
        # Only what is still there: a folder that is emptied day by day must not fill the memory.
        self._stamps = {
            name: previous[name] if name in previous and previous[name][0] == stamp else (stamp, now)
            for name, stamp in stamps.items()
        }
        return [name for name, (_, since) in self._stamps.items() if now - since >= self._seconds]


@dataclass(frozen=True)
class Scan:
    """The number of radiographs that a scan ``classified``, those ``waiting`` (still being written), and problems."""

    classified: int
    waiting: int
    problems: int


class Watch:
    """Classifies what arrives in a folder, once each."""

    def __init__(
        self,
        folder: Folder,
        results: ResultFiles,
        classifier: Classifier,
        report: Callable[[object], None],
        warn: Print | None = None,
        deliver: Callable[[Path], None] | None = None,
    ) -> None:
        """``report`` is called with a :class:`Line` on each result, ``warn`` once with each problem.

        ``deliver`` is called with the path of each new result; ``None`` where results are not delivered.
        """
        self._folder, self._results, self._classifier = folder, results, classifier
        self._report, self._warn, self._deliver = report, warn or report, deliver
        self._network = classifier.identity
        self._settled = SettledFiles(folder.settle)
        self._finished: dict[str, Stamp] = {}
        self._retries: dict[str, tuple[float, str]] = {}  # name -> when to try again, what was wrong
        self._warnings: set[str] = set()

    def scan(self, now: float, stop: threading.Event | None = None) -> Scan:
        """Scans once: classifies what is new and complete, until ``stop`` is set.

        Raises:
            SettingsError: the folder does not exist.
            OutputError: the disk takes nothing; the next scan goes on with the rest.
        """
        unreadable: list[str] = []
        stamps = dict(self._folder.candidates(unreadable.append))
        self._finished = {name: stamp for name, stamp in self._finished.items() if stamps.get(name) == stamp}
        pending = {name: stamp for name, stamp in stamps.items() if not self._is_done(name, stamp)}
        self._retries = {name: retry for name, retry in self._retries.items() if name in pending}
        due = []
        for name in self._settled.complete(pending, now):
            if name in self._retries and now < self._retries[name][0]:
                continue
            if _is_radiograph(os.path.join(self._folder.root, name)):
                due.append(name)
            else:
                self._finished[name] = pending.pop(name)
        classified = self._classify(due, pending, now, stop)
        problems = {*unreadable, *(reason for _, reason in self._retries.values())}
        for text in sorted(problems - self._warnings):
            self._warn(text)
        self._warnings = problems
        return Scan(classified, len(pending.keys() - self._finished.keys() - self._retries.keys()), len(problems))

    def _is_done(self, name: str, stamp: Stamp) -> bool:
        try:
            if name not in self._finished and self._results.is_answered(name, stamp, self._network):
                self._finished[name] = stamp  # not opened again at each scan
        except Exception as error:
            unforeseen(name, error)
        return name in self._finished

    def _classify(self, names: list[str], pending: dict[str, Stamp], now: float, stop: threading.Event | None) -> int:
        radiographs = [radiograph for name in names for radiograph in self._radiographs_in(name, pending[name])]
        remaining = Counter(radiograph.file for radiograph in radiographs)
        for name in names:
            self._retries.pop(name, None)
            if name not in remaining:  # an archive whose radiographs all have results
                self._finished[name] = pending[name]
        count = 0
        results = self._classifier.classify_many(
            (radiograph.source for radiograph in radiographs), keep_images=self._folder.heatmap
        )
        for radiograph, result in zip(radiographs, results):
            if stop is not None and stop.is_set():
                return count
            if stamp_of(os.path.join(self._folder.root, radiograph.file)) != pending[radiograph.file]:
                continue  # the file was changed or removed meanwhile
            try:
                finished = self._finish(radiograph, pending[radiograph.file], result, now)
            except FATAL:
                raise
            except Exception as error:
                finished = self._fail(radiograph, pending[radiograph.file], error, now)
            count += finished
            remaining[radiograph.file] -= finished
            if not remaining[radiograph.file]:
                self._finished[radiograph.file] = pending[radiograph.file]
        return count

    def _radiographs_in(self, name: str, stamp: Stamp) -> list[_Radiograph]:
        """The radiograph in a file, or those in a zip archive that have no result yet."""
        path = os.path.join(self._folder.root, name)
        try:
            if archive.is_archive(path):
                return list(self._members(name, path, stamp))
        except Exception as error:
            unforeseen(name, error)
        return [_Radiograph(name, name, path, name)]

    def _members(self, name: str, path: str, stamp: Stamp) -> Iterator[_Radiograph]:
        for member in archive.members(path):
            inner = member.name.removeprefix(path)
            # Results stay beside the archive, whatever the member's name.
            parts = [part for part in inner.replace("\\", "/").split("/") if part.strip(". ")]
            radiograph = _Radiograph(name + inner, name, member, "/".join((name + RESULTS, *parts)) if inner else name)
            if not self._results.is_answered(radiograph.result_name, stamp, self._network):
                yield radiograph

    def _fail(self, radiograph: _Radiograph, stamp: Stamp, error: Exception, now: float) -> bool:
        """The last resort: writes a failed result; if even that cannot be written, tries again later."""
        failure = Failure(radiograph.name, unforeseen(radiograph.name, error))
        try:
            return self._finish(radiograph, stamp, failure, now)
        except FATAL:
            raise
        except Exception as another:
            self._retries[radiograph.file] = (now + RETRY, printable(str(unforeseen(radiograph.name, another))))
            return False

    def _finish(self, radiograph: _Radiograph, stamp: Stamp, result: Prediction | Failure, now: float) -> bool:
        """Writes a result; returns whether the radiograph is finished, or else is tried again later.

        Raises:
            OutputError: the disk takes nothing.
        """
        try:
            if _is_temporary(result):
                self._write_result(radiograph, None, result)
                self._retries[radiograph.file] = (now + RETRY, f"{printable(radiograph.name)}: {result.public_reason}")
                return False
            self._write_result(radiograph, stamp, result)
            return True
        except (InputError, OutputError) as error:  # InputError: read again for its evidence map
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in OF_THE_DISK:
                raise
            # An error on writing quotes only paths; one on reading may quote the radiograph, so use its public words.
            message = str(error) if isinstance(error, OutputError) else f"{radiograph.name}: {error.public}"
            self._retries[radiograph.file] = (now + RETRY, printable(message))
            return False

    def _write_result(self, radiograph: _Radiograph, stamp: Stamp | None, result: Prediction | Failure) -> None:
        fields: dict[str, Any] = result.to_dict()
        if result.reason:
            fields["reason"] = result.reason.replace(os.path.join(self._folder.root, radiograph.name), radiograph.name)
        path = self._results.path(radiograph.result_name)
        if self._folder.heatmap and isinstance(result, Prediction) and result.labels and result.evidence is not None:
            overlay = result.heatmap(image=self._classifier.image_of(result))
            files.write_png(path.with_name(Path(radiograph.result_name).name + EVIDENCE), overlay)
        deliver = self._deliver is not None
        if self._results.write(radiograph.name, fields, stamp, self._network, deliver, radiograph.result_name):
            self._report(Line.of(radiograph.name, result))
            if self._deliver:
                self._deliver(path)


def _is_radiograph(path: str) -> bool:
    try:
        return path.lower().endswith(archive.SUFFIX) or formats.is_radiograph(path)
    except Exception as error:
        unforeseen(path, error)
        return True  # so that reading it reports why


def _is_temporary(result: Prediction | Failure) -> bool:
    """Whether a failure is not the file's fault: no right to read it, a share that broke off, a missing extra."""
    if not isinstance(result, Failure):
        return False
    cause = result.error.__cause__  # an OSError from a decoder has no number
    of_the_system = isinstance(cause, OSError) and cause.errno is not None
    return (
        of_the_system
        or isinstance(cause, MemoryError)
        or isinstance(result.error, (MissingExtraError, BackendError, NoProcessError))
    )


def run(watch: Watch, warn: Print, stop: threading.Event, interval: float = 1.0, once: bool = False) -> bool:
    """Scans until ``stop`` is set; or ``once``, until all files are finished. Returns whether all went well.

    Reports a folder that is absent (a share, a stick) and a disk that takes nothing once, and tries again.
    """
    problem = ""
    while not stop.is_set():
        try:
            scan = watch.scan(time.monotonic(), stop)
        except (SettingsError, OutputError) as error:
            if str(error) != problem:
                problem = str(error)
                warn(problem)
            if once:
                return False
        except BrokenPipeError:
            raise
        except Exception as error:
            warn(str(unforeseen("a scan of the folder", error)))
            if once:
                return False
        else:
            problem = ""
            if once and not scan.waiting:
                return not scan.problems
        stop.wait(interval)
    return not once
