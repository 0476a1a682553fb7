"""covidnet_lite against alternatives: ``make bench-peers``, or ``python benchmarks/peers.py``.

Each peer is a snippet in benchmarks/peers/, as its own documentation writes it, and a process of its own; all read the
same files and run the same int8 network. They are asked in turn, so that noise hits all alike, and compared by the
median of ratios to ours in the same round, with their better number of threads.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import comparison, inputs
from benchmarks.comparison import Comparison, Row, Times
from benchmarks.forms import FORMS
from benchmarks.measure import machine, process
from benchmarks.workers import Worker
from covidnet_lite import files
from covidnet_lite.errors import BackendError, CovidNetLiteError, ModelError
from covidnet_lite.machine.board import installed
from covidnet_lite.network import model
from covidnet_lite.network.interpreter import Interpreter

ROOT = Path(__file__).resolve().parent.parent

SNIPPETS = ROOT / "benchmarks/peers"
THREADS = (1, 2)
COLD = "2048 JPEG"  # the file of cold starts and of memory


@dataclass(frozen=True)
class Peer:
    """Who is measured.

    Attributes:
        name: in the table.
        snippet: a file in benchmarks/peers/.
        form: a key of ``FORMS``: what it takes the network as.
        needs_old_python: needs NumPy 1 and Python 3.11 or older, so an environment of its own.
        threads: the settings tried; 0 where it takes none.
    """

    name: str
    snippet: str
    form: str = "tflite"
    needs_old_python: bool = False
    threads: tuple[int, ...] = THREADS


OURS = Peer("covidnet_lite", "ours")
PEERS = (
    OURS,
    Peer("LiteRT, OpenCV", "litert_opencv"),
    Peer("LiteRT, Pillow", "litert_pillow"),
    Peer("LiteRT, Pillow through RGB to float", "litert_rgb"),
    Peer("tflite-runtime, Pillow", "tflite_runtime_pillow", needs_old_python=True),
    Peer("TensorFlow, Pillow", "tensorflow_pillow"),
    Peer("MediaPipe, OpenCV", "mediapipe_image", "mediapipe", threads=(0,)),
    Peer("ONNX Runtime, Pillow", "onnx_runtime", "onnx"),
    Peer("ONNX Runtime's own int8, Pillow", "onnx_runtime", "onnx_static"),
    Peer("OpenVINO, OpenCV", "openvino_opencv"),
)
PACKAGES = (
    "numpy", "Pillow", "opencv-contrib-python", "pydicom", "ai-edge-litert", "tensorflow", "mediapipe", "onnxruntime",
    "tf2onnx", "openvino",
)  # fmt: skip

Key = tuple[Peer, int]  # and threads


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints the table, writes it with the figures and a plot."""
    args = build_parser().parse_args(argv)
    rounds, cold_rounds = (3, 2) if args.quick else (args.rounds, args.cold_rounds)
    peers = [p for p in PEERS if p == OURS or not args.only or any(o.lower() in p.name.lower() for o in args.only)]
    machine_before = machine()  # before anything runs: the load is that of others
    try:
        network = model.load(args.model)
        check(network)
        with tempfile.TemporaryDirectory() as folder:
            comparison_ = measure(network, peers, args.old_python, Path(folder), rounds, cold_rounds, machine_before)
        print(comparison.markdown(comparison_))
        files.write(args.out / "peers.json", comparison.to_json(comparison_))
        files.write(args.out / "peers.md", comparison.document(comparison_))
        files.write(args.out / "peers.png", comparison.draw(comparison_))
        if args.write:
            files.write(args.write, comparison.document(comparison_))
    except CovidNetLiteError as error:
        print(f"peers: error: {error}", file=sys.stderr)
        return 2
    print(f"\nwritten to {args.out}{f' and {args.write}' if args.write else ''}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=model.DEFAULT, help="a shipped network, or a .tflite (default: base)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers with one of these in their names")
    parser.add_argument("--rounds", type=int, default=40, help="of each peer on each file (default: 40)")
    parser.add_argument("--cold-rounds", type=int, default=9, help="fresh processes of each peer (default: 9)")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that all works, measures nothing")
    parser.add_argument("--old-python", metavar="PYTHON", help="a Python that has tflite-runtime")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/peers", help="folder for table, JSON and plot")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the page to this file, as docs/peers.md")
    return parser


def check(network: model.Model) -> None:
    """The snippets know how the shipped networks store a gray byte; they would feed others nonsense.

    Raises:
        ModelError: the network wants something else.
    """
    if not np.array_equal(Interpreter(network, threads=1).tables, [np.arange(-128, 128)]):
        raise ModelError(f"{network.path}: does not store gray - 128 in one int8 channel; the peers' snippets do")


