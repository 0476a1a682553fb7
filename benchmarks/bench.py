"""How fast each part is: ``make bench``, or ``python benchmarks/bench.py``; what it measures: test_stages.py.

``--check`` compares the last run with the committed reference and fails on a regression beyond the noise: exit code 1;
2 where there is nothing to compare. ``--accept`` makes the last run the reference: take it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, Run, changes, from_pytest_benchmark, read, table
from benchmarks.measure import machine
from convert.judge.plots import BLUE, INK, ORANGE, blank_figure, png
from covidnet_lite import files
from covidnet_lite.errors import BackendError, BenchmarkError, CovidNetLiteError

ROOT = Path(__file__).resolve().parent.parent

REFERENCE = ROOT / f"benchmarks/reference/{platform.machine().lower().replace('_', '-')}.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, or compares what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that all works, measures nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/bench", help="folder for table, JSON and plot")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="figures to compare with")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare the last run with the reference")
    action.add_argument("--accept", action="store_true", help="make the last run the reference")
    args = parser.parse_args(argv)
    try:
        if args.check:
            return check(args.out / "bench.json", args.reference)
        if args.accept:
            return accept(args.out / "bench.json", args.reference)
        run = measure(args.quick)
        text = table(run.figures)
        print(f"{text}\n\n{describe(run)}")
        files.write(args.out / "bench.json", run.to_json())
        files.write(args.out / "bench.md", f"{text}\n\n{describe(run)}\n")
        files.write(args.out / "bench.png", draw(run.figures))
        print(f"written to {args.out}")
    except CovidNetLiteError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(quick: bool) -> Run:
    """Runs test_stages.py by pytest-benchmark.

    Raises:
        BackendError: a benchmark fails.
    """
    machine_before = {**machine(), "quick": quick}  # before anything runs: the load is that of others
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pytest-benchmark.json"
        options = ["--benchmark-quiet", f"--benchmark-json={path}", *["--quick"] * quick]
        command = [sys.executable, "-m", "pytest", "benchmarks/test_stages.py", *options]
        if subprocess.run(command, cwd=ROOT).returncode:
            raise BackendError("a benchmark failed, see above")
        return Run(machine_before, from_pytest_benchmark(json.loads(path.read_text())))


def check(path: Path, reference: Path) -> int:
    """Prints what is worse or better than the reference."""
    if not path.is_file():
        raise BenchmarkError(f"{path}: there is no run to check; run make bench first")
    if not reference.is_file():
        raise BenchmarkError(
            f"{reference}: there is no reference yet, so nothing can be said about regressions; on an idle machine "
            "run make bench, then make bench ARGS=--accept, and commit that file"
        )
    now, then = read(path), read(reference)
    if now.machine["quick"]:
        raise BenchmarkError(f"{path}: was measured with --quick, which measures nothing; run make bench first")
    differences = changes(now, then)
    print(f"now:  {describe(now)}\nthen: {describe(then)}")
    if now.machine["processor"] != then.machine["processor"]:
        print("Another processor: ratios differ for that alone.")
    for change in differences:
        if change.verdict == "not measured":
            print(f"not measured: {change.name}")
        elif change.verdict != "same":
            print(f"{change.verdict}: {change.name} ({change.times:.2f} times what it was)")
    worse = sum(change.verdict == "worse" for change in differences)
    print(f"{worse} of {len(differences)} figures are worse beyond the noise")
    return 1 if worse else 0


def accept(path: Path, reference: Path) -> int:
    """Makes a run the reference, unless it is no measurement.

    Raises:
        BenchmarkError: there is no run, it was a quick one, or others kept the machine busy.
    """
    run = read(path)
    if run.machine["quick"]:
        raise BenchmarkError(f"{path}: was measured with --quick; a reference needs all rounds")
    if run.machine["load"] > 0.5 * run.machine["cores"]:
        raise BenchmarkError(
            f"{path}: the load was {run.machine['load']:.2f} when it began; measure on an idle machine"
        )
    files.write(reference, run.to_json())
    print(f"{reference}: {len(run.figures)} figures; commit it")
    return 0


def describe(run: Run) -> str:
    """The machine, in words."""
    m = run.machine
    return f"{m['cores']} cores of {m['processor']}, load {m['load']:.2f} before, Python {m['python']}"


def draw(figures: Sequence[Figure]) -> bytes:
    """A bar a figure: its ratio, on a log scale, times blue and memory orange."""
    figure, (axes,) = blank_figure(9.2, 1.4 + 0.26 * len(figures), extra="bench")
    for place, entry in enumerate(reversed(figures)):
        r, colour = entry.ratio, ORANGE if entry.unit == "MB" else BLUE
        error = [[r.value - r.low], [r.high - r.value]]
        axes.barh(place, r.value, 0.7, color=colour, xerr=error, ecolor=INK)
        text = f"{r.value:.3g} ({entry.value:.3g} {entry.unit})"
        axes.annotate(text, (r.high, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(figures)), [f"{f.name}, to {f.yardstick}" for f in reversed(figures)], fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.01)
    axes.set_title("Ratios to yardsticks of the same run", loc="left", color=INK)
    axes.set_xlabel("ratio, log scale; in brackets what it was here", color=INK)
    return png(figure)


if __name__ == "__main__":
    sys.exit(main())
