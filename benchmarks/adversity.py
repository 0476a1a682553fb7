"""``serve``, ``watch`` and ``node`` on a disk that fills, with a clock that jumps, and on a root that is read-only.

    python -m benchmarks.adversity                  # all three; or one: disk, clock, root

disk: queue, audit trail, results, reviews, temporary files and logs lie on a small disk that is filled while
radiographs come, and emptied again. clock: the wall clock of all three is set forward and back by an hour and by a year
while they run. root: the whole file system is read-only but for one folder. No service may end, no radiograph may be
lost or come twice, and each log says what is wrong, and not more than a few times. Needs root on Linux, the extras
``node``, ``web`` and ``test``, pydicom-data, and Debian's dcmtk, orthanc and bubblewrap.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import inputs, modality
from benchmarks.orthanc import Orthanc, free_port, missing
from benchmarks.services import MODEL, ROOT, Services, services
from covidnet_lite import Classifier

SIZE = 64  # megabytes of the small disk
FEW = 6  # lines of a log on one trouble
JUMPS = ("+3600", "-3600", "+31536000", "-31536000")  # seconds
# libfaketime breaks sleeps where the monotonic clock stays as it is.
SET_CLOCK = """
import time
from pathlib import Path

def offset(unit, real=Path({file!r}).read_text):
    try:
        return int(float(real()) * unit)
    except ValueError:  # it is being written
        return 0

