from __future__ import annotations

import pytest
from judged import cases, reading, told

from training.judge.contrasts import ANY, OWN, UNSEEN, area, area_within_matrix, has_both, hospitals


def test_ill_from_normal_and_covid_from_pneumonia() -> None:
    films = [*cases("covid", 6), *cases("pneumonia", 6), *cases("indeterminate", 6), *cases("normal", 6)]
    said = reading(films, told("covid", 6) + told("pneumonia", 6) + told("normal", 6) + told("normal", 6))
    areas = {contrast.name: area(said, contrast)["value"] for contrast in OWN}
    assert areas["any opacity v negative"] == pytest.approx((12 + 3) / 18)
    assert areas["typical v negative"] == areas["atypical v negative"] == areas["typical v atypical"] == 1


def test_covid_is_told_by_its_share_of_what_is_not_normal() -> None:
    films = [*cases("covid", 5), *cases("pneumonia", 5)]
    said = reading(films, [[0.9, 0.01, 0.09]] * 5 + [[0.1, 0.7, 0.2]] * 5)
    assert area(said, OWN[-1])["value"] == 1


def test_only_films_of_one_pixel_matrix_are_compared() -> None:
    large, small = {"width0": "3000", "height0": "2000"}, {"width0": "900", "height0": "900"}
    films = [*cases("covid", 6, **large), *cases("normal", 2, "b", **large), *cases("normal", 6, **small)]
    films += cases("covid", 2, "b", **small)
    said = reading(films, told("covid", 6) + told("covid", 2, 0.95) + told("normal", 6) + told("normal", 2, 0.95))
    result = area_within_matrix(said, ANY)
    assert (result["value"], result["pairs"], result["strata"]) == (0, 24, 2)
    bare = reading(cases("covid", 6), told("covid", 6))
    assert area_within_matrix(bare, ANY)["why"] == "the manifest has no width0 and height0"


def test_two_sources_are_compared_only_where_they_are_one_hospital() -> None:
    films = [*cases("opacity", 5, "nih_boxed"), *cases("normal", 5, "rsna_normal"), *cases("covid", 5, "elsewhere")]
    parts = dict(hospitals(reading(films, told("covid", 15))))
    assert {name: len(part.cases) for name, part in parts.items()} == {
        "NIH: boxed opacities and RSNA normals": 10,
        "elsewhere": 5,
    }
    assert [has_both(part, UNSEEN[0]) for part in parts.values()] == [True, False]


def test_a_few_films_are_no_side() -> None:
    said = reading([*cases("covid", 9), *cases("normal", 4)], told("covid", 13))
    assert not has_both(said, ANY)
