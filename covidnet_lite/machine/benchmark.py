"""Speed and memory on this machine: each stage, throughput, a whole process, and what may have disturbed the figures.

Measures ``classify`` on files, warm, with one number of threads after the other; ``classify_many`` for throughput; and
fresh processes for start-up and memory. Reads the machine's state before and after, since a Raspberry Pi that is too
hot or on a weak supply slows itself down and reports it nowhere else.
"""

from __future__ import annotations

import datetime
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from .. import __version__, csv_cells
from ..classifier import Classifier
from ..csv_cells import cell
from ..errors import BackendError, BenchmarkError, InputError, MissingExtraError
from ..network.interpreter import available_cores
from ..prediction import Failure
from ..runtimes import RUNTIMES
from . import board

STAGES = ("read", "fit", "run", "judge")
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}
WARM_UP = 10  # radiographs before the clock starts
PROCESSES = 3
SIDE = 2048  # pixels of the synthetic radiograph
BUSY = 0.5  # load above which other programs disturb the figures

# A user's own short program, which then prints how much memory it took.
PROGRAM = """
import json, sys
import covidnet_lite
path, options = json.loads(sys.argv[1])
covidnet_lite.Classifier(**options).classify(path)
from covidnet_lite.machine.board import peak_memory
print(json.dumps(peak_memory()))
"""


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of a time, milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Timing:
    """The figures for one number of threads.

    Attributes:
        threads: for one inference.
        stages: ``read``, ``fit``, ``run``, ``judge`` and ``total``, each by itself, so that they need not add up.
        images_per_second: of ``classify_many``, which decodes on all cores.
        measured, left_out: radiographs that went through all stages, and unreadable or blank ones.
        after: the machine's state afterwards.
    """

    threads: int
    stages: dict[str, Percentiles]
    images_per_second: float
    measured: int
    left_out: int
    after: board.State


@dataclass(frozen=True)
class Benchmark:
    """All figures, with the machine, the network and the images.

    Attributes:
        date: when, ISO 8601.
        version: of this package.
        model, sha256: the network.
        runtime: its name and version.
        edgetpu: whether an Edge TPU ran the network.
        images: what was classified.
        timings: one for each number of threads, in the order asked for.
        cold_start_s: median seconds of a whole process that classifies one radiograph, Python's start included.
        peak_mib: the most memory such a process held; ``None`` where the system does not report it.
        before, after: the machine's state.
    """

    date: str
    version: str
    model: str
    sha256: str
    runtime: str
    edgetpu: bool
    images: str
    machine: board.Machine
    timings: tuple[Timing, ...]
    cold_start_s: float
    peak_mib: float | None
    before: board.State
    after: board.State

    @property
    def fastest(self) -> Timing:
        """The figures for the number of threads with the lowest median."""
        return min(self.timings, key=lambda timing: timing.stages["total"].p50)

    def to_json(self) -> str:
        """Everything, the warnings included."""
        return json.dumps({**asdict(self), "warnings": warnings(self)}, indent=1, ensure_ascii=False) + "\n"


def _of_fastest(stage: str, percentile: str) -> Callable[[Benchmark], object]:
    return lambda b: f"{getattr(b.fastest.stages[stage], percentile):.2f}"


# The columns of benchmarks/reference/BOARD.csv and their values, for the fastest number of threads.
COLUMNS: dict[str, Callable[[Benchmark], object]] = {
    "board": lambda b: b.machine.board,
    "processor": lambda b: b.machine.processor,
    "cores": lambda b: b.machine.cores,
    "mhz": lambda b: b.machine.mhz,
    "memory": lambda b: b.machine.memory,
    "system": lambda b: b.machine.system,
    "python": lambda b: b.machine.python,
    "date": lambda b: b.date,
    "covidnet_lite": lambda b: b.version,
    "model": lambda b: b.model,
    "sha256": lambda b: b.sha256[:12],
    "runtime": lambda b: b.runtime,
    "edgetpu": lambda b: "yes" if b.edgetpu else "no",
    "images": lambda b: b.images,
    "threads": lambda b: b.fastest.threads,
    **{f"{stage}_p50_ms": _of_fastest(stage, "p50") for stage in STAGES},
    **{f"total_{percentile}_ms": _of_fastest("total", percentile) for percentile in PERCENTILES},
    "images_per_second": lambda b: f"{b.fastest.images_per_second:.2f}",
    "cold_start_s": lambda b: f"{b.cold_start_s:.2f}",
    "peak_mib": lambda b: None if b.peak_mib is None else f"{b.peak_mib:.1f}",
    "governor": lambda b: b.after.governor,
    "celsius_before": lambda b: b.before.temperature,
    "celsius_after": lambda b: b.after.temperature,
    "throttled_before": lambda b: None if b.before.throttled is None else f"{b.before.throttled:#x}",
    "throttled_after": lambda b: None if b.after.throttled is None else f"{b.after.throttled:#x}",
    "load_before": lambda b: b.before.load,
}


