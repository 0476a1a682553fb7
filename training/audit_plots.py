"""Pictures of an audit: AUROCs side by side, calibration, what silence buys, and how steady the answers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from convert.plots import BLUE, GREY, INK, ORANGE, PALE, PURPLE, blank_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"int8": BLUE, "float": ORANGE, "any": PURPLE}
NAMES = {"int8": "int8 as shipped", "float": "float", "any": "baseline, or a network trained without that source"}
MARKERS = {"int8": "o", "float": "D", "any": "s"}
STEP = 0.26  # of a row, between the columns in it
LEAST = 5  # images in a bin, below which a point says nothing
GROUPS = {"yardsticks": "", "trifles": "thumbnail baseline: ", "left_out": "without ", "lungs": ""}


def draw(figures: dict[str, Any]) -> dict[str, bytes]:
    """File name -> PNG; the same bytes for the same figures.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pictures = {"reliability.png": _reliability(figures), "risk_coverage.png": _risk_coverage(figures)}
    if areas := _areas(figures):
        pictures = {"aurocs.png": _forest(areas)} | pictures
    return pictures | {"invariances.png": _invariances(figures["sections"]["invariances"])}


def _title(axes: Axes, title: str, across: str, up: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)


def _percent(axes: Axes, *which: str) -> None:
    import matplotlib.ticker

    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))


# --- rows of points


def _areas(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every AUROC of the sections that are about shortcuts, by the name of its row."""
    return {
        f"{prefix}{name}": cells
        for section, prefix in GROUPS.items()
        for name, line in figures["sections"][section].items()
        if (cells := {c: line[c] for c in COLOURS if c in line and line[c]["kind"] == "auroc"})
    }


def _forest(rows: dict[str, dict[str, Any]]) -> bytes:
    figure, (axes,) = blank_figure(9.2, 1.3 + 0.32 * len(rows), sharey=False, extra="training")
    axes.axvline(0.5, color=INK, linewidth=0.8)
    lowest, _ = _points(axes, rows)
    axes.set_xlim(min(0.4, lowest - 0.03), 1.02)
    axes.text(0.5, -0.75, "a coin", color=GREY, fontsize=8, ha="center", va="bottom")
    _title(axes, "", "AUROC, 95 % interval over patients")
    figure.suptitle("Lungs, or the hospital?", x=0.01, ha="left", fontsize=12, color=INK)
    _legend(figure, rows.values())
    return png(figure)


def _points(axes: Axes, rows: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """One row a line, the first on top, a point and an interval for each column; returns the outermost ends."""
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, linewidth=0.7)
    ends: list[float] = []
    for row, cells in enumerate(rows.values()):
        shown = [c for c in COLOURS if c in cells]
        for order, column in enumerate(shown):
            at, colour = row + STEP * (order - (len(shown) - 1) / 2), COLOURS[column]
            axes.plot(cells[column]["interval"], (at, at), "-", color=colour, linewidth=1.4, zorder=2)
            axes.plot(cells[column]["value"], at, MARKERS[column], color=colour, markersize=4.5, zorder=3)
            ends += cells[column]["interval"]
    return min(ends), max(ends)


def _legend(figure: Figure, rows: Iterable[dict[str, Any]], markers: bool = True) -> None:
    from matplotlib.lines import Line2D

    shown = [c for c in COLOURS if any(c in cells for cells in rows)]
    marks = MARKERS if markers else dict.fromkeys(MARKERS, "")
    handles = [Line2D([], [], color=COLOURS[c], marker=marks[c], markersize=4.5, label=NAMES[c]) for c in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)


def _invariances(lines: dict[str, Any]) -> bytes:
    changes = list(dict.fromkeys(name.split(": ")[0] for name in lines))
    figure, panels = blank_figure(9.2, 1.4 + 0.36 * len(changes), columns=2, sharey=False, extra="training")
    for axes, kind in zip(panels, ("accuracy", "same answer")):
        named = {change: lines.get(f"{change}: {kind}", {}) for change in changes}
        rows = {change: {c: line[c] for c in COLOURS if c in line} for change, line in named.items()}
        lowest, highest = _points(axes, rows)
        _percent(axes, "x")
        axes.set_xlim(max(0, lowest - 0.03), min(1.01, highest + 0.03))
        _title(axes, kind[0].upper() + kind[1:], "of the images, 95 % interval")
    panels[1].tick_params(axis="y", labelleft=False)
    _legend(figure, lines.values())
    return png(figure)


# --- curves


def _reliability(figures: dict[str, Any]) -> bytes:
    figure, (axes,) = blank_figure(5.6, 5.2, sharey=False, extra="training")
    axes.plot((0, 1), (0, 1), color=PALE, linewidth=1)
    for order, (column, bins) in enumerate(figures["bins"].items()):
        colour, shift = COLOURS[column], 0.006 * order
        bins = [b for b in bins if b["total"] >= LEAST]
        across = [b["confidence"] + shift for b in bins]
        for at, b in zip(across, bins):
            axes.plot((at, at), b["interval"], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(across, [b["value"] for b in bins], marker=MARKERS[column], color=colour, linewidth=1, markersize=5)
        if column == "int8":
            _counts(axes, bins)
    axes.set_xlim(0.3, 1.03)
    axes.set_ylim(-0.04, 1.04)
    _percent(axes, "x", "y")
    _title(
        axes,
        "As sure as it is right?",
        f"confidence, mean of a bin of {LEAST} images or more (gray: images, int8)",
        "share right, 95 % interval",
    )
    _legend(figure, [figures["bins"]])
    return png(figure)


def _counts(axes: Axes, bins: Sequence[dict[str, Any]]) -> None:
    for b in bins:
        axes.text(b["confidence"], -0.03, str(b["total"]), ha="center", fontsize=8, color=GREY)


def _risk_coverage(figures: dict[str, Any]) -> bytes:
    figure, (axes,) = blank_figure(6.4, 4.4, sharey=False, extra="training")
    highest = 0.0
    for column, curve in figures["risk_coverage"].items():
        coverage, risk = zip(*curve)
        axes.step(coverage, risk, where="post", color=COLOURS[column], linewidth=1.4)
        highest = max(highest, *risk)
    shipped = figures["sections"]["threshold"]
    answered, right = shipped["share answered"]["int8"]["value"], shipped["accuracy when answered"]["int8"]["value"]
    if right is not None:
        axes.plot(answered, 1 - right, "o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
        axes.annotate(
            "threshold as shipped", (answered, 1 - right), (6, -14), textcoords="offset points", fontsize=9, color=INK
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, max(0.05, 1.15 * highest))
    axes.grid(color=PALE, linewidth=0.7)
    _percent(axes, "x", "y")
    _title(
        axes,
        "What silence buys",
        "share of the images answered, the surest first",
        "share of the answers that are wrong",
    )
    _legend(figure, [figures["risk_coverage"]], markers=False)
    return png(figure)
