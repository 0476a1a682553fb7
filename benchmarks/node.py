"""Does the node lose a radiograph, or send one twice, when it is killed? With real clients: storescu and Orthanc.

    python benchmarks/node.py         # 1,000 radiographs, killed three times in mid-stream and once after it

Needs the extra ``node``, pydicom-data, and Debian's dcmtk and orthanc. There are two destinations, each an Orthanc; the
second is away until the first has everything. What they hold in the end counts: one Structured Report of every
radiograph and, from a network that does not abstain, one Secondary Capture. A radiograph that was acknowledged is never
offered again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import inputs, modality
from benchmarks.orthanc import AE_TITLE, Orthanc, free_port, missing
from covidnet_lite import Classifier
from covidnet_lite.network.model import DEFAULT
from covidnet_lite.node.layout import Folders

SECOND = "second"  # destination
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """What became of the radiographs.

    Attributes:
        films: how many were sent.
        results: how many each destination should hold.
        kills: with SIGKILL, and how many radiographs had been acknowledged by then.
        lost: results that a destination lacks, as (destination, kind, radiograph).
        surplus: results that it holds and should not, or more than once.
        repeated: results that were sent again, because a kill came between Orthanc's answer and our mark.
        seconds: from the first radiograph sent to the last result stored by the first destination, the second being
            away.
        caught_up: from the return of the second destination to its last result.
        idle_exit: the node's exit code after SIGTERM.
    """

    films: int
    results: int
    kills: tuple[int, ...]
    lost: list[tuple[str, str, str]]
    surplus: list[tuple[str, str, str]]
    repeated: int
    seconds: float
    caught_up: float
    idle_exit: int


class NodeProcess:
    """``covidnet-lite node`` in a process of its own, always on the same port and queue."""

    def __init__(
        self,
        folder: Path,
        pacs_port: int,
        settings: str = "",
        model: str | Path = DEFAULT,
        before: Sequence[str] = (),
    ) -> None:
        """``before`` it may stand a program that starts it."""
        file = folder / "node.toml"
        file.write_text(f'{settings}\n[network]\nmodel = "{model}"\n')
        self.port, self.queue, self.log = free_port(), folder / "queue", folder / "node.log"
        pacs = f"{AE_TITLE}@127.0.0.1:{pacs_port}"
        options = ["--pacs", pacs, "--queue", str(self.queue), "--port", str(self.port), "--settings", str(file)]
        self._command = [*before, sys.executable, "-m", "covidnet_lite", "node", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it listens; one that still runs is killed first."""
        self.kill()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the node does not listen: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As a power cut would, for the process."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.poll() if self._process else None

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process
        return self._process.pid

    @property
    def waiting(self) -> int:
        """Radiographs in the queue, and results, of each destination its own."""
        return sum(map(self.waiting_for, (part.name for part in (self.queue / "to").iterdir())))

    def waiting_for(self, destination: str) -> int:
        """Radiographs in the queue, and results that one destination does not have yet."""
        parts = ("received", "outgoing", f"to/{destination}")
        with Folders(self.queue, (destination,)).exclusive():  # else one whose name changes now might be overlooked
            return sum(len(os.listdir(self.queue / part)) for part in parts)


def trial(
    source: Path, folder: Path, count: int, kills: Sequence[float] = (0.2, 0.5, 0.8), model: str | Path = DEFAULT
) -> Outcome:
    """Sends radiographs, kills the node when these shares of them are acknowledged, and once more when all are.

    Args:
        source: a DICOM radiograph to make copies of.
        folder: for everything; empty.
        model: a shipped network's name, or the path of a ``.tflite``.
    """
    uid_of = modality.copies_of(source, folder / "films", count)
    has_answer = Classifier(model).classify(next(iter(uid_of))).labels
    kinds = ("SR", "SC") if has_answer else ("SR",)  # an abstention is sent without an image
    remaining, acknowledged, killed = list(uid_of), 0, []
    at = [max(1, round(share * count)) for share in kills]
    places = {"pacs": Orthanc(folder / "pacs"), SECOND: Orthanc(folder / SECOND)}
    with contextlib.ExitStack() as running:
        running.enter_context(places["pacs"])
        second = f'[destinations.{SECOND}]\nae_title = "{AE_TITLE}"\nhost = "127.0.0.1"\nport = {places[SECOND].port}\n'
        node = NodeProcess(folder, places["pacs"].port, second, model)
        running.callback(node.kill)

        def count_acknowledged() -> None:
            nonlocal acknowledged
            acknowledged += 1
            if at and acknowledged >= at[0]:
                at.pop(0)
                node.kill()
                killed.append(acknowledged)

        node.start()
        start = time.monotonic()
        for _ in range(len(kills) + 1):
            stored = set(modality.send(remaining, node.port, acknowledged=count_acknowledged))
            remaining = [path for path in remaining if path not in stored]
            if not remaining:
                break
            node.start()
        if remaining:
            raise RuntimeError(f"{len(remaining)} films were not taken; see {node.log}")
        node.kill()
        killed.append(acknowledged)
        node.start()
        seconds = _until_empty(node, "pacs", count, start)
        running.enter_context(places[SECOND])
        caught_up = _until_empty(node, SECOND, count, time.monotonic())
        code = node.terminate()
        results = Counter((name, *result) for name, place in places.items() for result in place.results())
    logs = [(folder / name / "orthanc.log").read_text(errors="replace") for name in places]
    expected = Counter((name, kind, uid) for name in places for kind in kinds for uid in uid_of.values())
    return Outcome(
        count,
        expected.total() // len(places),
        tuple(killed),
        sorted(expected - results),
        sorted(results - expected),
        sum(log.count("Already stored") for log in logs),
        seconds,
        caught_up,
        code,
    )


def _until_empty(node: NodeProcess, destination: str, count: int, start: float) -> float:
    """Waits until nothing waits for a destination; the seconds since ``start``."""
    until = time.monotonic() + 330 + 3 * count  # a pause after failures lasts five minutes at most
    while node.waiting_for(destination) and time.monotonic() < until:
        time.sleep(0.2)
    return time.monotonic() - start


def main() -> int:
    """Prints the outcome; 0 if nothing was lost and nothing is there twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=1000, metavar="N", help="how many (default: 1000)")
    parser.add_argument("--model", default=DEFAULT, help=f"a network's name or path (default: {DEFAULT})")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep films, queue, logs and Orthanc's storage here")
    args = parser.parse_args()
    source = inputs.real_radiograph()
    if missing_program := missing():
        parser.error(missing_program)
    if source is None:
        parser.error("needs pydicom-data")
    with tempfile.TemporaryDirectory() as folder:
        outcome = trial(source, args.folder or Path(folder), args.films, model=args.model)
    rows = {
        "films sent with storescu": outcome.films,
        "results that each of two Orthancs should hold": outcome.results,
        "SIGKILLs, after so many acknowledged": ", ".join(map(str, outcome.kills)),
        "results lost": len(outcome.lost),
        "results surplus": len(outcome.surplus),
        "results sent again under the same UID": outcome.repeated,
        "seconds until the first had all, the second away": f"{outcome.seconds:.0f}",
        "seconds until the second had all, when it came": f"{outcome.caught_up:.0f}",
        "exit code after SIGTERM": outcome.idle_exit,
    }
    for name, value in rows.items():
        print(f"{name:50} {value}")
    return 1 if outcome.lost or outcome.surplus or outcome.idle_exit else 0


if __name__ == "__main__":
    sys.exit(main())
