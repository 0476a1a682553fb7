"""Tries the installed wheel on emulated Raspberry Pis: ``make pi``.

Fails where an answer there is not the one of x86-64, where an int8 output is further off than it may be, and where a
classification takes 3 % more instructions than it did (``benchmarks/reference/instructions.csv``). Emulated time says
nothing about a Pi and is never shown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from covidnet_lite import files
from covidnet_lite.errors import CovidNetLiteError
from covidnet_lite.network import model
from covidnet_lite.network.interpreter import available_cores

from . import counts, emulate, modelled, pictures, reference, roots, wheels
from .agreement import Agreement, Answers, compare
from .systems import A72, CACHE, COUNTED, ROOT, SYSTEMS, Processor, System

FILMS = Path(os.environ.get("COVIDNET_LITE_DATA", ROOT.parent / "shared/data/cxr"))
PICTURES = CACHE / "pictures"

# What an answer may be off from that of x86-64 with LiteRT: int8 outputs in steps, and confidences. With the same
# runtime all was equal when this was written. tflite-runtime is three years older and rounds otherwise, layer after
# layer, on any processor: on x86-64 too it is 5 steps off.
SAME_RUNTIME, REFERENCE, OLD_REFERENCE, OLD_RUNTIME = 1, 0, 1, 8
DRIFT, OLD_DRIFT = 0.01, 0.1


@dataclass(frozen=True)
class Trial:
    """One run to compare with x86-64."""

    system: System
    processor: Processor
    plain: bool  # reference kernels

    @property
    def old(self) -> bool:
        """Whether the runtime is another than on x86-64."""
        return self.system.runtime != "litert"

    @property
    def steps(self) -> int:
        """How far off an output may be."""
        if self.plain:
            return OLD_REFERENCE if self.old else REFERENCE
        return OLD_RUNTIME if self.old else SAME_RUNTIME

    @property
    def name(self) -> str:
        """To tell people."""
        return f"{self.system.name}, {self.processor.name}, {'reference' if self.plain else 'XNNPACK'}"


TRIALS = [Trial(system, processor, False) for system in SYSTEMS for processor in system.processors]
TRIALS += [Trial(SYSTEMS[0], A72, True), Trial(SYSTEMS[-1], SYSTEMS[-1].processors[0], True)]


def tried(trial: Trial | None, plain: bool, package: Path, shown: Sequence[Path], scratch: Path) -> Answers:
    """Answers of a trial; without one, of this machine."""
    networks = sorted(model.shipped())
    machine = emulate.emulated(trial.system, trial.processor, package) if trial else emulate.here(package)
    beside = _kept(scratch, None, plain)
    out = _kept(scratch, trial, plain)
    options = ["--reference-kernels"] * plain + (["--beside", beside] if trial else [])
    emulate.run(machine, ["answers", out, "--networks", *networks, "--pictures", *shown, *options])
    return Answers.load(out)


def _kept(scratch: Path, trial: Trial | None, plain: bool) -> Path:
    where = f"{trial.system.name} {trial.processor.name}" if trial else "x86-64"
    return scratch / f"{where} {'reference' if plain else 'fast'}.npz"


def told(trial: Trial, answers: Answers, found: Agreement) -> str:
    """One line of the table."""
    versions = "{runtime}, Python {python}, numpy {numpy}, Pillow {pillow}".format(**answers.about)
    same = found.answers - len(found.apart) - len(found.borderline)
    return (
        f"| {trial.name} | {versions} | {same} of {found.answers} | {found.classified} "
        f"| {found.equal:.2%} of {found.values} | {found.furthest} ({trial.steps}) | {found.drift:.3f} |"
    )


def check(also: Sequence[str], write: bool) -> list[str]:
    """Everything; what is wrong, one message each."""
    start = time.monotonic()
    roots.install_tools()
    with ThreadPoolExecutor(available_cores()) as pool:
        _set_up(pool)
        package, watched = wheels.package(), counts.plugin()
        drawn, film, more = pictures.draw(PICTURES), pictures.film(PICTURES), pictures.films(FILMS)
        print(
            f"set up in {time.monotonic() - start:.0f} s, in {CACHE.relative_to(ROOT)}; {len(drawn)} drawn chests, "
            "a film, " + (f"{len(more)} more" if more else f"and no more: none in {FILMS}"),
            flush=True,
        )
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            shown = {False: [*drawn, film, *more], True: [film]}  # reference kernels take their time
            at_home = {plain: tried(None, plain, package, shown[plain], scratch) for plain in shown}
            networks = [*sorted(model.shipped()), *(str(Path(path).resolve()) for path in also)]
            picture = PICTURES / pictures.COUNTED
            counting = [
                pool.submit(counts.count, processor, networks, picture, package, watched)
                for processor in COUNTED.processors
            ]
            running = [pool.submit(tried, trial, trial.plain, package, shown[trial.plain], scratch) for trial in TRIALS]
            answers = [future.result() for future in running]
            measured = [row for future in counting for row in future.result()]
    return _agreements(answers, at_home) + _instructions(measured, write)


def _set_up(pool: ThreadPoolExecutor) -> None:
    roots.prepare_emulators()
    list(pool.map(roots.prepare, SYSTEMS))
    list(pool.map(wheels.site, SYSTEMS))
    for system in SYSTEMS:
        for processor in system.processors:
            emulate.view(system, processor)


def _agreements(answers: Sequence[Answers], at_home: dict[bool, Answers]) -> list[str]:
    print("\nAgainst x86-64 with LiteRT:\n")
    print(
        "| system, processor, kernels | with | same answers | not refused | equal outputs | steps (allowed) | drift |"
    )
    print("|---|---|---|---|---|---|---|")
    wrong, notes = [], []
    for trial, ours in zip(TRIALS, answers):
        found = compare(ours, at_home[trial.plain], OLD_DRIFT if trial.old else 0.0)
        print(told(trial, ours, found))
        notes += [f"near the threshold, {trial.name}: {line}" for line in found.borderline]
        complaints = found.complaints(trial.steps, OLD_DRIFT if trial.old else DRIFT)
        wrong += [f"{trial.name}: {line}" for line in complaints]
    notes.append("armhf has numpy and Pillow of Debian, older than a Pi gets from piwheels: PyPI has none for it.")
    print("\n" + "\n".join(notes) + "\n")
    return wrong


def _instructions(measured: Sequence[reference.Row], write: bool) -> list[str]:
    known = reference.read()
    before = {row.key: row.instructions for row in known}
    print("| network | stage | processor | M instructions | reference |\n|---|---|---|---|---|")
    for row in measured:
        then = f"{before[row.key] / 1e6:.1f}" if row.key in before else "none"
        print(f"| {row.network} | {row.stage} | {row.processor} | {row.instructions / 1e6:.1f} | {then} |")
    if not write:
        return reference.regressions(known, measured)
    rows = reference.renewed(known, measured)
    files.write_all({reference.PATH: reference.text(rows), modelled.PAGE: modelled.page(rows)})
    print(f"\nwrote {reference.PATH.relative_to(ROOT)} and {modelled.PAGE.relative_to(ROOT)}")
    return []


def main() -> int:
    parser = argparse.ArgumentParser(prog="make pi", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--write", action="store_true", help="make these counts the reference, and write the page of times"
    )
    parser.add_argument("--also", nargs="+", default=[], metavar="TFLITE", help="count these networks too")
    args = parser.parse_args()
    try:
        wrong = check(args.also, args.write)
    except CovidNetLiteError as error:
        wrong = [str(error)]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
