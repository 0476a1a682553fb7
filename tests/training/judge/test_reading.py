from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import LABELS, MANIFEST, cases, reading, told

from covidnet_lite.evidence.extent import ExtentScale
from training.judge.reading import negative


def test_an_answer_of_several_labels_is_right_with_one_of_them() -> None:
    films = [*cases("covid", 2), *cases("pneumonia", 1), *cases("indeterminate", 2), *cases("normal", 2)]
    narrowed, unsure = [0.1, 0.45, 0.45], [0.5, 0.25, 0.25]
    said = reading(films, [narrowed, *told("pneumonia", 1), narrowed, *told("covid", 1), narrowed, unsure, narrowed])
    assert said.statuses.tolist() == ["narrowed", "answered", "narrowed", "answered", "narrowed", "unsure", "narrowed"]
    assert said.correct.tolist() == [True, False, True, True, True, False, False]
    assert said.answered.tolist() == [True, True, True, True, True, False, True]
    assert said.is_ill.tolist() == [True] * 5 + [False] * 2
    assert said.called_normal.sum() == 0


def test_without_an_operating_point_a_film_is_called_what_is_likeliest() -> None:
    bare = replace(MANIFEST, operating_point=None, threshold=0.95)
    said = reading(cases("normal", 2), [*told("normal", 1), *told("covid", 1)], manifest=bare)
    assert said.called_normal.tolist() == [True, False]
    assert said.answered.tolist() == [False, False]


def test_the_rest_of_the_probability_is_ill_and_covid_has_a_share_of_it() -> None:
    said = reading(cases("covid", 1), [[0.2, 0.2, 0.6]])
    assert said.ill == pytest.approx([0.8])
    assert said.share("covid") == pytest.approx([0.75])


def test_the_map_is_that_of_not_normal() -> None:
    evidence = np.zeros((1, 2, 2, 3))
    evidence[0, 0, 1] = (-2, 3, -9)
    evidence[0, 1, 0] = (4, 0, 0)
    said = reading(cases("covid", 1), told("covid", 1), evidence)
    assert said.local is not None
    assert said.extents is not None
    assert said.local[0].argmax() == 1
    assert said.local[0].argmin() == 2
    scale = ExtentScale((0.0, 1.0), (0.3, 0.3), 0.1)
    assert reading(cases("covid", 1), told("covid", 1), evidence, replace(MANIFEST, extent=scale)).extents == 0.3
    assert reading(cases("covid", 1), told("covid", 1)).local is None


def test_a_part_is_all_of_it_for_some_of_the_films() -> None:
    said = reading([*cases("normal", 2), *cases("covid", 3, "there")], told("covid", 5), np.zeros((5, 2, 2, 3)))
    part = said.of(said.of_source("there") & said.labelled("covid"))
    assert [len(part.cases), len(part.ill), len(part.views), len(part.extents)] == [3] * 4
    assert part.manifest is said.manifest
    assert len(set(part.patients)) == 3


def test_which_label_is_the_one_without_a_finding() -> None:
    assert negative(MANIFEST) == 0
    turned = replace(MANIFEST, labels=LABELS[::-1], operating_point=None)
    assert negative(turned) == 2
    assert negative(replace(turned, labels=("a", "b"))) == 0
