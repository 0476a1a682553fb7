"""Many radiographs through ``serve``, ``watch`` and ``node`` at once: does anything grow, get lost, or change?

    python -m benchmarks.long_run --films 5000        # of each service; --hours N ends sooner

Radiographs are sent in batches. In every fourth batch the PACS is away, and in every fourth the MQTT broker; both come
back. After each batch a line tells memory, descriptors and threads of each service with its processes, and the bytes of
the node's queue. At the end every answer of ``serve`` and ``watch`` must be that of one process, every radiograph must
have its result at the PACS once, and nothing may have grown since the second batch. Needs the extras ``node``, ``web``,
``mqtt`` and ``test``, pydicom-data, and Debian's dcmtk, orthanc and mosquitto.
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import inputs, modality
from benchmarks.node import NodeProcess
from benchmarks.orthanc import Orthanc, free_port, missing
from covidnet_lite import Classifier

ROOT = Path(__file__).resolve().parent.parent
MODEL = "nano"
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


@contextmanager
def command(*arguments: object, log: Path, out: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """A command of the package, at work."""
    with open(log, "ab") as errors:
        line = [sys.executable, "-m", "covidnet_lite", *map(str, arguments), "--model", MODEL]
        process = subprocess.Popen(line, cwd=ROOT, stdout=out, stderr=errors, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def disk(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Prints a line a batch and the outcome; 1 where something grew, was lost, came twice or was answered otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=5000, help="for each service (default: 5000)")
    parser.add_argument("--batch", type=int, default=250, help="films at a time (default: 250)")
    parser.add_argument("--hours", type=float, default=24.0, help="end after the batch that reaches this (default: 24)")
    args = parser.parse_args()
    source, missing_program = (
        inputs.real_radiograph(),
        missing() or (None if shutil.which("mosquitto") else "needs Debian's mosquitto"),
    )
    if source is None or missing_program:
        parser.error(missing_program or "needs pydicom-data")
    with tempfile.TemporaryDirectory() as folder:
        faults = run(source, Path(folder), args.films, args.batch, args.hours)
    print("\n".join(faults) or "nothing grew, nothing was lost, nothing came twice, every answer is the same")
    return 1 if faults else 0


def run(source: Path, folder: Path, count: int, batch: int, hours: float) -> list[str]:
    """What went wrong, a line each."""
    files_of = list(modality.copies_of(source, folder / "films", count).items())
    expected = Classifier(MODEL).classify(files_of[0][0])
    kinds = ("SR", "SC") if expected.labels else ("SR",)
    watched, faults, history, end = (
        folder / "watched",
        list[str](),
        list[dict[str, Resources]](),
        time.monotonic() + hours * 3600,
    )
    watched.mkdir()
    broker = Broker(folder)
    with ExitStack() as stack:
        stack.callback(broker.stop)
        broker.start()
        pacs = stack.enter_context(Orthanc(folder / "pacs"))
        node = NodeProcess(folder, pacs.port, "[limits]\nper_address = 4\nfree_mb = 1", MODEL)
        stack.callback(node.kill)
        node.start()
        serve = stack.enter_context(command("serve", "--port", 0, log=folder / "serve.log", out=subprocess.PIPE))
        url = (re.match(r"http://[^/]+", serve.stdout.readline() if serve.stdout else "") or sys.exit("no server"))[0]
        options = ("--settle", "0.1", "--interval", "0.2", "--mqtt", f"127.0.0.1:{broker.port}")
        watch = stack.enter_context(command("watch", watched, *options, log=folder / "watch.log"))
        pids = {"serve": serve.pid, "watch": watch.pid, "node": node.pid}
        pool = stack.enter_context(ThreadPoolExecutor(4))
        client = stack.enter_context(httpx.Client(timeout=300))
        uids: list[str] = []
        for number, at in enumerate(range(0, count, batch)):
            part = files_of[at : at + batch]
            if number % 4 == 2:
                pacs.stop()
            if number % 4 == 3:
                broker.stop()

            def upload(path: Path) -> object:
                files = {"file": (path.name, path.read_bytes())}
                (answer,) = client.post(f"{url}/v1/classify", files=files).json()["results"]
                return answer["label"], answer.get("probabilities")

            answers = pool.map(upload, [path for path, _ in part])
            for path, _ in part:
                shutil.copy(path, watched / f"{path.name}.part")
                os.replace(watched / f"{path.name}.part", watched / path.name)
            stored = modality.send([path for path, _ in part], node.port)
            uids += [uid for path, uid in part if path in set(stored)]
            answer_counts = Counter(json.dumps(answer) for answer in answers)
            if number % 4 == 2:
                pacs.start()
            if number % 4 == 3:
                broker.start()
            patience = time.monotonic() + 120 + batch
            while time.monotonic() < patience and (node.waiting or len(list(watched.glob("*.json"))) < at + len(part)):
                time.sleep(0.5)
            rounded = {label: round(p, 6) for label, p in expected.probabilities.items()}
            if set(answer_counts) != {json.dumps((expected.label, rounded))}:
                faults.append(f"batch {number}: serve answered {answer_counts}")
            history.append({name: resources_of(pid) for name, pid in pids.items()})
            line = "; ".join(f"{n} {h.memory:.0f} MB {h.descriptors} fd {h.threads} th" for n, h in history[-1].items())
            print(f"{at + len(part):6} films  {line}; queue {disk(node.queue)} B", flush=True)
            if time.monotonic() > end:
                break
        expected_results = Counter((kind, uid) for kind in kinds for uid in uids)
        stored_results = Counter(pacs.results())
        if len(uids) != len(files_of[: (number + 1) * batch]):
            faults.append(f"{len(files_of) - len(uids)} films were not taken by the node")
        lost, surplus = expected_results - stored_results, stored_results - expected_results
        if lost or surplus:
            faults.append(f"{lost.total()} results are missing at the PACS, {surplus.total()} too many")
    results = [json.loads(path.read_text()) for path in watched.glob("*.json")]
    for result in results:
        if (result["label"], result.get("probabilities")) != (expected.label, rounded):
            faults.append(f"watch answered {result['name']}: {result['label']} {result.get('probabilities')}")
    if len(results) != len(files_of[: (number + 1) * batch]):
        faults.append(f"watch wrote {len(results)} results")
    return faults + growth(history)


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
