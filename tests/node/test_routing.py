"""Which results of an answer go where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from covidnet_lite.node import routing
from covidnet_lite.node.settings import Pacs, Results, Settings
from covidnet_lite.prediction import Prediction


def prediction(status: Any, *labels: str, negative: str | None = "normal") -> Prediction:
    return Prediction("a", status, labels, None, {}, {}, "m", "0", negative=negative)


@pytest.mark.parametrize(
    ("made", "answer"),
    [
        (prediction("answered", "normal"), "negative"),
        (prediction("answered", "covid"), "positive"),
        (prediction("narrowed", "pneumonia", "covid"), "positive"),
        (prediction("answered", "normal", negative=None), "positive"),  # nobody can tell that it is not
        (prediction("unsure"), "unsure"),
        (prediction("refused"), "refused"),
    ],
)
def test_what_an_answer_is(made: Prediction, answer: str) -> None:
    assert routing.answer_of(made) == answer


def test_each_destination_gets_what_it_asks_for_or_what_all_get(tmp_path: Path) -> None:
    alarm = Pacs("ALARM", "h", 2, results=Results(("SC",), (), (), ()))
    settings = Settings(tmp_path, Pacs("PACS", "h", 1), {"alarm": alarm}, Results(unsure=("SR", "SC"), refused=()))
    assert routing.kinds(settings, "positive") == {"pacs": ("SR", "SC"), "alarm": ("SC",)}
    assert routing.kinds(settings, "negative") == {"pacs": ("SR", "SC"), "alarm": ()}
    assert routing.kinds(settings, "unsure") == {"pacs": ("SR", "SC"), "alarm": ()}
    assert routing.kinds(settings, "refused") == {"pacs": (), "alarm": ()}


def test_a_report_comes_before_a_capture_and_what_could_not_be_made_is_left_out() -> None:
    wanted: Any = {"a": ("SC", "SR"), "b": ("SC",), "c": ()}
    assert routing.parcels(wanted, {"SR": b"r", "SC": b"c"}) == {"a": [b"r", b"c"], "b": [b"c"], "c": []}
    assert routing.parcels(wanted, {"SR": b"r"}) == {"a": [b"r"], "b": [], "c": []}
