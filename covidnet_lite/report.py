"""Results as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import IO, Protocol

from .prediction import DISCLAIMER, Failure, Prediction

Result = Prediction | Failure

LONGEST = 255  # bytes of a file's name

EVIDENCE = ".evidence.png"  # ends the name of every picture with an evidence map
DICOM_RESULTS = (".sr.dcm", ".sc.dcm")  # end the names of reports and captures
OURS = (EVIDENCE, *DICOM_RESULTS)  # what is named so is a result, and no radiograph


class Writer(Protocol):
    """Takes results one by one, so that a long run shows what it has."""

    def add(self, result: Result) -> None:
        """Writes one result."""

    def close(self) -> None:
        """Writes what comes last."""


def writer(form: str, out: IO[str], labels: Sequence[str], timings: bool = False) -> Writer:
    """A writer for ``table``, ``json``, ``jsonl`` or ``csv``."""
    if form == "table":
        return _Table(out, labels, timings)
    if form == "csv":
        return _Csv(out, labels)
    return _Json(out, lines=form == "jsonl")


def unique_names(paths: Sequence[str]) -> list[str]:
    """``a/x.png``, ``b/x.dcm`` -> ``x.evidence.png``, ``x-2.evidence.png``: names for pictures in one folder."""
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = PurePath(path).stem.strip("<>") or "image"
        name, n = shortened(stem, EVIDENCE), 2
        while name.casefold() in taken:  # some disks do not tell X from x
            name, n = shortened(stem, f"-{n}{EVIDENCE}"), n + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def shortened(stem: str, suffix: str) -> str:
    """A name that disks take (255 bytes): of one too long the end of the stem is left out."""
    room = LONGEST - len(suffix.encode())
    return stem.encode("utf-8", "surrogateescape")[:room].decode("utf-8", "ignore") + suffix


def printable(text: str) -> str:
    """Text without line breaks and control characters, which would act on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


class _Table:
    def __init__(self, out: IO[str], labels: Sequence[str], timings: bool) -> None:
        self.out, self.labels, self.timings = out, labels, timings
        self.started = False

    def add(self, result: Result) -> None:
        if not self.started:
            print(f"{'answer':<12}" + "".join(f"{label:>12}" for label in self.labels) + "  file", file=self.out)
            self.started = True
        probabilities = getattr(result, "probabilities", {})
        shares = "".join(f"{f'{probabilities[label]:.1%}' if probabilities else '-':>12}" for label in self.labels)
        print(f"{result.label or result.status:<12}{shares}  {printable(result.name)}", file=self.out)
        if result.reason:
            print(f"{'':<12}  {printable(result.reason)}", file=self.out)
        for note in getattr(result, "notes", ()):
            print(f"{'':<12}  note: {printable(note)}", file=self.out)
        if self.timings and isinstance(result, Prediction):
            print(f"{'':<12}  " + "  ".join(f"{k} {v:.2f} ms" for k, v in result.timings.items()), file=self.out)
        self.out.flush()

    def close(self) -> None:
        print(DISCLAIMER, file=self.out)


class _Json:
    def __init__(self, out: IO[str], lines: bool) -> None:
        self.out, self.lines = out, lines
        self.first = True

    def add(self, result: Result) -> None:
        if not self.lines:
            self.out.write("[\n" if self.first else ",\n")
        self.out.write(json.dumps(result.to_dict()) + ("\n" if self.lines else ""))
        self.first = False
        self.out.flush()

    def close(self) -> None:
        if not self.lines:
            self.out.write("[]\n" if self.first else "\n]\n")


class _Csv:
    def __init__(self, out: IO[str], labels: Sequence[str]) -> None:
        self.out, self.labels = out, labels
        self.rows = csv.writer(out, lineterminator="\n")
        self.rows.writerow(
            ["name", "status", "label", *labels, "distance", "total_ms", "reason", "model", "sha256", "note"]
        )

    def add(self, result: Result) -> None:
        probabilities, distance, total, model, digest = {}, "", "", "", ""
        if isinstance(result, Prediction):
            probabilities, model, digest = result.probabilities, result.model, result.sha256
            distance = "" if result.distance is None else f"{result.distance:.3f}"
            total = f"{sum(result.timings.values()):.3f}"
        shares = [f"{probabilities[label]:.4f}" if label in probabilities else "" for label in self.labels]
        self.rows.writerow(
            [
                _cell(result.name),
                result.status,
                _cell(result.label or ""),
                *shares,
                distance,
                total,
                _cell(result.reason or ""),
                model,
                digest,
                DISCLAIMER,
            ]
        )
        self.out.flush()

    def close(self) -> None:
        pass
