from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import MANIFEST, cases, reading, told

from covidnet_lite.evidence.extent import ExtentScale
from training.judge import severity

SCALED = replace(MANIFEST, extent=ExtentScale((0.0, 1.0), (0.0, 1.0), 0.1))


def said(manifest=MANIFEST):
    """Nine covid films that are ever more opaque, and one that nobody graded."""
    films = [replace(c, fields={"extent": str(i)}) for i, c in enumerate(cases("covid", 9))] + cases("covid", 1, "b")
    evidence = np.zeros((10, 2, 2, 3))
    evidence[:9, ..., 1:] = np.linspace(-4, 4, 9)[:, None, None, None]
    return reading(films, told("normal", 3) + told("covid", 7), evidence, manifest)


def test_films_that_radiologists_graded() -> None:
    part, extent = severity.graded(said())
    assert len(part.cases) == 9
    assert extent.tolist() == [i / 8 for i in range(9)]


def test_rank_correlation_and_error() -> None:
    result = severity.agreement(*severity.graded(said(SCALED)))
    assert result["rank correlation"]["value"] == pytest.approx(1)
    assert 0 < result["mean absolute error"]["value"] < 0.2
    assert result["rank correlation of P(not normal)"]["value"] < 1
    assert severity.agreement(*severity.graded(said()))["mean absolute error"]["kind"] == "missing"


def test_spearman_shares_the_ranks_of_ties() -> None:
    a, b = np.array([1, 2, 2, 3]), np.array([1, 3, 2, 4])
    assert severity.rank_correlation(a, b) == pytest.approx(0.9486833)
    assert np.isnan(severity.rank_correlation(np.ones(4), b))


def test_the_more_is_opaque_the_fewer_are_called_normal() -> None:
    rows = severity.thirds(*severity.graded(said()))
    called = [(row["called normal"]["count"], row["called normal"]["total"]) for row in rows.values()]
    assert called == [(1, 1), (2, 3), (0, 2), (0, 3)]
    assert next(iter(rows)) == "clear"
    assert severity.thirds(*severity.graded(reading(cases("covid", 2), told("covid", 2)))) == {}


def test_what_the_plot_shows() -> None:
    rows = severity.by_score(*severity.graded(said()))
    assert [row["films"] for row in rows] == [1] * 9
    medians = [row["quartiles"][1] for row in rows]
    assert medians == sorted(medians)
