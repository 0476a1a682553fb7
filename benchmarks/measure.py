"""How to measure on a machine that is never quite idle: in turn, in pairs, as ratios with their noise."""

from __future__ import annotations

import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from covidnet_lite.machine import board
from covidnet_lite.network.interpreter import available_cores


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, or of differences; ``low`` and ``high`` are the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def ratio(values: Sequence[float], yardstick: Sequence[float]) -> Ratio:
    """Of what was taken to what the yardstick took in the same rounds, so that a slow minute cancels out.

    The interval is that of order statistics: no shape of the noise is assumed.
    """
    return _median([t / y for t, y in zip(values, yardstick, strict=True)])


def difference(values: Sequence[float], yardstick: Sequence[float]) -> Ratio:
    """By how much more was taken than the yardstick took in the same rounds, with the same interval."""
    return _median([t - y for t, y in zip(values, yardstick, strict=True)])


def _median(values: Sequence[float]) -> Ratio:
    ordered, last = sorted(values), len(values) - 1
    reach = 0.98 * math.sqrt(len(values))
    low, high = max(0, math.floor(last / 2 - reach)), min(last, math.ceil(last / 2 + reach))
    return Ratio(statistics.median(ordered), ordered[low], ordered[high])


def in_turn(*runs: Callable[[], object], rounds: int) -> list[float]:
    """Median milliseconds of each, taken in turn, so that noise hits all alike."""
    milliseconds_of: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, times in zip(runs, milliseconds_of):
            times.append(milliseconds(run))
    return [statistics.median(times[len(times) // 10 :]) for times in milliseconds_of]


def milliseconds(run: Callable[[], object]) -> float:
    """What one run takes."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


# Asked from inside: what the parent's rusage says of a child includes the parent's own memory.
PEAK = "\nimport re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"


# pip compiles what it installs; a checkout is compiled as it is first imported, if that is not forbidden.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def python(program: str, *args: object) -> list[str]:
    """The command for :func:`process` that runs a Python program."""
    return [sys.executable, "-c", program + PEAK, *map(str, args)]


def process(command: Sequence[str], stdin: str = "") -> tuple[float, float]:
    """Seconds and peak megabytes of a fresh process, which prints its VmHWM in kB last (Linux).

    Args:
        stdin: its standard input.
    """
    start = time.perf_counter()
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, env=ENVIRONMENT)
    seconds = time.perf_counter() - start
    if result.returncode:
        raise RuntimeError(f"the process failed: {result.stderr[-500:]}")
    return seconds, int(result.stdout.split()[-1]) / 1024


def processes(*commands: Sequence[str], rounds: int) -> list[tuple[float, float]]:
    """Median seconds and megabytes of each command, taken in turn."""
    runs: list[list[tuple[float, float]]] = [[] for _ in commands]
    for _ in range(rounds):
        for command, measurements in zip(commands, runs):
            measurements.append(process(command))
    return [(statistics.median(s for s, _ in f), statistics.median(m for _, m in f)) for f in runs]


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, Python, and how busy the machine is right now."""
    return {
        "machine": platform.machine(),
        "processor": board.processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }
