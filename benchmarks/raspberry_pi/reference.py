"""Instruction counts that were seen before, against which new ones are held."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from .systems import ROOT, EmulationError

PATH = ROOT / "benchmarks/reference/instructions.csv"
TOLERANCE = 0.03  # a count repeats to 0.01 %; the rest is for Debian's updates of Python and its libraries
RENEW = "if that is meant, renew the reference: make pi ARGS=--write"
DIGITS = 12  # of a SHA-256


@dataclass(frozen=True)
class Row:
    """One count.

    Attributes:
        processor: as qemu calls it.
        network: a shipped network's name, or a file's without its ending.
        sha256: the first digits of the ``.tflite``'s.
        checkpoint: the first digits of the trained network's it was made from, or nothing.
        stage: ``classify`` or ``invoke``.
        instructions: executed, one thread.
    """

    processor: str
    network: str
    sha256: str
    checkpoint: str
    stage: str
    instructions: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is a count of, whatever the network's version."""
        return self.processor, self.network, self.stage


def read(path: Path = PATH) -> list[Row]:
    """The counts of a file; none where there is no file.

    Raises:
        EmulationError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
            return [Row(**{**row, "instructions": int(row["instructions"])}) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise EmulationError(f"{path}: is no table of counts ({error}); check it out again") from error


def text(rows: Iterable[Row]) -> str:
    """The file."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(field.name for field in fields(Row))
    table.writerows(astuple(row) for row in sorted(rows, key=lambda row: (row.network, row.stage, row.processor)))
    return out.getvalue()


def renewed(earlier: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """What was measured, and of what was known all that was not measured now."""
    keys = {row.key for row in rows}
    return [*(row for row in earlier if row.key not in keys), *rows]


def regressions(earlier: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """What is wrong with new counts: one message each; none is well."""
    reference = {row.key: row for row in earlier}
    faults = []
    for row in rows:
        subject, reference_row = f"{row.network} {row.stage} on {row.processor}", reference.get(row.key)
        if reference_row is None or reference_row.sha256 != row.sha256:
            known_version = f"only of {reference_row.sha256}" if reference_row else "none at all"
            faults.append(f"{subject}: no reference for the network {row.sha256}, {known_version}; {RENEW}")
        elif row.instructions > reference_row.instructions * (1 + TOLERANCE):
            now, then = row.instructions / 1e6, reference_row.instructions / 1e6
            faults.append(
                f"{subject}: {now:.1f} M instructions, {now / then - 1:.1%} more than {then:.1f} M "
                f"(allowed: {TOLERANCE:.0%}); {RENEW}"
            )
    return faults
