"""The networks that come along, side by side: ``python benchmarks/shipped.py`` measures and prints, ``--plot`` draws.

Latency is of one invoke on one thread, measured here and in turn, and told as a
ratio to ``base``; how good they are is as audited (``training/audit.py --publish``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import in_turn
from convert.judge.plots import BLUE, GREY, INK, blank_figure, png
from covidnet_lite import files
from covidnet_lite.network import model
from covidnet_lite.network.interpreter import Interpreter, available_cores
from training.judge.figure import to_text

ROOT = Path(__file__).resolve().parent.parent

CHECKPOINTS = ROOT / "training/checkpoints"
LINES = {
    "any opacity v negative": ("contrasts", "any opacity v negative", "test split"),
    "typical v negative": ("contrasts", "typical v negative", "test split"),
    "typical v atypical": ("contrasts", "typical v atypical", "test split"),
    "evidence in an opacity": ("pointing", "own hospitals, test split", "hottest place in a box"),
}  # column -> section, row and column of the audit


def measure(rounds: int) -> dict[str, dict[str, Any]]:
    """Name -> megabytes, latency as a ratio to the default network's, and figures of the audit."""
    loaded = {name: model.load(name) for name in model.shipped()}
    interpreters = [Interpreter(m, threads=1) for m in loaded.values()]
    inputs = [np.zeros(i.input_shape, i.input_dtype) for i in interpreters]
    runs = [lambda i=i, p=p: i.run(p) for i, p in zip(interpreters, inputs)]
    milliseconds = dict(zip(loaded, in_turn(*runs, rounds=rounds)))
    rows = {}
    for name, network in loaded.items():
        audit = json.loads((CHECKPOINTS / f"{name}.audit.json").read_text())
        if audit["sha256"] != network.sha256:
            sys.exit(f"{name}: its audit is of another file; run training/audit.py {name} --publish")
        spec = network.manifest.input
        figures = {name: audit["sections"][section][row][column] for name, (section, row, column) in LINES.items()}
        rows[name] = {
            "megabytes": len(network.data) / 1e6,
            "side": spec.height,
            "latency": milliseconds[name] / milliseconds[model.DEFAULT],
            **figures,
        }
    return dict(sorted(rows.items(), key=lambda item: item[1]["megabytes"]))


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table."""
    lines = [
        f"| | size | input | one invoke, as a share of `{model.DEFAULT}` | " + " | ".join(LINES) + " |",
        "|---|---|---|---" + "|---" * len(LINES) + "|",
    ]
    for name, row in rows.items():
        cells = [f"`{name}`", f"{row['megabytes']:.2f} MB", f"{row['side']} px", f"{row['latency']:.2f}"]
        lines.append("| " + " | ".join([*cells, *(to_text(row[column]) for column in LINES)]) + " |")
    return "\n".join(lines)


def draw(rows: dict[str, dict[str, Any]], column: str = "any opacity v negative") -> bytes:
    """A point a network: latency across, AUROC up with its interval, the area its size."""
    figure, (axes,) = blank_figure(7, 4.2)
    for name, row in rows.items():
        value, (low, high) = row[column]["value"], row[column]["interval"]
        axes.errorbar(row["latency"], value, [[value - low], [high - value]], color=GREY, lw=1, zorder=1)
        axes.scatter(row["latency"], value, 90 * row["megabytes"], BLUE, zorder=2)
        label = f"{name}, {row['megabytes']:.1f} MB"
        offset = (8 + 5 * row["megabytes"] ** 0.5, 6)
        axes.annotate(label, (row["latency"], value), offset, textcoords="offset points", color=INK)
    axes.set_title("AUROC, latency and size (area) of the networks that come along", loc="left", color=INK)
    axes.set_xlabel(f"one invoke on one thread, as a share of {model.DEFAULT}'s", color=INK)
    axes.set_ylabel(f"{column}, AUROC, int8, test split, 95 %", color=INK)
    axes.set_xlim(0, 1.3 * max(row["latency"] for row in rows.values()))
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="invokes of each network (default: 200)")
    parser.add_argument("--plot", type=Path, help="also draw them to this PNG")
    args = parser.parse_args()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.2f}\n")
    rows = measure(args.rounds)
    print(markdown(rows))
    if args.plot:
        files.write(args.plot, draw(rows))


if __name__ == "__main__":
    main()
