"""The figures of one run of the benchmarks, and what became of them since the reference."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Ratio, ratio
from covidnet_lite.errors import BenchmarkError

MARGIN = 0.10  # runs of the same code differ by so much from one day to the next


@dataclass(frozen=True)
class Figure:
    """One thing measured: its median here, and as a ratio to a yardstick, which is what can be compared."""

    name: str
    value: float
    unit: str
    yardstick: str
    ratio: Ratio

    @classmethod
    def of(
        cls, name: str, unit: str, values: Sequence[float], yardstick: str, yardstick_values: Sequence[float]
    ) -> Figure:
        """From the rounds: what was taken, and what the yardstick took beside it."""
        return cls(name, statistics.median(values), unit, yardstick, ratio(values, yardstick_values))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Figure:
        """The reverse of :meth:`to_dict`."""
        return cls(**{**fields, "ratio": Ratio(**fields["ratio"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """A run, and the machine it was on."""

    machine: dict[str, Any]
    figures: list[Figure]

    def to_json(self) -> str:
        """As :func:`read` takes it."""
        return json.dumps({"machine": self.machine, "figures": [f.to_dict() for f in self.figures]}, indent=1) + "\n"


def read(path: Path) -> Run:
    """A run from its file.

    Raises:
        BenchmarkError: it is no such file.
    """
    try:
        fields = json.loads(path.read_text())
        return Run(fields["machine"], [Figure.from_dict(f) for f in fields["figures"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: holds no figures of the benchmarks ({error}); run make bench") from error


def from_pytest_benchmark(benchmarks: dict[str, Any]) -> list[Figure]:
    """From pytest-benchmark's own JSON."""
    return [Figure.from_dict(f) for one in benchmarks["benchmarks"] for f in one["extra_info"]["figures"]]


def table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| | here | as a ratio | 95 % interval | to |", "|---|---|---|---|---|"]
    for f in figures:
        r = f.ratio
        lines.append(
            f"| {f.name} | {f.value:.3g} {f.unit} | {r.value:.3g} | {r.low:.3g} to {r.high:.3g} | {f.yardstick} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Change:
    """What became of a figure; ``times`` is the ratio now over the ratio then."""

    name: str
    times: float
    verdict: str


def changes(now: Run, then: Run) -> list[Change]:
    """Each figure of the reference: ``worse`` or ``better`` beyond the noise, ``same``, or ``not measured``.

    Beyond the noise means: the two intervals lie apart by more than ``MARGIN``.
    """
    ratio_of = {f.name: f.ratio for f in now.figures}
    differences = []
    for reference in then.figures:
        current = ratio_of.get(reference.name)
        if current is None:
            differences.append(Change(reference.name, float("nan"), "not measured"))
            continue
        worse = current.low > reference.ratio.high * (1 + MARGIN)
        better = current.high * (1 + MARGIN) < reference.ratio.low
        verdict = "worse" if worse else "better" if better else "same"
        differences.append(Change(reference.name, current.value / reference.ratio.value, verdict))
    return differences