def measure(
    network: model.Model,
    peers: Sequence[Peer],
    old_python: str | None,
    folder: Path,
    rounds: int,
    cold_rounds: int,
    machine_before: dict[str, object],
) -> Comparison:
    """All of it: warm and in turn, then cold and in turn."""
    kinds, left_out = inputs.all_kinds(folder), {}
    commands: dict[Key, list[str]] = {}
    with ExitStack() as stack:
        workers: dict[Key, Worker] = {}
        for peer in peers:
            try:
                python = interpreter_for(peer, old_python)
                path = FORMS[peer.form](network, folder)
                for threads in peer.threads:
                    command = command_for(python, peer, path, network, threads)
                    workers[peer, threads] = stack.enter_context(Worker(command))
                    commands[peer, threads] = command
            except Exception as error:  # whatever a peer's own tools raise costs that peer alone
                if peer == OURS:
                    raise
                left_out[peer.name] = " ".join(f"{type(error).__name__}: {error}".split())
                print(f"{peer.name} is left out: {left_out[peer.name]}", file=sys.stderr)
        warm = in_turn(workers, kinds, rounds)
    for peer in {peer for peer, threads in warm if COLD not in warm[peer, threads]}:
        left_out[peer.name] = f"it fails on {COLD}"
    best_threads = {peer: better(peer, warm) for peer, _ in warm if peer.name not in left_out}
    commands_ = {(peer, threads): commands[peer, threads] for peer, threads in best_threads.items()}
    cold = cold_starts(commands_, kinds[COLD], cold_rounds)
    rows = [
        Row(peer.name, threads, warm[peer, threads], *cold[peer, threads], None)
        for peer, threads in best_threads.items()
    ]
    labels = (*network.manifest.labels, "refused")  # which is -1
    dicom_kinds = [name for name in kinds if "DICOM" in name]
    rows_named = [
        comparison.with_class_of_radiograph(row, dicom_kinds[0], labels) if dicom_kinds else row for row in rows
    ]
    facts = {**machine_before, "packages": {name: found for name in PACKAGES if (found := installed(name))}}
    return Comparison(network.name, network.sha256, rounds, cold_rounds, facts, rows_named, left_out)


def interpreter_for(peer: Peer, old_python: str | None) -> str:
    """The Python that runs a peer.

    Raises:
        BackendError: it needs an older one, and there is none.
    """
    if not peer.needs_old_python:
        return sys.executable
    if not old_python or not shutil.which(old_python):
        raise BackendError("needs NumPy 1 and Python 3.11 or older, which is not installed here (--old-python)")
    return old_python


def command_for(python: str, peer: Peer, path: Path, network: model.Model, threads: int) -> list[str]:
    """How its process is started."""
    # MediaPipe's form has the logits alone.
    logits = 0 if peer.form == "mediapipe" else network.manifest.outputs["logits"]
    return [python, str(SNIPPETS / f"{peer.snippet}.py"), str(path), str(logits), str(threads)]


def in_turn(workers: dict[Key, Worker], kinds: dict[str, Path], rounds: int) -> dict[Key, dict[str, Times]]:
    """Milliseconds of each worker on each file; a file that one fails on is left out for it alone."""
    times_of: dict[Key, dict[str, Times]] = {key: {} for key in workers}
    for kind, path in kinds.items():
        milliseconds: dict[Key, list[float]] = {key: [] for key in workers}
        labels: dict[Key, int] = {}
        for _ in range(rounds):
            for key, worker in workers.items():
                if key in milliseconds:
                    try:
                        worker.ask(path)  # brings back into the caches what the one before took
                        answer = worker.ask(path)
                    except CovidNetLiteError as error:
                        if key[0] == OURS:
                            raise
                        print(f"{key[0].name} fails on {kind}: {error}", file=sys.stderr)
                        del milliseconds[key]
                        continue
                    milliseconds[key].append(answer.milliseconds)
                    labels[key] = answer.label
        for key, times in milliseconds.items():
            times_of[key][kind] = Times(times, labels[key])
        print(f"{kind}: done", file=sys.stderr)
    return times_of


def better(peer: Peer, warm: dict[Key, dict[str, Times]]) -> int:
    """The number of threads with which a peer is faster over all files."""

    def log_time(threads: int) -> float:
        return float(np.mean([np.log(times.median) for times in warm[peer, threads].values()]))

    return min((threads for one, threads in warm if one == peer), key=log_time)


def cold_starts(commands: dict[Key, list[str]], path: Path, rounds: int) -> dict[Key, tuple[list[float], list[float]]]:
    """Seconds and peak megabytes of whole processes that classify one file."""
    results_of: dict[Key, tuple[list[float], list[float]]] = {key: ([], []) for key in commands}
    for _ in range(rounds):
        for key, command in commands.items():
            seconds, megabytes = process(command, f"{path}\n")
            results_of[key][0].append(seconds)
            results_of[key][1].append(megabytes)
    print("whole processes: done", file=sys.stderr)
    return results_of


if __name__ == "__main__":
    sys.exit(main())