def default_threads() -> tuple[int, ...]:
    """1, 2 and 4, as far as there are cores."""
    return tuple(n for n in (1, 2, 4) if n <= available_cores()) or (1,)


def measure(
    model: str = "base",
    runtime: str | None = None,
    threads: Sequence[int] = (),
    paths: Sequence[str] = (),
    edgetpu: str | None = None,
    rounds: int = 100,
    progress: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Measures a network on this machine.

    Args:
        model, runtime, edgetpu: as for :class:`covidnet_lite.Classifier`.
        threads: numbers of threads for one inference, one after the other; empty for :func:`default_threads`.
        paths: files to classify, in turn; empty for a synthetic radiograph.
        rounds: radiographs to time for each number of threads.
        progress: called with a line about the next step.

    Raises:
        BenchmarkError: ``rounds`` is not a positive integer, or none of the files goes through all stages.
        ModelError, BackendError: as for :class:`covidnet_lite.Classifier`.
    """
    if type(rounds) is not int or rounds < 1:
        raise BenchmarkError(f"rounds must be a whole number, 1 or more, not {rounds!r}")
    before = board.state()
    with _files(paths) as (files, images):
        queue = list(islice(cycle(files), rounds))
        timings = []
        for n in threads or default_threads():
            progress(f"{rounds} radiographs with {n} {'thread' if n == 1 else 'threads'}")
            classifier = Classifier(model, runtime, n, edgetpu=edgetpu)
            timing, usable = _time(classifier, n, queue)
            timings.append(timing)
        network, name, on_edgetpu = classifier.model, classifier.runtime, classifier.edgetpu
        del classifier  # releases the Edge TPU, which only one process can use
        progress(f"{PROCESSES} whole processes")
        options = {"model": model, "runtime": runtime, "edgetpu": edgetpu}
        cold_start, peak = _whole_process(usable, options)
    return Benchmark(
        date=datetime.date.today().isoformat(),
        version=__version__,
        model=network.name,
        sha256=network.sha256,
        runtime=f"{name} {board.installed(RUNTIMES[name].package) or ''}".strip(),
        edgetpu=on_edgetpu,
        images=images,
        machine=board.machine(),
        timings=tuple(timings),
        cold_start_s=cold_start,
        peak_mib=peak,
        before=before,
        after=board.state(),
    )


def warnings(benchmark: Benchmark) -> list[str]:
    """Reasons not to trust the figures."""
    before, after = benchmark.before, benchmark.after
    messages = []
    slowdowns = board.slowdowns(before, *(timing.after for timing in benchmark.timings), after)
    if slowdowns:
        messages.append(f"the board slowed itself down ({', '.join(slowdowns)}): give it a stronger supply or a cooler")
    hottest = max(timing.after.temperature or 0 for timing in benchmark.timings)
    if hottest >= board.HOT:
        messages.append(f"it got hot ({hottest:.0f} °C): give it a cooler, or let it cool down first")
    if after.governor not in (None, "performance"):
        messages.append(
            f"the clock follows the load (governor {after.governor}): for figures that repeat, "
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
    if before.load is not None and before.load >= BUSY:
        messages.append(
            f"other programs were running (load {before.load:.2f}): end them, wait a minute and measure again"
        )
    left_out = max(timing.left_out for timing in benchmark.timings)
    if left_out:
        messages.append(f"{left_out} of {left_out + benchmark.fastest.measured} radiographs were unreadable or blank")
    return messages


def table(benchmark: Benchmark) -> str:
    """The figures as a table for people."""
    b, m = benchmark, benchmark.machine
    clock = f" at {m.mhz} MHz" if m.mhz else ""
    where = "an Edge TPU" if b.edgetpu else "the processor"
    columns = (*STAGES, "total")
    lines = [
        f"covidnet-lite {b.version}, {b.model} in {b.runtime} on {where}",
        f"{m.board}: {m.cores} x {m.processor}{clock}, {m.memory}; {m.system}, Python {m.python}",
        *(f"Edge TPU: {name}" for name in m.edge_tpus),
        f"{b.fastest.measured} times {b.images}",
        "",
        f"{'threads':<9}{'ms':<5}" + "".join(f"{name:>10}" for name in columns) + f"{'images/s':>12}",
    ]
    for timing in b.timings:
        for i, percentile in enumerate(PERCENTILES):
            values = "".join(f"{getattr(timing.stages[name], percentile):>10.2f}" for name in columns)
            ends = (f"{timing.threads:<9}", f"{timing.images_per_second:>12.1f}") if i == 0 else (" " * 9, "")
            lines.append(f"{ends[0]}{percentile:<5}{values}{ends[1]}")
    memory = "" if b.peak_mib is None else f" and {b.peak_mib:.0f} MiB"
    lines += [
        "",
        f"whole process  {b.cold_start_s:.2f} s{memory}",
        f"before         {b.before}",
        f"after          {b.after}",
        *(f"warning        {text}" for text in warnings(b)),
    ]
    return "\n".join(lines)


def row(benchmark: Benchmark) -> str:
    """The header and the row of ``benchmarks/reference/BOARD.csv``, as CSV."""
    out = io.StringIO()
    rows = csv_cells.writer(out)
    rows.writerow(COLUMNS)
    rows.writerow([cell(str("" if (value := value_of(benchmark)) is None else value)) for value_of in COLUMNS.values()])
    return out.getvalue().rstrip()


def synthetic_radiograph(path: Path, width: int = SIDE, height: int = SIDE, seed: int = 0) -> Path:
    """Writes a gray image with the size and detail of a radiograph, as JPEG or PNG by the path's suffix."""
    x, y = (np.linspace(0, 1, side, dtype=np.float32) for side in (width, height))
    body = np.random.default_rng(seed).standard_normal((height, width), np.float32)
    body *= 6
    body += 140 + 60 * np.outer(np.cos(7 * y), np.sin(9 * x))
    Image.fromarray(body.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


@contextmanager
def _files(paths: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """The files to classify, and a description without their names, since others see the figures."""
    if paths:
        yield list(paths), f"own files ({len(paths)})"
        return
    with tempfile.TemporaryDirectory(prefix="covidnet-lite-") as folder:
        yield [str(synthetic_radiograph(Path(folder) / "picture.jpg"))], f"a synthetic {SIDE} x {SIDE} JPEG"


def _time(classifier: Classifier, threads: int, paths: Sequence[str]) -> tuple[Timing, str]:
    """The timing, and a file that went through all stages."""
    for _ in classifier.classify_many(paths[:WARM_UP]):
        pass
    times: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "total")}
    usable = reason = ""
    for path in paths:
        start = time.perf_counter()
        try:
            prediction = classifier.classify(path)
        except (InputError, MissingExtraError) as error:
            reason = reason or str(error)
            continue
        total = (time.perf_counter() - start) * 1e3
        if set(prediction.timings) != {*STAGES}:  # refused before it was run
            reason = reason or f"{prediction.name}: {prediction.reason}"
            continue
        usable = path
        for stage, ms in {**prediction.timings, "total": total}.items():
            times[stage].append(ms)
    if not usable:
        raise BenchmarkError(f"no radiograph to measure with: {reason}; give others")
    start = time.perf_counter()
    readable = sum(not isinstance(result, Failure) for result in classifier.classify_many(paths))
    per_second = readable / (time.perf_counter() - start)
    stages = {
        stage: Percentiles(*(float(v) for v in np.percentile(ms, [*PERCENTILES.values()])))
        for stage, ms in times.items()
    }
    measured = len(times["total"])
    return Timing(threads, stages, per_second, measured, len(paths) - measured, board.state()), usable


def _whole_process(path: str, options: dict[str, str | None]) -> tuple[float, float | None]:
    """Median seconds and highest peak, MiB, of fresh processes that classify one radiograph.

    Raises:
        BackendError: one fails.
    """
    seconds, peaks = [], []
    for _ in range(PROCESSES):
        start = time.perf_counter()
        command = [sys.executable, "-c", PROGRAM, json.dumps([path, options])]
        process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
        if process.returncode:
            raise BackendError(
                f"a fresh process failed ({process.returncode}), perhaps for lack of memory: "
                f"{process.stderr.strip()[-500:]}"
            )
        peaks.append(json.loads(process.stdout))
    return statistics.median(seconds), None if None in peaks else max(peaks)
