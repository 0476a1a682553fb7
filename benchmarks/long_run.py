"""Many radiographs through ``serve``, ``watch`` and ``node`` at once: does anything grow, get lost, or change?

    python -m benchmarks.long_run --films 5000        # of each service; --hours N ends sooner

Radiographs are sent in batches. In every fourth batch the PACS is away, and in every fourth the MQTT broker; both come
back. After each batch every answer of ``serve`` and ``watch`` must be that of one process, and every radiograph must
have its result at the PACS once; then all of it is removed, and a line tells films a second, memory, descriptors and
threads of each service with its processes, and the bytes of the node's queue, which remembers what it has sent. From
the second batch on nothing may grow. Ends at the first fault, and by Ctrl-C; what it says then is true of the batches
before. Needs the extras ``node``, ``web``, ``mqtt`` and ``test``, pydicom-data, and Debian's dcmtk, orthanc and
mosquitto.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import inputs, modality
from benchmarks.orthanc import Orthanc, free_port, missing
from benchmarks.services import MODEL, Services, services
from covidnet_lite import Classifier
from covidnet_lite.prediction import Prediction

GROWTH = {"memory": 1.25, "descriptors": 1.1, "threads": 1.1}  # at most, from the second batch to the last


@dataclass(frozen=True)
class Resources:
    """What a service and its processes hold: megabytes, open files, threads."""

    memory: float
    descriptors: int
    threads: int


def resources_of(pid: int) -> Resources:
    """What a process and those below it hold."""
    memory, descriptors, threads, waiting = 0.0, 0, 0, [pid]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        try:
            status = (folder / "status").read_text()
            below = "".join(path.read_text() for path in folder.glob("task/*/children"))
            descriptors += len(os.listdir(folder / "fd"))
        except OSError:  # it has just ended
            continue
        fields = {name: re.search(rf"^{name}:\s+(\d+)", status, re.M) for name in ("VmRSS", "Threads")}
        memory += int(fields["VmRSS"][1]) / 1024 if fields["VmRSS"] else 0.0
        threads += int(fields["Threads"][1]) if fields["Threads"] else 0
        waiting += map(int, below.split())
    return Resources(memory, descriptors, threads)


class Broker:
    """Mosquitto, which comes and goes."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")

    def start(self) -> None:
        """Starts it."""
        self._process = subprocess.Popen(["mosquitto", "-c", self._settings], stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """Ends it, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def disk(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Films:
    """Copies of a radiograph, each a radiograph of its own; a batch is there while it is in use."""

    source: Path
    folder: Path

    @contextmanager
    def batch(self, first: int, count: int) -> Iterator[dict[Path, str]]:
        """Path -> SOP Instance UID."""
        try:
            yield modality.copies_of(self.source, self.folder, count, first=first)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Run:
    """The services and those that they talk to."""

    def __init__(self, running: Services, pacs: Orthanc, broker: Broker, expected: Prediction) -> None:
        self.services, self.pacs, self.broker = running, pacs, broker
        rounded = {label: round(p, 6) for label, p in expected.probabilities.items()}
        self.answer = json.dumps((expected.label, rounded))
        self.kinds = ("SR", "SC") if expected.labels else ("SR",)
        self.faults: list[str] = []
        self.history: list[dict[str, Resources]] = []
        self.done = 0

    def batch(self, films: dict[Path, str], pool: ThreadPoolExecutor) -> None:
        """Sends radiographs to all three, waits for everything, and compares; nothing of them is left."""
        number, running = len(self.history), self.services
        if number % 4 == 2:
            self.pacs.stop()
        if number % 4 == 3:
            self.broker.stop()
        answers = pool.map(running.classify, films)
        for path in films:
            running.put(path)
        taken = modality.send(list(films), running.node.port)
        served = Counter(map(_answer, answers))
        if number % 4 == 2:
            self.pacs.start()
        if number % 4 == 3:
            self.broker.start()
        patience = time.monotonic() + 600 + len(films)  # a pause after failures lasts five minutes at most
        while time.monotonic() < patience and (running.node.waiting or running.watch_count < len(films)):
            time.sleep(0.2)
        written = [json.loads(path.read_text()) for path in running.results.glob("*.json")]
        self._compare("serve", served, Counter({self.answer: len(films)}), number)
        self._compare("watch", Counter(map(_answer, written)), Counter({self.answer: len(films)}), number)
        self._compare("node took", Counter(taken), Counter(list(films)), number)
        sent = Counter((kind, uid) for kind in self.kinds for uid in films.values())
        self._compare("PACS has", Counter(self.pacs.take()), sent, number)
        for path in running.results.iterdir():
            if not path.name.startswith("."):
                path.unlink()
        self.done += len(films)
        self.history.append({name: resources_of(pid) for name, pid in running.pids.items()})

    def _compare(self, what: str, there: Counter[Any], wanted: Counter[Any], number: int) -> None:
        missing, surplus = wanted - there, there - wanted
        if missing or surplus:
            examples = [*missing, *surplus][:2]
            self.faults.append(
                f"batch {number}: {what} {missing.total()} too few, {surplus.total()} too many, as {examples}"
            )


def _answer(result: Mapping[str, Any]) -> str:
    return json.dumps((result["label"], result.get("probabilities")))


def main() -> int:
    """Prints a line a batch and the outcome; 1 where something grew, was lost, came twice or was answered otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=5000, help="for each service (default: 5000)")
    parser.add_argument("--batch", type=int, default=250, help="films at a time (default: 250)")
    parser.add_argument("--hours", type=float, default=24.0, help="end after the batch that reaches this (default: 24)")
    args = parser.parse_args()
    source = inputs.real_radiograph()
    absent = missing() or (None if shutil.which("mosquitto") else "needs Debian's mosquitto")
    if source is None or absent:
        parser.error(absent or "needs pydicom-data")
    with tempfile.TemporaryDirectory() as folder:
        done, faults = run(source, Path(folder), args.films, args.batch, args.hours)
    verdict = "nothing grew, nothing was lost, nothing came twice, every answer is the same"
    print(f"{done} films through each of three services:", "; ".join(faults) or verdict)
    return 1 if faults or not done else 0