time.time = lambda real=time.time: real() + offset(1)
time.time_ns = lambda real=time.time_ns: real() + offset(10**9)
"""


@dataclass
class Trial:
    """Radiographs that went to all three services, and what went wrong.

    Attributes:
        films: path -> SOP Instance UID.
        faults: a line each.
    """

    running: Services
    pacs: Orthanc
    kinds: tuple[str, ...]
    films: dict[Path, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def check(self, right: object, fault: str) -> None:
        """Notes a fault where something is not right."""
        if not right:
            self.faults.append(fault)

    def send(self, films: dict[Path, str]) -> list[Path]:
        """Sends to ``node`` and ``watch``, and asks ``serve``; what the node has not taken."""
        taken = modality.send(list(films), self.running.node.port)
        for path in films:
            self.running.put(path)
        self.check(self.running.classify(next(iter(films)))["status"] != "failed", "serve failed a radiograph")
        self.films |= films
        return [path for path in films if path not in taken]

    def finish(self) -> list[str]:
        """Waits for everything; the faults."""
        running = self.running
        _until(lambda: not running.node.waiting and running.watch_count >= len(self.films), 400)
        wanted = Counter((kind, uid) for kind in self.kinds for uid in self.films.values())
        there = Counter(self.pacs.results())
        self.check(there == wanted, f"the PACS lacks {wanted - there}, and has {there - wanted} too many")
        results = [json.loads(path.read_text()) for path in running.results.glob("*.json")]
        self.check(len(results) == len(self.films), f"watch wrote {len(results)} of {len(self.films)} results")
        failed = [result["name"] for result in results if result["status"] == "failed"]
        self.check(not failed, f"watch failed {failed}")
        self.check(not running.ended, f"{running.ended} ended")
        for name, log in self.logs().items():
            self.check("Traceback" not in log and "unforeseen" not in log, f"{name} was surprised; see its log")
        return self.faults

    def logs(self) -> dict[str, str]:
        """The log of each service."""
        folder = self.running.node.log.parent
        return {name: (folder / f"{name}.log").read_text(errors="replace") for name in self.running.pids}


def disk(source: Path, folder: Path) -> Iterator[str]:
    """What went wrong on a disk that fills and empties, a line each."""
    small, port = folder / "small", free_port()
    small.mkdir()
    with mounted(small), Orthanc(folder / "pacs") as pacs:
        (small / "tmp").mkdir()
        settings = f'[limits]\nfree_mb = 8\n[audit]\nfile = "{small}/audit.log"\n[health]\nport = {port}\n'
        serve = ("--reviews", small / "reviews.sqlite", "--keep", small / "kept")
        watched = folder / "watched"
        watched.mkdir()
        with services(small, pacs.port, settings, ("env", f"TMPDIR={small}/tmp"), watched, serve) as running:
            trial = Trial(running, pacs, _kinds(source, folder))
            trial.check(not trial.send(_films(source, folder, 0)), "the node took too few at first")
            _until(lambda: not running.node.waiting, 120)
            for round_, leave in enumerate((0, 1 << 20, 0)):  # full, nearly full, full again
                films = _films(source, folder, 10 * (round_ + 1))
                with filled(small, leave):
                    refused = trial.send(films)
                    trial.check(len(refused) == len(films), "the node took what its disk has no room for")
                    trial.check("takes no radiograph" in _health(port), f"/health says {_health(port)}")
                    if leave == 0:
                        status = _review(running, next(iter(films)))
                        trial.check(status == 507, f"serve answered {status} to a review")
                    time.sleep(12)  # the worker's pause
                trial.check(not modality_refuses(refused, running), "the node takes too few after the disk is emptied")
                _until(lambda: not running.node.waiting, 120)
                trial.check(_review(running, next(iter(films))) == 201, "no review after the disk is emptied")
            faults = trial.finish()
            trial.check("200" in _health(port), f"/health says {_health(port)} in the end")
            for name, log in trial.logs().items():
                count = log.count("No space") + log.count("MB left")
                trial.check(count <= FEW, f"{name} says {count} times that there is no room")
            trail = (small / "audit.log").read_text().splitlines()
            whole = all(line.startswith("<AuditMessage>") and line.endswith("</AuditMessage>") for line in trail)
            trial.check(whole, "the audit trail holds half a message")
            halves = list(small.rglob(".covidnet-lite-*-*"))
            trial.check(not halves, f"incomplete files are left: {halves}")
        yield from faults


def modality_refuses(films: list[Path], running: Services) -> bool:
    """Sends again what was refused; whether any of it is refused once more."""
    return set(modality.send(films, running.node.port)) != set(films)


def clock(source: Path, folder: Path) -> Iterator[str]:
    """What went wrong while the wall clock jumped, a line each."""
    state, now, port = folder / "services", folder / "now", free_port()
    state.mkdir()
    now.write_text("0")
    (folder / "sitecustomize.py").write_text(SET_CLOCK.format(file=str(now)))
    before = ("env", f"PYTHONPATH={os.pathsep.join((str(folder), str(ROOT)))}")
    settings = f'[audit]\nfile = "{state}/audit.log"\n[limits]\nfree_mb = 1\n[health]\nport = {port}\n'
    with Orthanc(folder / "pacs") as pacs, services(state, pacs.port, settings, before) as running:
        trial = Trial(running, pacs, _kinds(source, folder))
        trial.check(not trial.send(_films(source, folder, 0)), "the node took too few at first")
        for number, jump in enumerate((*JUMPS, "0"), 1):
            pacs.stop()  # results wait while the clock is set
            now.write_text(jump)
            trial.check(not trial.send(_films(source, folder, 10 * number)), f"the node took too few at {jump} s")
            trial.check("waited" not in _health(port), f"/health says {_health(port)} at {jump} s")
            pacs.start()
            _until(lambda: not running.node.waiting, 400)
        again = modality.send(list(trial.films), running.node.port)
        trial.check(len(again) == len(trial.films), "the node refused what it has answered")
        trial.check("-31535" not in trial.logs()["node"], "a time in the log is negative")
        trail = "".join(path.read_text() for path in state.glob("audit.log*"))
        count = trail.count('originalText="DICOM Instances Accessed"')
        trial.check(count == len(trial.films), f"the audit trail has {count} of {len(trial.films)} answers")
        yield from trial.finish()


def root(source: Path, folder: Path) -> Iterator[str]:
    """What went wrong on a read-only root, a line each."""
    own = folder / "own"
    (own / "tmp").mkdir(parents=True)
    film = next(iter(modality.copies_of(source, folder / "films", 1)))
    bare: tuple[str, ...] = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
    bare += ("--bind", str(own), str(own), "--chdir", str(ROOT), "--die-with-parent")
    bare += ("env", "-u", "HOME", "-u", "TMPDIR", "XDG_CACHE_HOME=/none")
    within = (*bare, f"TMPDIR={own}/tmp")

    def works(*arguments: object, before: tuple[str, ...] = bare, codes: tuple[int, ...] = (0, 3)) -> Iterator[str]:
        line = [*before, sys.executable, "-m", "covidnet_lite", *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300)
        if done.returncode not in codes:
            yield f"{arguments[0]}: exit code {done.returncode}: {done.stderr[-500:]}"
        if "Traceback" in done.stderr:
            yield f"{arguments[0]}: {done.stderr[-500:]}"
        if codes == (2,) and not ("TMPDIR" in done.stderr or "another folder" in done.stderr):
            yield f"{arguments[0]}: does not say what to do: {done.stderr[-500:]}"

    yield from works("classify", film, "--model", MODEL)
    yield from works(
        "classify", film, "--model", MODEL, "--heatmap", own / "maps", "--format", "csv", "-o", own / "a.csv"
    )
    yield from works("classify", film, "--heatmap", folder / "maps", codes=(2,))
    yield from works("models")
    yield from works("models", "verify", ROOT / "covidnet_lite/models/nano.tflite")
    yield from works("doctor")
    for options in (("watch", own, "--once"), ("serve", "--port", 0)):
        yield from works(*options, codes=(2,))  # no folder for temporary files
    yield from works("watch", folder / "films", "--once", before=within, codes=(2,))  # its results have no place
    with Orthanc(folder / "pacs") as pacs, services(own, pacs.port, "[limits]\nfree_mb = 1\n", within) as running:
        trial = Trial(running, pacs, _kinds(source, folder))
        trial.check(not trial.send(_films(source, folder, 0)), "the node took too few")
        yield from trial.finish()


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small disk at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(folder: Path, leave: int) -> Iterator[None]:
    """A disk without room, but for so many bytes."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\1" * 4096):
            pass
    os.truncate(filler, max(0, filler.stat().st_size - leave))
    try:
        yield
    finally:
        filler.unlink()


