"""A site from a network and radiographs: that the network then answers as was asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sites import DATE, films, network, scores, spread

from covidnet_lite.codes import Code
from covidnet_lite.errors import SiteError
from covidnet_lite.prediction import judge
from covidnet_lite.site.fit import Fit, default_targets, fit
from covidnet_lite.site.rule import Targets
from covidnet_lite.site.sample import Observation
from covidnet_lite.site.site import Site


def fitted(*args: Any, **options: Any) -> Fit:
    return fit(network(), default_targets(network().manifest), *args, date=DATE, **options)


def answers(observations: list[Observation], site: Site | None = None) -> list[str]:
    """What is answered of films, by the site or by the network alone."""
    manifest = network().manifest
    applied = site.applied(manifest, network().sha256) if site else manifest
    messages = []
    for one in observations:
        logits = manifest.temperature * np.log(one.probabilities) - manifest.correction
        labels = judge(logits.astype(np.float32), 0.8, applied).labels
        messages.append("" if not labels else "negative" if labels == ("normal",) else "positive")
    return messages


def test_the_network_asks_for_the_errors_that_it_was_fitted_for() -> None:
    assert default_targets(network().manifest) == Targets(0.07, 0.6, 0.1)


@pytest.mark.parametrize("middle", [-2.5, -1.5, -0.5])
def test_at_its_site_a_network_calls_as_many_normals_ill_as_was_asked(middle: float) -> None:
    well = films(spread(middle))
    text = answers(well, fitted(well).site)
    assert text.count("positive") == 6  # (6 + 1) / (100 + 1) is the most that is below 7 %
    assert text.count("negative") in (59, answers(well).count("negative"))


def test_without_labels_no_film_becomes_normal() -> None:
    for middle in (-2.5, -0.5, 0.5):
        site, test_radiographs = fitted(films(spread(middle))).site, films(np.linspace(-6, 6, 300).tolist())
        assert all(
            new != "negative" or old == "negative"
            for new, old in zip(answers(test_radiographs, site), answers(test_radiographs))
        )


def test_which_of_the_ill_is_given_alone_stays_as_it_was() -> None:
    site = fitted(films(spread(-2))).site
    assert site.temperature == pytest.approx(network().manifest.temperature)
    assert site.alone_from == network().manifest.operating_point.alone_from  # type: ignore[union-attr]


def test_labels_of_each_class_give_a_temperature_and_keep_which_of_the_ill_is_given_alone() -> None:
    ill = [*films(spread(2.5, 40), "p", "pneumonia", 0.4), *films(spread(2.5, 40), "c", "covid", 0.6)]
    site = fitted(films(spread(-2)), ill).site
    assert site.temperature < 0.9 * network().manifest.temperature  # labels and shares agree, so more could be trusted
    assert (site.radiographs, site.ill) == (100, 80)
    test_radiographs = films([4.0] * 20, covid=0.5)
    test_radiographs = [
        replace(one, probabilities=(0.02, 0.98 * (1 - c), 0.98 * c))
        for one, c in zip(test_radiographs, np.linspace(0.01, 0.99, 20))
    ]
    manifest = network().manifest

    def alone(applied: Any) -> list[Any]:
        logits = [manifest.temperature * np.log(one.probabilities) - manifest.correction for one in test_radiographs]
        return [judge(one.astype(np.float32), 0.8, applied).labels for one in logits]

    assert alone(site.applied(manifest, network().sha256)) == alone(manifest)


def test_the_ill_of_no_named_kind_keep_the_temperature() -> None:
    result = fitted(films(spread(-2)), films(spread(1.5, 40), "i", "not normal"))
    assert result.site.temperature == pytest.approx(network().manifest.temperature)
    assert result.site.rates["ill called normal"][0] == pytest.approx(4 / 41)
    assert "temperature is kept" in result.remarks[-1]


def test_labelled_normals_count_with_the_others_and_each_once() -> None:
    well = films(spread(-2, 40))
    ill = films(spread(1.5, 40), "i", "covid")
    more = films(spread(-2, 10), "n", "normal")
    again = [replace(one, label="normal") for one in well[:20]]
    assert fitted(well, [*more, *again, *ill]).site.radiographs == 50


def test_few_radiographs_labels_that_contradict_and_ill_among_the_normals_are_refused() -> None:
    well = films(spread(-1, 40))
    for args in (
        [films(spread(-1, 29))],
        [films([*spread(-1, 60), *spread(4, 40, 0.1)])],
        [well, films(spread(1.5, 29), "i", "covid")],
        [well, films(spread(-1.5, 40), "i", "covid")],
        [well, [replace(well[0], label="covid")]],
        [well, films(spread(1.5, 40), "i", "tuberculosis")],
    ):
        with pytest.raises(SiteError):
            fitted(*args)


def test_a_network_that_never_calls_a_film_normal_takes_no_site() -> None:
    model = network()
    point = replace(model.manifest.operating_point, negative_from=1.01)  # type: ignore[type-var]
    never = replace(model, manifest=replace(model.manifest, operating_point=point))
    with pytest.raises(SiteError, match="no site can be fitted"):
        fit(never, Targets(), films(spread(-1)))


def far(n: int, distance: float) -> list[Observation]:
    return [
        Observation(f"far{i}", f"far{i}", "refused", distance=distance, code=Code.UNLIKE_TRAINING) for i in range(n)
    ]


def test_the_guards_limit_is_raised_only_by_many_radiographs_and_not_far() -> None:
    own = float(network().manifest.guard.limit)  # type: ignore[union-attr]
    few, many = films(spread(-1, 60)), films(spread(-1, 120))
    assert fitted(many).site.guard_limit == own
    assert fitted([*few, *far(3, 1.2 * own)]).site.guard_limit == own
    assert fitted([*many, *far(3, 1.2 * own)]).site.guard_limit == pytest.approx(1.2 * own, rel=1e-5)
    assert fitted([*many, *far(3, 9 * own)]).site.guard_limit == 1.5 * own


def test_days_are_compared_with_the_usual_films_where_they_are_given() -> None:
    well, usual = films(spread(-1, 40)), [*films(spread(0, 50), "u"), *far(2, 9.0), Observation("x", "x", "failed")]
    assert fitted(well).site.reference.of == "normals"
    reference = fitted(well, (), usual).site.reference
    assert (reference.of, sum(reference.answers.values()), reference.answers["refused"]) == ("usual", 52, 2)
    assert len(reference.distances) == 52


def test_scores_move_by_the_sites_shift() -> None:
    well = films(spread(-2))
    site = fitted(well).site
    moved = scores(well, site) - scores(well)
    assert np.ptp(moved) < 1e-9
    assert moved[0] > 0


def test_a_site_farther_off_than_any_hospital_is_refused() -> None:
    with pytest.raises(SiteError, match="lower in log-odds than those that the network was fitted on"):
        fitted(films(spread(-4)))
