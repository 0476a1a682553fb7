"""Results as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import IO, Protocol, TypeGuard

from . import csv_cells
from .csv_cells import cell
from .percent import percent
from .prediction import DISCLAIMER, STATUSES, Failure, Prediction, Status

Result = Prediction | Failure

MAX_NAME = 255  # bytes of a file's name

EVIDENCE = ".evidence.png"  # ends the name of every image with an evidence map
DICOM_RESULTS = (".sr.dcm", ".sc.dcm")  # end the names of reports and captures
COLOURS = {"answered": 1, "narrowed": 1, "unsure": 33, "refused": 33, "failed": 31}  # bold, yellow, red (ECMA-48)
OURS = (EVIDENCE, *DICOM_RESULTS)  # files with these endings are results, not radiographs


class Writer(Protocol):
    """Writes results one by one, so that a long run shows them as they come."""

    def add(self, result: Result, heatmap: Path | None = None) -> None:
        """Writes one result, and the path of its evidence map, if there is one."""

    def close(self) -> None:
        """Writes the end of the output."""


def writer(form: str, out: IO[str], labels: Sequence[str], timings: bool = False) -> Writer:
    """A writer for ``table``, ``json``, ``jsonl`` or ``csv``."""
    if form == "table":
        return _Table(out, labels, timings)
    if form == "csv":
        return _Csv(out, labels)
    return _Json(out, lines=form == "jsonl")


class Tally:
    """How many results there are of each answer: ``50 radiographs: 31 normal, 3 pneumonia or covid, 9 unsure``."""

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._unanswered: Counter[Status] = Counter()

    def add(self, result: Result) -> None:
        """Counts one result."""
        if result.labels:
            self._answers[" or ".join(result.labels)] += 1
        else:
            self._unanswered[result.status] += 1

    def __str__(self) -> str:
        counts = [(word, n) for word, n in self._answers.most_common()]
        counts += [(status, self._unanswered[status]) for status in STATUSES if self._unanswered[status]]
        total = sum(n for _, n in counts)
        return f"{total} radiograph{'s'[: total != 1]}: " + (", ".join(f"{n} {word}" for word, n in counts) or "none")


def is_colourful(out: IO[str]) -> bool:
    """Whether to write colours: to a terminal that can show them, unless the user wants none (no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def unique_names(paths: Sequence[str]) -> list[str]:
    """``a/x.png``, ``a/x.dcm`` -> ``a/x.evidence.png``, ``a/x-2.evidence.png``: unique names for images."""
    used: set[str] = set()
    names = []
    for path in map(PurePath, paths):
        stem = path.stem.strip("<>") or "image"
        name, n = path.parent / shortened(stem, EVIDENCE), 2
        while str(name).casefold() in used:  # some disks do not tell X from x
            name, n = path.parent / shortened(stem, f"-{n}{EVIDENCE}"), n + 1
        used.add(str(name).casefold())
        names.append(str(name))
    return names


def shortened(stem: str, suffix: str) -> str:
    """A file name of at most 255 bytes, as disks require: the end of a longer stem is cut off."""
    limit = MAX_NAME - len(suffix.encode())
    return stem.encode("utf-8", "surrogateescape")[:limit].decode("utf-8", "ignore") + suffix


def printable(text: str) -> str:
    """Text without line breaks and control characters, which would act on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def capitalised(text: str) -> str:
    """The text with its first letter as a capital; the rest stays as it is."""
    return text[:1].upper() + text[1:]


class _Table:
    """Probabilities stand beside answers only: an abstention must not be read as a finding."""

    def __init__(self, out: IO[str], labels: Sequence[str], timings: bool) -> None:
        self.out, self.labels, self.timings = out, labels, timings
        self.colours = COLOURS if is_colourful(out) else {}
        self.started = False
        self.records: dict[str, str] = {}  # answer -> how often such an answer was right

    def add(self, result: Result, heatmap: Path | None = None) -> None:
        if not self.started:
            print(f"{'answer':<12}" + "".join(f"{label:>12}" for label in self.labels) + "  file", file=self.out)
            self.started = True
        shares = getattr(result, "probabilities", {}) if result.labels else {}
        columns = "".join(f"{percent(shares[label]) if shares else '-':>12}" for label in self.labels)
        answer = result.label or (f"not {result.negative}" if _is_narrowed(result) else result.status)
        print(f"{self._coloured(f'{answer:<11}', result)} {columns}  {printable(result.name)}", file=self.out)
        for line in (*_details(result), *([f"evidence map: {heatmap}"] if heatmap else [])):
            print(f"{'':<12}  {printable(line)}", file=self.out)
        if isinstance(result, Prediction):
            if result.answer and result.track_record:
                self.records[result.answer] = result.track_record
            if self.timings:
                print(f"{'':<12}  " + "  ".join(f"{k} {v:.2f} ms" for k, v in result.timings.items()), file=self.out)
        self.out.flush()

    def _coloured(self, word: str, result: Result) -> str:
        colour = self.colours.get(result.status)
        return f"\033[{colour}m{word}\033[0m" if colour else word

    def close(self) -> None:
        for answer, record in self.records.items():
            print(f"{answer}: {record}", file=self.out)
        print(DISCLAIMER, file=self.out)


def _is_narrowed(result: Result) -> TypeGuard[Prediction]:
    return result.status == "narrowed"


def _details(result: Result) -> list[str]:
    """The lines below the row of a result: the answer in full or why there is none, extent and place, and notes."""
    first = result.answer if _is_narrowed(result) else result.reason
    findings = "; ".join(result.findings) if isinstance(result, Prediction) else ""
    notes = [f"note: {note}" for note in getattr(result, "notes", ())]
    return [line for line in (first, findings, *notes) if line]


class _Json:
    def __init__(self, out: IO[str], lines: bool) -> None:
        self.out, self.lines = out, lines
        self.first = True

    def add(self, result: Result, heatmap: Path | None = None) -> None:
        if not self.lines:
            self.out.write("[\n" if self.first else ",\n")
        fields = {**result.to_dict(), **({"heatmap": str(heatmap)} if heatmap else {})}
        self.out.write(json.dumps(fields) + ("\n" if self.lines else ""))
        self.first = False
        self.out.flush()

    def close(self) -> None:
        if not self.lines:
            self.out.write("[]\n" if self.first else "\n]\n")


class _Csv:
    def __init__(self, out: IO[str], labels: Sequence[str]) -> None:
        self.out, self.labels = out, labels
        self.rows = csv_cells.writer(out)
        self.rows.writerow(
            [
                *("name", "status", "label", *labels, "labels", "extent", "extent_error", "place", "inside"),
                *("distance", "total_ms", "code", "reason", "model", "sha256", "signed_by", "note", "heatmap"),
            ]
        )

    def add(self, result: Result, heatmap: Path | None = None) -> None:
        probabilities, distance, total, model, digest, signer = {}, "", "", "", "", ""
        extent = error = place = inside = ""
        if isinstance(result, Prediction):
            extent = "" if result.extent is None else f"{result.extent:.4f}"
            error = "" if result.extent_error is None else f"{result.extent_error:.4f}"
            place, inside = (result.place.main, f"{result.place.inside:.4f}") if result.place else ("", "")
            probabilities, model, digest = result.probabilities, result.model, result.sha256
            signer = result.signed_by or ""
            distance = "" if result.distance is None else f"{result.distance:.3f}"
            total = f"{sum(result.timings.values()):.3f}"
        shares = [f"{probabilities[label]:.6f}" if label in probabilities else "" for label in self.labels]
        self.rows.writerow(
            [
                cell(result.name),
                result.status,
                cell(result.label or ""),
                *shares,
                cell("|".join(result.labels)),
                extent,
                error,
                place,
                inside,
                distance,
                total,
                result.code or "",
                cell(result.reason or ""),
                cell(model),
                digest,
                cell(signer),
                DISCLAIMER,
                cell(str(heatmap or "")),
            ]
        )
        self.out.flush()

    def close(self) -> None:
        pass
