"""Plots of an audit: AUROCs side by side, the operating curve, calibration, and extent. None shows a radiograph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convert.judge.plots import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, VERMILION, blank_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY)
LEAST = 5  # radiographs in a bin, below which a point says nothing


def draw(figures: dict[str, Any]) -> dict[str, bytes]:
    """File name -> PNG, of what was measured; the same bytes for the same figures.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    plots = {}
    if rows := _areas(figures):
        plots["aurocs.png"] = _forest(rows)
    if figures["curves"]:
        plots["operating_curve.png"] = _operating_curve(figures)
    if figures["bins"]:
        plots["calibration.png"] = _calibration(figures)
    if figures["extents"]:
        plots["extent.png"] = _extent(figures["extents"])
    return plots


def _title(axes: Axes, title: str, across: str, up: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)


def _percent(axes: Axes, *which: str) -> None:
    import matplotlib.ticker

    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))


def _areas(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every AUROC within a hospital, by the name of its row."""
    sections = figures["sections"]
    cells_ = {
        **{f"{row}: {column}": f for row, cells in sections["contrasts"].items() for column, f in cells.items()},
        **{f"{row}: {column}": f for row, cells in sections["hospitals"].items() for column, f in cells.items()},
    }
    return {name: figure for name, figure in cells_.items() if figure["kind"] == "auroc"}


def _forest(rows: dict[str, dict[str, Any]]) -> bytes:
    figure, (axes,) = blank_figure(9.2, 1.3 + 0.3 * len(rows), extra="training")
    axes.axvline(0.5, color=INK, linewidth=0.8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, linewidth=0.7)
    for at, cell in enumerate(rows.values()):
        axes.plot(cell["interval"], (at, at), "-", color=BLUE, linewidth=1.4)
        axes.plot(cell["value"], at, "o", color=BLUE, markersize=4.5)
    axes.set_xlim(min(0.4, *(cell["interval"][0] - 0.03 for cell in rows.values())), 1.02)
    axes.text(0.5, -0.75, "a coin", color=GREY, fontsize=8, ha="center", va="bottom")
    _title(axes, "", "AUROC, 95 % interval over patients")
    return png(figure)


def _operating_curve(figures: dict[str, Any]) -> bytes:
    figure, (axes,) = blank_figure(6.4, 5.6, extra="training")
    for colour, (name, points) in zip(PALETTE * 4, figures["curves"].items()):
        _, well, ill = zip(*points)
        axes.plot(ill, well, color=colour, linewidth=1.4, label=name)
        if figures["normal_from"] is not None:
            _, y, x = min(points, key=lambda p: abs(p[0] - figures["normal_from"]))
            axes.plot(x, y, "o", markersize=8, markerfacecolor="none", markeredgecolor=colour)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.grid(color=PALE, linewidth=0.7)
    _percent(axes, "x", "y")
    ring = "" if figures["normal_from"] is None else " (ring: as shipped)"
    _title(axes, "Normal, against not" + ring, "ill films called normal", "normal films called normal")
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    return png(figure)


def _calibration(figures: dict[str, Any]) -> bytes:
    figure, (axes,) = blank_figure(5.8, 5.8, extra="training")
    axes.plot((0, 1), (0, 1), color=PALE, linewidth=1)
    for order, (name, bins) in enumerate(figures["bins"].items()):
        colour, populated = PALETTE[order % len(PALETTE)], [b for b in bins if b["total"] >= LEAST]
        across = [b["probability"] + 0.004 * order for b in populated]
        for at, b in zip(across, populated):
            axes.plot((at, at), b["interval"], color=colour, linewidth=1, alpha=0.5)
        axes.plot(across, [b["value"] for b in populated], "o-", color=colour, linewidth=1, markersize=4, label=name)
    axes.set_xlim(-0.02, 1.03)
    axes.set_ylim(-0.02, 1.03)
    _percent(axes, "x", "y")
    across_title = f"probability of not normal, mean of a bin of {LEAST} films or more"
    _title(axes, "As sure as it is right?", across_title, "share not normal, 95 % interval")
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    return png(figure)


def _extent(scores: list[dict[str, Any]]) -> bytes:
    figure, (axes,) = blank_figure(5.6, 5.0, extra="training")
    axes.plot((0, 1), (0, 1), color=PALE, linewidth=1)
    for row in scores:
        low, middle, high = row["quartiles"]
        axes.plot((row["radiologists"],) * 2, (low, high), color=BLUE, linewidth=1.4)
        axes.plot(row["radiologists"], middle, "o", color=BLUE, markersize=5)
        axes.annotate(
            str(row["films"]), (row["radiologists"], high), (0, 4), textcoords="offset points",
            ha="center", fontsize=8, color=GREY,
        )  # fmt: skip
    _percent(axes, "x", "y")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.08)
    up = "extent by the network, median and quartiles"
    _title(axes, "How much is ill?", "extent by radiologists (films above)", up)
    return png(figure)
