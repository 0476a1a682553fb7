"""The judge of sites, on made-up hospitals."""

from __future__ import annotations

import pytest
from sites import films, network, spread

from benchmarks.site_fit import Hospital, figures, site_figures, tabulate


@pytest.fixture
def low() -> Hospital:
    """A hospital whose normals, and ill, score much lower than the network's own."""
    well = films(spread(-2, 200))
    return Hospital("low", well, [one.name for one in well], films(spread(0.5, 100), "ill", "covid"))


def test_figures_count_what_the_network_alone_calls_films(low: Hospital) -> None:
    well, ill, normal, missed = figures(low.well, low.ill, network().manifest)
    assert well == 1
    assert normal == sum(one.kind == "negative" for one in low.well) / 200
    assert ill == sum(one.kind == "positive" for one in low.ill) / 100
    assert missed == sum(one.kind == "negative" for one in low.ill) / 100


def test_a_site_calls_more_of_the_ill_so_at_the_specificity_that_was_asked_for(low: Hospital) -> None:
    well, ill, normal, missed = site_figures((low.well, []), low.well, low.ill, network())
    alone = figures(low.well, low.ill, network().manifest)
    assert well == pytest.approx(0.935)
    assert normal == pytest.approx(0.6, abs=0.01)
    assert ill > alone[1] + 0.3
    assert missed < alone[3] - 0.1


def test_a_row_tells_mean_and_spread_of_the_draws_and_how_many_fits_were_refused(low: Hospital) -> None:
    row = tabulate(low, "50 normals", network(), 5, 50).split(" | ")
    assert row[:3] == ["| low", "50 normals", "0 of 5"]
    assert row[3].startswith("0.9")
    assert tabulate(low, "few", network(), 3, 20) == "| low | few | 3 of 3 | - | - | - | - |"
    assert tabulate(low, "many", network(), 3, 190) == "| low | many | too few films | - | - | - | - |"


def test_the_other_films_of_a_patient_are_not_judged(low: Hospital) -> None:
    one = Hospital(low.name, low.well, ["the same"] * 200, low.ill)
    judged = []
    tabulate(
        one, "", network(), 1, 50, measure=lambda chosen, well, ill, model: judged.append(len(well)) or (0, 0, 0, 0)
    )  # type: ignore[func-returns-value]
    assert judged == [0]