def run(source: Path, folder: Path, count: int, batch: int, hours: float) -> tuple[int, list[str]]:
    """How many films went through each service, and what went wrong; Ctrl-C ends it after the last whole batch."""
    films, start = Films(source, folder / "films"), time.monotonic()
    with films.batch(0, 1) as one:
        expected = Classifier(MODEL).classify(next(iter(one)))
    broker = Broker(folder)
    with ExitStack() as stack:
        stack.callback(broker.stop)
        broker.start()
        pacs = stack.enter_context(Orthanc(folder / "pacs"))
        settings = f"[limits]\nper_address = 4\nfree_mb = 1\nfilms = {max(1000, 2 * batch)}"
        options = ("--mqtt", f"127.0.0.1:{broker.port}")
        running = stack.enter_context(services(folder, pacs.port, settings, watch=options))
        trial, pool = Run(running, pacs, broker, expected), stack.enter_context(ThreadPoolExecutor(4))
        try:
            for first in range(0, count, batch):
                with films.batch(first, min(batch, count - first)) as part:
                    trial.batch(part, pool)
                print(line(trial, time.monotonic() - start), flush=True)
                if trial.faults or time.monotonic() - start > 3600 * hours:
                    break
        except KeyboardInterrupt:
            print("ended before the next batch was whole", flush=True)
        return trial.done, trial.faults + growth(trial.history)


def line(trial: Run, seconds: float) -> str:
    """The state after a batch."""
    held = "; ".join(f"{n} {h.memory:.0f} MB {h.descriptors} fd {h.threads} th" for n, h in trial.history[-1].items())
    rate = trial.done / seconds
    return f"{trial.done:6} films, {rate:.2f}/s  {held}; queue {disk(trial.services.node.queue)} B"


def growth(history: list[dict[str, Resources]]) -> list[str]:
    """What grew from the second batch to the last."""
    if len(history) < 3:
        return []
    first, last = history[1], history[-1]
    return [
        f"{name}: {quantity} grew from {getattr(first[name], quantity)} to {getattr(last[name], quantity)}"
        for name in first
        for quantity, limit in GROWTH.items()
        if getattr(last[name], quantity) > limit * getattr(first[name], quantity) + 2
    ]


if __name__ == "__main__":
    sys.exit(main())
