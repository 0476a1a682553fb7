"""Drift: whether a day's radiographs still resemble those of the fit. It is reported, and changes nothing.

Each day that is over is compared with the reference, and so are the last 28 days together, which show changes too slow
for one day: the share of refusals, the answers, and the distances from training's radiographs. Shares are compared by
Fisher's exact test, distances by the exact test of Kolmogorov and Smirnov, each at a level of FALSE_ALARMS divided by
the number of tests (Bonferroni; Dunn, JASA 1961): where nothing has changed, at most one day in a thousand is reported,
on average over fits. Days are dates of this machine. Only numbers are kept, in memory.
"""

from __future__ import annotations

import datetime
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..percent import percent
from ..unforeseen import unforeseen
from .chance import fisher, kolmogorov_smirnov
from .reference import KINDS, Reference
from .site import Site

FALSE_ALARMS = 0.001  # of the days on which nothing has changed
WINDOW = 28  # days
_DAY = datetime.timedelta(days=1)
ANSWERED = tuple(kind for kind in KINDS if kind != "refused")
WORDS = {"negative": "answered {negative}", "positive": "answered otherwise", "unsure": "without an answer"}


class Result(Protocol):
    """The part of a prediction that drift depends on."""

    @property
    def status(self) -> str: ...

    @property
    def is_positive(self) -> bool: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def distance(self) -> float | None: ...


def kind_of(result: Result) -> str:
    """The kind of a result: one of :data:`~covidnet_lite.site.reference.KINDS`, or ``failed``."""
    if not result.labels:
        return result.status  # unsure, refused or failed
    return "positive" if result.is_positive else "negative"


@dataclass
class Day:
    """The radiographs of one date: the number of each kind of result, and their distances."""

    date: datetime.date
    kinds: Counter[str] = field(default_factory=Counter)
    distances: list[float] = field(default_factory=list)

    def add(self, kind: str, distance: float | None) -> None:
        """Counts one radiograph, unless it could not be read."""
        if kind in KINDS:
            self.kinds[kind] += 1
            if distance is not None and distance == distance:
                self.distances.append(distance)


@dataclass(frozen=True)
class Report:
    """The comparison of one day with the reference.

    Attributes:
        date: of the day.
        radiographs: their number on that day.
        changes: what differs beyond chance, in words.
    """

    date: datetime.date
    radiographs: int
    changes: tuple[str, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether anything differs beyond chance."""
        return bool(self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain types; no patient data."""
        changes = list(self.changes)
        return {"day": self.date.isoformat(), "films": self.radiographs, "drift": self.drifted, "changes": changes}

    def __str__(self) -> str:
        summary = "; ".join(self.changes) or "no drift beyond chance"
        return f"{self.date}: {self.radiographs} radiograph{'' if self.radiographs == 1 else 's'}: {summary}"


def compare(days: list[Day], reference: Reference, negative: str) -> Report:
    """Compares the last of some days, and all of them together, with the reference.

    Args:
        days: by rising date, 28 at most.
        reference: of the fit.
        negative: the label that means "no finding".
    """
    windows = {"": days[-1:], **({f" in the last {WINDOW} days": days} if len(days) > 1 else {})}
    tests = [
        (description + period, p)
        for period, window in windows.items()
        for description, p in _tests(window, reference, negative)
    ]
    level = FALSE_ALARMS / max(1, len(tests))
    changes = tuple(description for description, p in tests if p < level)
    return Report(days[-1].date, days[-1].kinds.total(), changes)


def _tests(days: list[Day], reference: Reference, negative: str) -> Iterator[tuple[str, float]]:
    """Each difference in words, and its p-value."""
    kinds: Counter[str] = sum((day.kinds for day in days), Counter())
    yield _share_test("refused", kinds["refused"], kinds.total(), reference.answers["refused"], _sum(reference.answers))
    if reference.of != "usual":  # with normals alone: ill patients differ from them in all else, as they should
        return
    now, then = sum(kinds[k] for k in ANSWERED), sum(reference.answers[k] for k in ANSWERED)
    for kind in ANSWERED:
        description = WORDS[kind].format(negative=negative)
        yield _share_test(description, kinds[kind], now, reference.answers[kind], then)
    distances = sorted(d for day in days for d in day.distances)
    if distances and reference.distances:
        medians = distances[len(distances) // 2], reference.distances[len(reference.distances) // 2]
        description = "distance from training's radiographs {:.2f}, at the fit {:.2f} (medians)".format(*medians)
        yield description, kolmogorov_smirnov(distances, reference.distances)


def _share_test(description: str, count: int, total: int, then: int, of: int) -> tuple[str, float]:
    p = fisher(count, total, then, of) if total and of else 1.0
    shares = [percent(k / n, 0) if n else "-" for k, n in ((count, total), (then, of))]
    return f"{description}: {shares[0]} ({count} of {total}), at the fit {shares[1]} ({then} of {of})", p


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


class Drift:
    """Compares each day with the reference, as radiographs arrive; for many threads."""

    def __init__(
        self,
        reference: Reference,
        negative: str,
        on_report: Callable[[Report], None] | None = None,
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        """``on_report`` is called with the report on each day, which ends with the first radiograph of a later one."""
        self._reference, self._negative, self._on_report, self._today = reference, negative, on_report, today
        self._lock = threading.Lock()
        self._days: deque[Day] = deque(maxlen=WINDOW)
        self.last: Report | None = None
        self.alarms = 0

    def add(self, result: Result) -> None:
        """Counts one prediction on today's date; an error here is logged, so that no radiograph loses its answer."""
        try:
            self.count(kind_of(result), result.distance, self._today())
        except Exception as error:
            unforeseen("the comparison with the site's fit", error)

    def count(self, kind: str, distance: float | None, date: datetime.date) -> None:
        """Counts one radiograph; one of the day before the last counts for the last.

        A date before that means that the clock was ahead, and has been set back: it begins a new day.
        """
        report = None
        with self._lock:
            if not self._days or not _DAY * 0 <= self._days[-1].date - date <= _DAY:
                report = self._close()
                self._days.append(Day(date))
            self._days[-1].add(kind, distance)
        if report and self._on_report:
            self._on_report(report)

    def end(self) -> None:
        """Closes the last day, once all its radiographs have arrived."""
        with self._lock:
            report = self._close()
        if report and self._on_report:
            self._on_report(report)

    def _close(self) -> Report | None:
        """The report on the last day, together with the days before it within the window."""
        if not self._days or not self._days[-1].kinds:
            return None
        last = self._days[-1].date
        first = last - (WINDOW - 1) * _DAY
        self.last = compare([day for day in self._days if first <= day.date <= last], self._reference, self._negative)
        self.alarms += self.last.drifted
        return self.last

    def gauges(self) -> dict[str, tuple[str, float]]:
        """For Prometheus: name -> meaning and value."""
        last, today = self.last, sum(self._days[-1].kinds.values()) if self._days else 0
        return {
            "site_drift": (
                "Whether the last day that is over drifted beyond chance.",
                float(bool(last and last.changes)),
            ),
            "site_drift_days": ("Days since the start that drifted beyond chance.", float(self.alarms)),
            "site_day_films": ("Radiographs of the day that is not over.", float(today)),
        }


def drift_monitor(site: Site | None, on_report: Callable[[Report], None]) -> Drift | None:
    """Compares days with a site's fit, and calls ``on_report`` with each report; ``None`` without a site."""
    return Drift(site.reference, site.negative, on_report) if site else None