def _films(source: Path, folder: Path, first: int) -> dict[Path, str]:
    return modality.copies_of(source, folder / "films", 10, first=first)


def _kinds(source: Path, folder: Path) -> tuple[str, ...]:
    (one,) = modality.copies_of(source, folder / "one", 1)
    return ("SR", "SC") if Classifier(MODEL).classify(one).labels else ("SR",)


def _until(true: Callable[[], object], seconds: float) -> None:
    """Waits; what has not happened by then, a check names."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.2)


def _health(port: int) -> str:
    """Status and body of the node's ``/health``."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


def _review(running: Services, film: Path) -> int:
    """The status that ``serve`` answers to a review."""
    answer = running.classify(film, recall="1")
    fields = {
        "image": str(answer["image"]),
        "verdict": "agree" if answer["label"] else "",
        "label": answer["label"] or "",
    }
    response = running.client.post(f"{running.url}/v1/reviews", data=fields, files={"none": ("", b"")})
    return response.status_code


TRIALS = {"disk": disk, "clock": clock, "root": root}


def main() -> int:
    """Prints what went wrong in each trial; 1 where something did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", choices=[[], *TRIALS], help="which (default: all)")
    chosen = parser.parse_args().trials or list(TRIALS)
    source = inputs.real_radiograph()
    absent = missing() or (None if shutil.which("bwrap") else "needs Debian's bubblewrap")
    if source is None or absent or os.geteuid() != 0:
        parser.error(absent or ("needs pydicom-data" if source is None else "needs root, to mount a disk"))
    faults = 0
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            wrong = list(TRIALS[name](source, Path(folder)))
        print(f"{name}: {'; '.join(wrong) or 'nothing ended, nothing was lost, nothing came twice'}", flush=True)
        faults += len(wrong)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
