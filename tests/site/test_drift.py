"""Days against the fit: what is reported, how often by chance, and what is kept of it."""

from __future__ import annotations

import datetime
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sites import reference, site

from covidnet_lite.site.drift import WINDOW, Day, Drift, Report, compare, drift_monitor, kind_of
from covidnet_lite.site.reference import KINDS
from covidnet_lite.site.reference import reference as kept

MONDAY = datetime.date(2026, 11, 30)
USUAL = (0.55, 0.25, 0.17, 0.03)  # negative, positive, unsure, refused


@dataclass
class Result:
    status: str = "answered"
    labels: tuple[str, ...] = ("normal",)
    is_positive: bool = False
    distance: float | None = 1.0


def sample_day(rng: Any, n: int, shares: Any = USUAL, farther: float = 0.0) -> tuple[list[str], list[float]]:
    return [str(k) for k in rng.choice(KINDS, n, p=shares)], (np.exp(rng.normal(0, 0.3, n)) + farther).tolist()


def day(kinds: list[str], distances: list[float], date: datetime.date = MONDAY) -> Day:
    date_results = Day(date)
    for kind, distance in zip(kinds, distances):
        date_results.add(kind, distance)
    return date_results


def test_a_result_comes_to_one_kind() -> None:
    assert kind_of(Result()) == "negative"
    assert kind_of(Result(labels=("covid",), is_positive=True)) == "positive"
    assert kind_of(Result(labels=("pneumonia", "covid"), is_positive=True)) == "positive"
    assert [kind_of(Result(s, ())) for s in ("unsure", "refused", "failed")] == ["unsure", "refused", "failed"]


def test_where_nothing_has_changed_a_day_is_hardly_ever_reported() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(20):
        fitted = kept("usual", *sample_day(rng, 100))
        days = [day(*sample_day(rng, 40)) for _ in range(25)]
        alarms += sum(compare([one], fitted, "normal").drifted for one in days)
    assert alarms <= 3  # of 500; one in a thousand is allowed on average, and more than 3 in one run of 500


@pytest.mark.parametrize(
    ("shares", "farther", "words"),
    [
        ((0.4, 0.2, 0.1, 0.3), 0.0, "refused: "),
        ((0.15, 0.65, 0.17, 0.03), 0.0, "answered otherwise: "),
        ((0.15, 0.65, 0.17, 0.03), 0.0, "answered normal: "),
        ((0.2, 0.2, 0.57, 0.03), 0.0, "without an answer: "),
        (USUAL, 0.4, "distance from training's radiographs 1."),
    ],
)
def test_a_day_that_differs_is_reported_with_what_differs(shares: Any, farther: float, words: str) -> None:
    rng = np.random.default_rng(1)
    report = compare([day(*sample_day(rng, 100, shares, farther))], kept("usual", *sample_day(rng, 200)), "normal")
    assert [change for change in report.changes if change.startswith(words)]
    assert all(", at the fit " in change for change in report.changes)


def test_what_is_too_slow_for_a_day_shows_over_four_weeks() -> None:
    rng, fitted = np.random.default_rng(2), kept("usual", *sample_day(np.random.default_rng(3), 200))
    days = [
        day(*sample_day(rng, 15, (0.35, 0.45, 0.17, 0.03)), MONDAY + datetime.timedelta(days=i)) for i in range(WINDOW)
    ]
    assert not compare(days[-1:], fitted, "normal").drifted
    assert all(f"in the last {WINDOW} days" in change for change in compare(days, fitted, "normal").changes)
    assert compare(days, fitted, "normal").drifted


def test_of_normals_alone_only_refusals_are_compared() -> None:
    rng, fitted = np.random.default_rng(0), reference("normals", distances=(0.5, 0.6))
    ill = day(*sample_day(rng, 100, (0.05, 0.85, 0.07, 0.03), 0.5))
    assert not compare([ill], fitted, "normal").drifted
    (change,) = compare([day(*sample_day(rng, 100, (0.4, 0.2, 0.1, 0.3)))], fitted, "normal").changes
    assert change.startswith("refused: ")


def drift(reports: list[Report]) -> Drift:
    return Drift(reference(), "normal", reports.append, lambda: MONDAY)


