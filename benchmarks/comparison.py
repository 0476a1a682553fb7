"""What was found about the peers: as a table, a page, JSON and a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.measure import Ratio, ratio
from convert.judge.plots import BLUE, FAINT, INK, blank_figure, png


@dataclass(frozen=True)
class Times:
    """One peer on one file: milliseconds, round by round, and the index of what it names."""

    milliseconds: list[float]
    label: int

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


@dataclass(frozen=True)
class Row:
    """One peer, with its better number of threads.

    Attributes:
        warm: name of the file -> times; a file that it cannot take is missing.
        seconds, megabytes: of whole processes, round by round.
        film: what it makes of the radiograph of pydicom-data, or ``None``.
    """

    name: str
    threads: int
    warm: dict[str, Times]
    seconds: list[float]
    megabytes: list[float]
    film: str | None


@dataclass(frozen=True)
class Comparison:
    """A whole run.

    Attributes:
        rows: ours first.
        left_out: peer -> why.
    """

    model: str
    sha256: str
    rounds: int
    cold_rounds: int
    machine: dict[str, Any]
    rows: list[Row]
    left_out: dict[str, str]

    @property
    def kinds(self) -> list[str]:
        """The files."""
        return list(self.rows[0].warm)


def with_class_of_radiograph(row: Row, kind: str, labels: Sequence[str]) -> Row:
    """With what it makes of the radiograph; ``labels[-1]`` is a refusal."""
    return replace(row, film=labels[row.warm[kind].label] if kind in row.warm else None)


def against_ours(row: Row, ours: Row, kind: str) -> Ratio | None:
    """Times as slow as ours on a file, paired by round; ``None`` where the peer cannot take it."""
    if kind not in row.warm:
        return None
    return ratio(row.warm[kind].milliseconds, ours.warm[kind].milliseconds)


def markdown(comparison: Comparison) -> str:
    """The table: ours in milliseconds, the others as ratios to it."""
    ours = comparison.rows[0]
    columns = ["", "threads", *comparison.kinds, "whole process", "peak memory", "calls the film"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in comparison.rows:
        cells = [row.name, str(row.threads or "its own")]
        if row is ours:
            cells += [f"{ours.warm[kind].median:.1f} ms" for kind in comparison.kinds]
            cells += [f"{statistics.median(ours.seconds):.2f} s", f"{statistics.median(ours.megabytes):.0f} MB"]
        else:
            cells += [to_text(against_ours(row, ours, kind)) for kind in comparison.kinds]
            cells += [to_text(ratio(row.seconds, ours.seconds)), to_text(ratio(row.megabytes, ours.megabytes))]
        lines.append(f"| {' | '.join([*cells, row.film or '–'])} |")
    return "\n".join(lines)


def to_text(slowdown: Ratio | None) -> str:
    """The ratio with its interval; bold where the peer is better than ours beyond the noise."""
    if slowdown is None:
        return "fails"
    text = f"{slowdown.value:.2f}× ({slowdown.low:.2f}–{slowdown.high:.2f})"
    return f"**{text}**" if slowdown.high < 1 else text


def document(comparison: Comparison) -> str:
    """The page in docs/."""
    m = comparison.machine
    packages = ", ".join(f"{name} {version}" for name, version in m["packages"].items())
    rounds, cold = comparison.rounds, comparison.cold_rounds
    left_out = "".join(f"* **{name}** is left out: {why}\n" for name, why in comparison.left_out.items())
    busy = "" if m["load"] < 0.5 * m["cores"] else " **The machine was busy: take these figures again.**"
    return f"""# Benchmarks against alternatives

`make bench-peers ARGS='--write docs/peers.md'` on {m["cores"]} cores of {m["processor"]}, load {m["load"]:.2f} before,
Python {m["python"]}.{busy} {packages}. Network `{comparison.model}`, sha256 {comparison.sha256}.

The first row is `covidnet_lite.classify(path)`, warm, in milliseconds. The others are multiples of it, **bold**
where they are better beyond the noise. Medians of {rounds} rounds, in each of which all ran in turn (of whole
processes: {cold}), paired by round, with 95 % intervals; each with the better of one and two threads
(MediaPipe has no such setting). The images are synthetic, so that anybody can make them again; the DICOM file is a
real radiograph.

{markdown(comparison)}

{left_out}
* All run the same int8 network and read the same files. **covidnet_lite does more**: it finds the lungs with a
  second network, crops to them, equalises gray levels, checks the answer with the guard and abstains. No
  alternative does any of that, and the figures give no credit for it. Answers may therefore differ: the last column
  is the class that each gives the DICOM file, whatever its confidence. covidnet_lite refuses the synthetic images
  after the same work.
* Each alternative follows its own documentation (benchmarks/peers/); Pillow and OpenCV decode in full. pydicom and
  numpy read DICOM: windowed, inverted, stretched.
* A whole process is Python's start, imports, loading, one {comparison.kinds[1]} and the end; peak memory is that
  process's.
* MediaPipe receives the network with other input and output types (docs/other_readers.md). ONNX Runtime's own int8
  is quantised again from its weights. OpenVINO and ONNX Runtime run with their default settings, which on a
  processor without VNNI, where their int8 kernels saturate, cost them right answers (docs/other_readers.md).
"""


def to_json(comparison: Comparison) -> str:
    """Every figure, round by round."""
    return json.dumps(asdict(comparison), indent=1, ensure_ascii=False) + "\n"


def draw(comparison: Comparison) -> bytes:
    """A panel a file, and two for whole processes: bars from the best known way down, ours at 1."""
    ours, peers = comparison.rows[0], comparison.rows[::-1]
    columns: dict[str, Callable[[Row], Ratio | None]] = {
        kind: lambda row, kind=kind: against_ours(row, ours, kind)  # type: ignore[misc]
        for kind in comparison.kinds
    }
    columns["whole process"] = lambda row: ratio(row.seconds, ours.seconds)
    columns["peak memory"] = lambda row: ratio(row.megabytes, ours.megabytes)
    width, height = 3.4 + 1.9 * len(columns), 1.6 + 0.32 * len(peers)
    figure, panels = blank_figure(width, height, columns=len(columns), extra="peers")
    for axes, (title, measure) in zip(panels, columns.items()):
        values = [measure(row) for row in peers]
        for place, (row, value) in enumerate(zip(peers, values)):
            if value is not None:
                error = [[value.value - value.low], [value.high - value.value]]
                axes.barh(place, value.value, 0.7, color=BLUE if row is ours else FAINT, xerr=error, ecolor=INK)
            text = "fails" if value is None else f"{value.value:.2f}"
            axes.annotate(text, (value.high if value else 0, place), (4, 0), textcoords="offset points", va="center",
                          fontsize=8, color=INK)  # fmt: skip
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.margins(x=0.22)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_yticks(range(len(peers)), [row.name for row in peers])
    figure.supxlabel("times ours: shorter is better, 1 is ours", fontsize=9, color=INK)
    return png(figure)
