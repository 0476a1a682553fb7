"""Whether the radiographs of a day are still like those of the fit; said, and never acted on.

Each day that is over is compared with the reference, and so are the last 28 days together, which show what is too slow
for one day: what share is refused, what is answered, and how far the radiographs are from training's. Shares are
compared by Fisher's exact test, distances by the exact test of Kolmogorov and Smirnov, each at a level of FALSE_ALARMS
divided by the number of tests (Bonferroni; Dunn, JASA 1961): where nothing has changed, at most one day in a thousand
is reported, on average over fits. Days are dates of this machine. Numbers only are kept, in memory.
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
ANSWERED = tuple(kind for kind in KINDS if kind != "refused")
WORDS = {"negative": "answered {negative}", "positive": "answered otherwise", "unsure": "without an answer"}


class Result(Protocol):
    """What is looked at of a prediction."""

    @property
    def status(self) -> str: ...

    @property
    def is_positive(self) -> bool: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def distance(self) -> float | None: ...


def kind_of(result: Result) -> str:
    """What a radiograph came to, as in :data:`~covidnet_lite.site.reference.KINDS`."""
    if not result.labels:
        return result.status  # unsure, refused or failed
    return "positive" if result.is_positive else "negative"


@dataclass
class Day:
    """The radiographs of one date: how many came to what, and their distances."""

    date: datetime.date
    kinds: Counter[str] = field(default_factory=Counter)
    distances: list[float] = field(default_factory=list)

    def add(self, kind: str, distance: float | None) -> None:
        """One radiograph; what could not be read counts for nothing."""
        if kind in KINDS:
            self.kinds[kind] += 1
            if distance is not None and distance == distance:
                self.distances.append(distance)


@dataclass(frozen=True)
class Report:
    """What came of a day.

    Attributes:
        date: of the day.
        films: on that day.
        changes: what differs beyond chance, in words; none where nothing does.
    """

    date: datetime.date
    films: int
    changes: tuple[str, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether anything differs beyond chance."""
        return bool(self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain types; no patient data."""
        changes = list(self.changes)
        return {"day": self.date.isoformat(), "films": self.films, "drift": self.drifted, "changes": changes}

    def __str__(self) -> str:
        what = "; ".join(self.changes) or "no drift beyond chance"
        return f"{self.date}: {self.films} radiograph{'' if self.films == 1 else 's'}: {what}"


def compare(days: list[Day], reference: Reference, negative: str) -> Report:
    """The last of some days, and all of them together, against the reference.

    Args:
        days: by rising date, 28 at most.
        reference: of the fit.
        negative: the label that means "no finding".
    """
    windows = {"": days[-1:], **({f" in the last {WINDOW} days": days} if len(days) > 1 else {})}
    found = [(words + when, p) for when, these in windows.items() for words, p in _tests(these, reference, negative)]
    level = FALSE_ALARMS / max(1, len(found))
    changes = tuple(words for words, p in found if p < level)
    return Report(days[-1].date, days[-1].kinds.total(), changes)


def _tests(days: list[Day], reference: Reference, negative: str) -> Iterator[tuple[str, float]]:
    """Each difference in words, and its p-value."""
    kinds: Counter[str] = sum((day.kinds for day in days), Counter())
    yield _share("refused", kinds["refused"], kinds.total(), reference.answers["refused"], _sum(reference.answers))
    if reference.of != "usual":  # normals alone: ill patients differ from them in the rest, as they should
        return
    now, then = sum(kinds[k] for k in ANSWERED), sum(reference.answers[k] for k in ANSWERED)
    for kind in ANSWERED:
        words = WORDS[kind].format(negative=negative)
        yield _share(words, kinds[kind], now, reference.answers[kind], then)
    distances = sorted(d for day in days for d in day.distances)
    if distances and reference.distances:
        middles = distances[len(distances) // 2], reference.distances[len(reference.distances) // 2]
        words = "distance from training's radiographs {:.2f}, at the fit {:.2f} (medians)".format(*middles)
        yield words, kolmogorov_smirnov(distances, reference.distances)


def _share(words: str, count: int, total: int, then: int, of: int) -> tuple[str, float]:
    p = fisher(count, total, then, of) if total and of else 1.0
    shares = [percent(k / n, 0) if n else "-" for k, n in ((count, total), (then, of))]
    return f"{words}: {shares[0]} ({count} of {total}), at the fit {shares[1]} ({then} of {of})", p


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


class Drift:
    """Compares day after day, as radiographs come; for many threads."""

    def __init__(
        self,
        reference: Reference,
        negative: str,
        tell: Callable[[Report], None] | None = None,
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        """``tell`` is given the report on each day that is over; a day ends with the first radiograph of another."""
        self._reference, self._negative, self._tell, self._today = reference, negative, tell, today
        self._lock = threading.Lock()
        self._days: deque[Day] = deque(maxlen=WINDOW)
        self.last: Report | None = None
        self.alarms = 0

    def add(self, result: Result) -> None:
        """Takes one prediction, on the date of today; whatever goes wrong here costs no radiograph its answer."""
        try:
            self.count(kind_of(result), result.distance, self._today())
        except Exception as error:
            unforeseen("the comparison with the site's fit", error)

    def count(self, kind: str, distance: float | None, date: datetime.date) -> None:
        """Takes one radiograph; one of an earlier date than the last is counted to the last."""
        report = None
        with self._lock:
            if not self._days or date > self._days[-1].date:
                report = self._close()
                self._days.append(Day(date))
            self._days[-1].add(kind, distance)
        if report and self._tell:
            self._tell(report)

    def end(self) -> None:
        """Closes the last day, where all its radiographs have come."""
        with self._lock:
            report = self._close()
        if report and self._tell:
            self._tell(report)

    def _close(self) -> Report | None:
        """The report on the last day, compared with the days before it that are within the window."""
        if not self._days or not self._days[-1].kinds:
            return None
        first = self._days[-1].date - datetime.timedelta(days=WINDOW - 1)
        self.last = compare([day for day in self._days if day.date >= first], self._reference, self._negative)
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


def following(site: Site | None, tell: Callable[[Report], None]) -> Drift | None:
    """What compares a program's days with the fit, and has each report told; ``None`` without a site."""
    return Drift(site.reference, site.negative, tell) if site else None
