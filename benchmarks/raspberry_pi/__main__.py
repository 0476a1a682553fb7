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

from . import counts, emulate, inputs, modelled, reference, roots, wheels
from .agreement import Agreement, Answers, compare
from .systems import A72, CACHE, COUNTED, ROOT, SYSTEMS, Processor, System

RADIOGRAPHS = Path(os.environ.get("COVIDNET_LITE_DATA", ROOT.parent / "shared/data/cxr"))
INPUTS = CACHE / "pictures"

# What an answer may be off from that of x86-64 with LiteRT: int8 outputs in steps, and confidences. With the same
# runtime all was equal when this was written. tflite-runtime is three years older and rounds otherwise, layer after
# layer, on any processor: on x86-64 too it is 5 steps off.
# A confidence follows from the image all the way. The box around the lungs is rounded, and so is the same unless a side
# of it lies where two steps meet.
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


def run_trial(trial: Trial | None, plain: bool, package: Path, images: Sequence[Path], scratch: Path) -> Answers:
    """Answers of a trial; without one, of this machine."""
    networks = sorted(model.shipped())
    machine = emulate.emulated(trial.system, trial.processor, package) if trial else emulate.here(package)
    reference_path = _answers_path(scratch, None, plain)
    out = _answers_path(scratch, trial, plain)
    options = ["--reference-kernels"] * plain + (["--beside", reference_path] if trial else [])
    emulate.run(machine, ["answers", out, "--networks", *networks, "--pictures", *images, *options])
    return Answers.load(out)


def _answers_path(scratch: Path, trial: Trial | None, plain: bool) -> Path:
    machine = f"{trial.system.name} {trial.processor.name}" if trial else "x86-64"
    return scratch / f"{machine} {'reference' if plain else 'fast'}.npz"


def table_row(trial: Trial, answers: Answers, agreement: Agreement) -> str:
    """One line of the table."""
    versions = "{runtime}, Python {python}, numpy {numpy}, Pillow {pillow}".format(**answers.about)
    same = agreement.answers - len(agreement.differing) - len(agreement.borderline)
    return (
        f"| {trial.name} | {versions} | {same} of {agreement.answers} | {agreement.classified} "
        f"| {agreement.equal:.2%} of {agreement.values} | {agreement.furthest} ({trial.steps}) "
        f"| {agreement.drift:.3f} |"
    )


def check(also: Sequence[str], write: bool) -> list[str]:
    """Everything; what is wrong, one message each."""
    start = time.monotonic()
    roots.install_tools()
    with ThreadPoolExecutor(available_cores()) as pool:
        _set_up(pool)
        package, plugin = wheels.package(), counts.plugin()
        chests, radiograph = inputs.write_chests(INPUTS), inputs.write_real_radiograph(INPUTS)
        others = inputs.labelled_radiographs(RADIOGRAPHS)
        print(
            f"set up in {time.monotonic() - start:.0f} s, in {CACHE.relative_to(ROOT)}; {len(chests)} drawn chests, "
            "a film, " + (f"{len(others)} more" if others else f"and no more: none in {RADIOGRAPHS}"),
            flush=True,
        )
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            images = {False: [*chests, radiograph, *others], True: [radiograph]}  # reference kernels take their time
            at_home = {plain: run_trial(None, plain, package, images[plain], scratch) for plain in images}
            networks = [*sorted(model.shipped()), *(str(Path(path).resolve()) for path in also)]
            counted = INPUTS / inputs.COUNTED_FILE
            counting = [
                pool.submit(counts.count, processor, networks, counted, package, plugin)
                for processor in COUNTED.processors
            ]
            running = [
                pool.submit(run_trial, trial, trial.plain, package, images[trial.plain], scratch) for trial in TRIALS
            ]
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
    faults, notes = [], []
    for trial, ours in zip(TRIALS, answers):
        agreement = compare(ours, at_home[trial.plain], OLD_DRIFT if trial.old else 0.0)
        print(table_row(trial, ours, agreement))
        notes += [f"near the threshold, {trial.name}: {line}" for line in agreement.borderline]
        complaints = agreement.complaints(trial.steps, OLD_DRIFT if trial.old else DRIFT)
        faults += [f"{trial.name}: {line}" for line in complaints]
    notes.append("armhf has numpy and Pillow of Debian, older than a Pi gets from piwheels: PyPI has none for it.")
    print("\n" + "\n".join(notes) + "\n")
    return faults


def _instructions(rows_measured: Sequence[reference.Row], write: bool) -> list[str]:
    earlier = reference.read()
    reference_of = {row.key: row.instructions for row in earlier}
    print("| network | stage | processor | M instructions | reference |\n|---|---|---|---|---|")
    for row in rows_measured:
        reference_ = f"{reference_of[row.key] / 1e6:.1f}" if row.key in reference_of else "none"
        print(f"| {row.network} | {row.stage} | {row.processor} | {row.instructions / 1e6:.1f} | {reference_} |")
    if not write:
        return reference.regressions(earlier, rows_measured)
    rows = reference.renewed(earlier, rows_measured)
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
        faults = check(args.also, args.write)
    except CovidNetLiteError as error:
        faults = [str(error)]
    for line in faults:
        print(f"error: {line}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