def test_a_day_is_reported_when_the_next_begins_and_once() -> None:
    reports: list[Report] = []
    followed = drift(reports)
    for days in (0, 0, 1, 0, 3):  # a radiograph of Monday that comes on Tuesday counts there
        followed.count("negative", 1.0, MONDAY + datetime.timedelta(days=days))
    assert [(report.date.day, report.radiographs) for report in reports] == [(30, 2), (1, 2)]
    followed.end()
    assert [report.radiographs for report in reports] == [2, 2, 1]


def test_days_farther_back_than_four_weeks_count_no_more() -> None:
    reports: list[Report] = []
    followed = drift(reports)
    for _ in range(60):
        followed.count("refused", 9.0, MONDAY)
    for _ in range(40):
        followed.count("negative", 1.0, MONDAY + datetime.timedelta(days=WINDOW))
    followed.end()
    assert "refused: 100% (60 of 60)" in reports[0].changes[0]
    assert not any("refused" in change for change in reports[1].changes)


def test_what_is_told_holds_numbers_and_a_date_alone() -> None:
    reports: list[Report] = []
    followed = drift(reports)
    for _ in range(60):
        followed.count("refused", 9.0, MONDAY)
    followed.end()
    fields = reports[0].to_dict()
    assert (fields["day"], fields["films"], fields["drift"]) == ("2026-11-30", 60, True)
    assert str(reports[0]).startswith("2026-11-30: 60 radiographs: refused: 100% (60 of 60), at the fit 2% (2 of 100)")
    assert str(Report(MONDAY, 1)) == "2026-11-30: 1 radiograph: no drift beyond chance"


def test_figures_for_prometheus_follow_the_days() -> None:
    followed = drift([])
    assert {name: value for name, (_, value) in followed.gauges().items()} == {
        "site_drift": 0,
        "site_drift_days": 0,
        "site_day_films": 0,
    }
    for _ in range(60):
        followed.count("refused", 9.0, MONDAY)
    followed.add(Result())
    assert followed.gauges()["site_day_films"][1] == 61
    followed.count("negative", 1.0, MONDAY + datetime.timedelta(days=1))
    assert [followed.gauges()[name][1] for name in ("site_drift", "site_drift_days", "site_day_films")] == [1, 1, 1]


def test_what_could_not_be_read_counts_for_nothing() -> None:
    followed = drift([])
    followed.count("failed", None, MONDAY)
    followed.count("unsure", float("nan"), MONDAY)
    assert followed.gauges()["site_day_films"][1] == 1


def test_many_threads_lose_no_radiograph() -> None:
    followed = drift([])
    threads = [threading.Thread(target=lambda: [followed.add(Result()) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert followed.gauges()["site_day_films"][1] == 4000


def test_what_goes_wrong_in_telling_costs_no_radiograph_its_answer() -> None:
    def broken(report: Report) -> None:
        raise OSError("nobody reads it")

    followed = Drift(reference(), "normal", broken, iter([MONDAY, MONDAY + datetime.timedelta(days=1)]).__next__)
    followed.add(Result())
    followed.add(Result())
    assert followed.gauges()["site_day_films"][1] == 1


def test_without_a_site_nothing_is_followed() -> None:
    assert drift_monitor(None, lambda report: None) is None
    assert isinstance(drift_monitor(site(), lambda report: None), Drift)


@pytest.mark.parametrize("jump", [-365, 365])
def test_a_clock_that_is_set_and_set_right_again_keeps_no_day_open(jump: int) -> None:
    reports: list[Report] = []
    followed = drift(reports)
    for days in (0, jump, 1, 1, 2):
        followed.count("negative", 1.0, MONDAY + datetime.timedelta(days=days))
    assert [report.radiographs for report in reports] == [1, 1, 2]
    assert reports[-1].date == MONDAY + datetime.timedelta(days=1)


def test_a_day_of_the_future_is_not_among_the_days_before() -> None:
    reports: list[Report] = []
    followed = drift(reports)
    for _ in range(60):
        followed.count("refused", 9.0, MONDAY + datetime.timedelta(days=365))
    for _ in range(40):
        followed.count("negative", 1.0, MONDAY)
    followed.end()
    assert "refused" in reports[0].changes[0]
    assert not any("refused" in change for change in reports[1].changes)
