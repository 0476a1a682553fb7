"""Whether a node is healthy, and what it says of itself."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from covidnet_lite import __version__
from covidnet_lite.node import health
from covidnet_lite.node.health import Health, Objections, Remembered

WELL = Health({"received": 1, "outgoing": 2, "sent": 3, "failed": 4}, 12.34, {"pacs": None}, answered=0.5)


def test_a_node_that_works_has_no_problem() -> None:
    assert WELL.to_dict() == {
        "status": "ok",
        "problems": [],
        "queue": {"received": 1, "outgoing": 2, "sent": 3, "failed": 4},
        "oldest_waiting_seconds": 12.3,
        "destinations": {"pacs": True},
        "last_answer": "1970-01-01T00:00:00.500Z",
        "version": __version__,
    }


def test_a_node_that_has_just_started_has_no_problem() -> None:
    said = Health({}, None, {}).to_dict()
    assert (said["status"], said["oldest_waiting_seconds"], said["last_answer"]) == ("ok", None, None)


@pytest.mark.parametrize(
    ("ill", "words"),
    [
        (replace(WELL, destinations={"a": None, "b": "cannot be reached"}), "b cannot be reached"),
        (replace(WELL, objection="is full"), "the queue takes no radiograph: is full"),
        (replace(WELL, oldest=3661.0), "a radiograph has waited for 61 minutes"),
        (replace(WELL, patience=12.0), "a radiograph has waited for 0 minutes"),
    ],
)
def test_each_problem_is_named(ill: Health, words: str) -> None:
    assert ill.to_dict()["status"] == "failing"
    assert ill.to_dict()["problems"] == [words]
    assert ill.gauges()["healthy"][1] == 0
    assert WELL.gauges()["healthy"][1] == 1


def test_prometheus_gets_the_same_figures() -> None:
    values = {
        name: value for name, (_, value) in replace(WELL, destinations={"a": None, "b": "is away"}).gauges().items()
    }
    assert values["queue"] == {("place", "received"): 1, ("place", "outgoing"): 2, ("place", "sent"): 3, ("place", "failed"): 4}  # fmt: skip
    assert values["destination_up"] == {("destination", "a"): 1, ("destination", "b"): 0}
    assert (values["oldest_waiting_seconds"], values["last_answer_time_seconds"]) == (12.34, 0.5)


def test_a_destination_is_not_asked_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask() -> Objections:
        asked.append(time.monotonic())
        return {"pacs": None}

    remembered = Remembered(ask)
    for now in (100.0, 100.0 + health.REMEMBERED, 101.0 + health.REMEMBERED):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        assert remembered() == {"pacs": None}
    assert asked == [100.0, 101.0 + health.REMEMBERED]
    remembered.forget()
    remembered()
    assert len(asked) == 3
