"""Plots of a conversion: which scheme is worth having, and which layers the integers are too coarse for."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.judge.candidate import Candidate, dominated
from convert.metrics import wilson
from convert.quantisation.layers import Layer, Range
from covidnet_lite.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMES = "schemes.png"
NOISIEST, WIDEST = 20, 10  # layers in layers.png and in ranges.png
DROWNED, EXACT = -30.0, 120.0  # dB; beyond, a bar would only make the others short
AREA = 640.0  # of the largest file's marker, in square points
CAP = 7  # width of the ends of an interval, in points
DPI = 150

# Okabe and Ito's palette, which colour-blind people can distinguish too.
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
INK, GREY, FAINT, PALE = "#222222", "#767676", "#ABABAB", "#DDDDDD"
COLOURS = {
    "int8": BLUE,
    "int16": ORANGE,
    "float16": GREEN,
    "dynamic": VERMILION,
    "float32": PURPLE,
    "weights8": SKY,
    "weights4": GREY,
}


def draw(candidates: Sequence[Candidate], layers: Sequence[Layer]) -> dict[str, bytes]:
    """File name -> PNG; the same bytes for the same input.

    Args:
        candidates: plotted where there are several; a single dot compares nothing.
        layers: plotted where there are any.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    images = {SCHEMES: _schemes(candidates)} if len(candidates) > 1 else {}
    if layers:
        noisy = sorted(layers, key=lambda layer: layer.snr)
        images |= {"layers.png": _layers(noisy[:NOISIEST]), "ranges.png": _ranges(noisy[:WIDEST])}
    return images


