from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_model import flatbuffer

from convert import report
from covidnet_lite import model
from covidnet_lite.cases import Case
from covidnet_lite.manifest import seal


@pytest.fixture
def labelled(film_png: Path) -> list[Case]:
    return [Case(film_png, label) for label in ("normal", "covid", "fracture")]


def test_a_network_agrees_with_itself(labelled: list[Case]) -> None:
    base = model.load("base")
    found = report.agreement(base, base, labelled)
    assert (found.images, found.top1, found.drift, found.differing) == (2, 1.0, 0.0, ())
    assert found.float_correct == found.int8_correct <= 1


def test_a_network_that_says_something_else_is_found_out(labelled: list[Case]) -> None:
    base = model.load("base")
    outputs = base.manifest.outputs
    # The same graph read with its labels turned round disagrees wherever the middle one does not win.
    turned = replace(base.manifest, labels=base.manifest.labels[::-1])
    other = model.verify(seal(flatbuffer(), turned), Path("other"))
    assert other.manifest.outputs == outputs
    a, b = (report.agreement(m, m, labelled) for m in (base, other))
    assert a.float_correct + b.float_correct <= 2


def test_the_table_says_what_it_cost(labelled: list[Case]) -> None:
    base = model.load("base")
    text = report.text(base, base, report.agreement(base, base, labelled), report.Latency(4.0, 2.0))
    assert "2.00 x faster" in text
    assert "100.00%" in text
    assert "on 2 images" in text
    assert "not measured; pass --data" in report.text(base, base, None, report.Latency(4.0, 2.0))


def test_latency_is_measured() -> None:
    base = model.load("base")
    taken = report.latency(base, base, rounds=40)
    assert 0.1 < taken.int8_ms < 1000
    assert taken.float_ms / taken.int8_ms == pytest.approx(1, rel=0.5)