def blank_figure(
    width: float, height: float, columns: int = 1, sharey: bool = True, extra: str = "convert", rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure of its own, so that pyplot and its settings stay as they are; ``extra`` brings matplotlib.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except ImportError:
        raise MissingExtraError(f"plots need matplotlib: pip install 'covidnet-lite[{extra}]'") from None
    figure = matplotlib.figure.Figure((width, height), DPI, facecolor="white", layout="constrained")
    matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(colors=INK, labelsize=9)
        axes.set_axisbelow(True)
    return figure, panels


def png(figure: Figure) -> bytes:
    """Its bytes, the same for the same plot."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})  # bytes would follow the version
    return file.getvalue()


# --- schemes


@dataclass(frozen=True)
class _Point:
    """A scheme in the plot: ``low`` and ``high`` are the ends of the interval of ``value``, ``size`` is in MB."""

    scheme: str
    time: float
    value: float
    low: float
    high: float
    size: float
    area: float
    worse: bool

    @property
    def radius(self) -> float:
        return math.sqrt(self.area / math.pi)

    @property
    def label(self) -> str:
        size = f"{self.size:.1f} MB" if self.size >= 1 else f"{1e3 * self.size:.0f} kB"
        return f"{self.scheme}, {size}" + ("\ndominated" if self.worse else "")


@dataclass(frozen=True)
class _Measure:
    """What schemes are ranked by; ``of_float`` is the float network's own."""

    title: str
    label: str
    note: str
    of_float: float | None = None
    respects: str = "good, small and fast"


def _measure(candidates: Sequence[Candidate]) -> _Measure:
    a = candidates[0].agreement
    if a is None:
        note = "quality was not measured: there were no held-out images"
        return _Measure("File size against latency", "file size (MB)", note, respects="small and fast")
    if a.labelled:
        note = f"bars: 95 % intervals (Wilson) on {a.labelled} labelled images"
        return _Measure("Accuracy against latency", "accuracy", note, a.float_correct / a.labelled)
    note = f"accuracy was not measured: the {a.images} images have no labels"
    return _Measure("Agreement with float against latency", "top-1 agreement with float", note)


def _points(candidates: Sequence[Candidate]) -> list[_Point]:
    """The largest first: files that are equally good and fast lie on each other."""
    worse = dominated(list(candidates))
    sizes = [len(c.model.data) / 1e6 for c in candidates]
    points = []
    for c, size in zip(candidates, sizes):
        value = size if c.quality is None else c.quality
        a, area = c.agreement, AREA * size / max(sizes)
        low, high = wilson(a.correct, a.labelled) if a is not None and a.labelled else (value, value)
        points.append(_Point(c.scheme, 1 / c.speed, value, low, high, size, area, c.scheme in worse))
    return sorted(points, key=lambda p: -p.size)


def _schemes(candidates: Sequence[Candidate]) -> bytes:
    figure, (axes,) = blank_figure(7.6, 5.2)
    measure, points = _measure(candidates), _points(candidates)
    _scale_times(axes, [p.time for p in points])
    if candidates[0].agreement is None:
        axes.set_ylim(0, 1.25 * points[0].size)
    else:
        _scale_shares(axes, [*(p.low for p in points), *(p.high for p in points), measure.of_float or points[0].value])
    axes.axvline(1, color=PALE, linewidth=1, zorder=1)
    if measure.of_float is not None:
        axes.axhline(measure.of_float, color=PALE, linewidth=1, zorder=1)
        edge = axes.get_yaxis_transform()
        axes.text(1.01, measure.of_float, "float", color=GREY, fontsize=9, va="center", transform=edge)
    front = sorted((p.time, p.value) for p in points if not p.worse)
    axes.plot([t for t, _ in front], [v for _, v in front], color=GREY, linewidth=1, zorder=2)
    for order, p in enumerate(points):
        _mark(axes, p, order)
    axes.set_title(measure.title, loc="left", fontsize=12, color=INK)
    axes.set_xlabel("latency relative to float (log scale; left is faster)", color=INK)
    axes.set_ylabel(measure.label, color=INK)
    hollow = f"; hollow: another scheme is at least as {measure.respects}" if len(front) < len(points) else ""
    figure.supxlabel(f"{measure.note}\nmarker area: file size{hollow}", fontsize=8, color=GREY)
    _label(figure, axes, points, front)
    return png(figure)


def _scale_times(axes: Axes, times: Sequence[float]) -> None:
    """A log axis around 1, with ticks in round numbers."""
    low, high = min(*times, 0.5) / 1.8, max(*times, 2.0) * 1.8
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = (1, 2, 5) if high / low < 2e3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [t for decade in decades for step in steps if low <= (t := step * 10.0**decade) <= high]
    axes.set_xticks(ticks, [f"{t:g}×" for t in ticks])
    axes.set_xticks([], minor=True)


def _scale_shares(axes: Axes, shares: Sequence[float]) -> None:
    """Room for markers around the shares, but no tick that a share cannot have."""
    import matplotlib.ticker

    low, high = min(shares), max(shares)
    room = max(0.3 * (high - low), 0.004)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axes.set_yticks([t for t in axes.get_yticks() if max(0, low - room) <= t <= min(1, high + room)])


def _mark(axes: Axes, p: _Point, order: int) -> None:
    colour = GREY if p.worse else COLOURS.get(p.scheme, SKY)
    if p.high > p.low:
        ends, bar = [p.low, p.high], FAINT if p.worse else colour
        axes.plot([p.time, p.time], ends, "_-", color=bar, linewidth=1.2, markersize=CAP, zorder=3)
    face, edge, width = ("white", GREY, 1.3) if p.worse else (colour, "white", 0.8)
    axes.scatter(p.time, p.value, p.area, facecolor=face, edgecolor=edge, linewidth=width, zorder=4 + order)


Pair = tuple[float, float]  # across and up, in pixels
Box = tuple[float, float, float, float]  # left, bottom, right, top


def _label(figure: Figure, axes: Axes, points: Sequence[_Point], front: Sequence[Pair]) -> None:
    """Names each point, where that hides the least of the markers, the bars, the front and the other names."""
    figure.draw_without_rendering()  # lays it out: from here on pixels are known
    figure.set_layout_engine("none")
    pixels = figure.dpi / 72
    window: Box = axes.get_window_extent().extents
    bars, occupied = [], []
    for p in points:
        (x, low), (_, y), (_, high) = axes.transData.transform([(p.time, v) for v in (p.low, p.value, p.high)]).tolist()
        radius = p.radius * pixels
        bars.append(_Bar((x, y), radius, min(low, y - radius), max(high, y + radius)))
        occupied += [_box(x, y, radius, radius), (x - CAP, low, x + CAP, high)]
    for (x, y), (right, top) in itertools.pairwise(axes.transData.transform(front).tolist()):
        occupied += [_box(x + (right - x) * part / 20, y + (top - y) * part / 20, 4, 4) for part in range(21)]
    for order, (p, bar) in enumerate(zip(points, bars)):
        text = axes.text(p.time, p.value, p.label, ha="center", va="center", fontsize=9, color=GREY if p.worse else INK)
        text.set(zorder=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        extent = text.get_window_extent()
        half = extent.width / 2 + 4, extent.height / 2 + 4
        best = min(bar.places(half), key=lambda place: _cost(place, half, bar.marker, window, occupied))
        occupied.append(_box(*best, *half))
        time, value = axes.transData.inverted().transform(best)
        text.set_position((time, value))
        if not _shared(occupied[-1], bar.surroundings):
            axes.plot((p.time, time), (p.value, value), color=GREY, linewidth=0.7, zorder=3.5 + order)


@dataclass(frozen=True)
class _Bar:
    """What is drawn of a point: its marker, and the lowest and highest pixel."""

    marker: Pair
    radius: float
    low: float
    high: float

    @property
    def surroundings(self) -> Box:
        """Where a name clearly belongs to it."""
        (x, _), near = self.marker, self.radius + 10
        return x - near, self.low - 10, x + near, self.high + 10

    def places(self, half: Pair) -> Iterator[Pair]:
        """Centres for a name of half a width and half a height: around the marker, then above and below the bar."""
        (x, y), (width, height) = self.marker, half
        for gap, turn in itertools.product((4, 24, 50), range(24)):
            angle, far = turn * math.pi / 12, self.radius + gap
            yield x + math.cos(angle) * (far + width), y + math.sin(angle) * (far + height)
        for level, shift in itertools.product((1, 3, 5), (0, 0.5, -0.5, 1, -1)):
            yield x + shift * width, self.high + 4 + level * height
            yield x + shift * width, self.low - 4 - level * height


def _cost(place: Pair, half: Pair, marker: Pair, window: Box, occupied: Sequence[Box]) -> float:
    """What is wrong with a name's place: what it hides, what does not fit in the window, and being far away."""
    box = _box(*place, *half)
    outside = _shared(box, box) - _shared(box, window)
    return 9 * (outside + sum(_shared(box, other) for other in occupied)) + 3 * math.dist(place, marker)


def _box(x: float, y: float, width: float, height: float) -> Box:
    """From the centre and half the sides."""
    return x - width, y - height, x + width, y + height


def _shared(a: Box, b: Box) -> float:
    """Area of what two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


# --- layers


def _rows(axes: Axes, layers: Sequence[Layer]) -> None:
    """One row a layer, the noisiest on top."""
    axes.set_ylim(len(layers) - 0.4, -0.6)
    # A Keras name is free to have dollars, which are no formulas.
    axes.set_yticks(range(len(layers)), [_short(layer.name) for layer in layers], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, linewidth=0.7)


def _short(name: str, max_length: int = 40) -> str:
    """A name that leaves room for the plot: its two ends distinguish layers."""
    return name if len(name) <= max_length else f"{name[: max_length // 3]}…{name[len(name) - 2 * max_length // 3 :]}"


def _layers(layers: Sequence[Layer]) -> bytes:
    figure, (axes,) = blank_figure(7.6, 1.5 + 0.27 * len(layers))
    kinds = sorted({layer.operation for layer in layers})
    colours = dict(zip(kinds, itertools.cycle((BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION))))
    _rows(axes, layers)
    for row, layer in enumerate(layers):
        length = min(max(layer.snr, DROWNED), EXACT)
        axes.barh(row, length, 0.72, color=colours[layer.operation])
        text = "exact" if layer.snr >= EXACT else _number(f"{layer.snr:.1f}")
        axes.annotate(
            text, (max(length, 0), row), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.margins(x=0.1)
    axes.set_title("The noisiest layers", loc="left", fontsize=12, color=INK)
    axes.set_xlabel("signal to noise (dB; shorter is noisier)", color=INK)
    handles = [axes.barh(0, 0, color=colours[kind], label=kind) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return png(figure)


def _ranges(layers: Sequence[Layer]) -> bytes:
    figure, (left, right) = blank_figure(9.6, 1.7 + 0.34 * len(layers), columns=2)
    for axes, title in ((left, "Activation ranges"), (right, "Weight ranges")):
        _rows(axes, layers)
        axes.use_sticky_edges = False
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=12, color=INK)
    right.tick_params(axis="y", labelleft=False)
    for row, layer in enumerate(layers):
        _span(left, row, layer.range)
        _aside(left, row, _range_text(layer.range))
        if layer.weights is None:
            _aside(right, row, "no weights")
            continue
        _span(right, row, layer.weights)
        _aside(right, row, _range_text(layer.weights) + _spread(layer.channels))
        if layer.channels is not None:
            right.plot(layer.channels, (row, row), color=VERMILION, linewidth=1.5, zorder=3)
            right.scatter(layer.channels, (row, row), 22, ["white", VERMILION], edgecolor=VERMILION, zorder=4)
    if not any(layer.weights for layer in layers):
        right.set_xticks([])
    whole = left.barh(0, 0, color=SKY, label="smallest to largest value: what one scale has to span")
    (channels,) = right.plot(
        [],
        [],
        "o-",
        color=VERMILION,
        markersize=4.5,
        label="largest |weight| of a channel: the least (hollow) to the most, and their ratio",
    )
    figure.legend(handles=[whole, channels], loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return png(figure)


def _span(axes: Axes, row: int, ends: Range) -> None:
    axes.barh(row, ends[1] - ends[0], 0.62, ends[0], color=SKY)


def _aside(axes: Axes, row: int, text: str) -> None:
    """Writes to the right of a row."""
    axes.text(1.02, row, text, color=GREY, fontsize=8, va="center", transform=axes.get_yaxis_transform())


def _range_text(ends: Range) -> str:
    return _number(f"{ends[0]:.3g} to {ends[1]:.3g}")


def _number(text: str) -> str:
    """With the minus sign that the axes have."""
    return text.replace("-", "\N{MINUS SIGN}")


def _spread(channels: Range | None) -> str:
    """By how much the widest channel is wider than the narrowest."""
    if channels is None:
        return ""
    return f"; {channels[1] / channels[0]:.3g}×" if channels[0] > 0 else "; one is 0"
