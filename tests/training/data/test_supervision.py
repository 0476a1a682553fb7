from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import DatasetError
from training.data import supervision
from training.data.supervision import Source

LABELS = ("normal", "pneumonia", "covid")
GRADED = Source(
    means={"negative": ("normal",), "typical": ("covid",), "open": ("pneumonia", "covid")},
    batch={"negative": 2, "typical": 1},
    boxes="boxes",
    clear=("negative",),
)


def case(label: str, source: str = "a", patient: str = "p", split: str = "train", **fields: str) -> LabelledImage:
    return LabelledImage(Path(f"{source}-{patient}-{label}.png"), label, patient, source, split, fields)


def test_labels_become_the_classes_they_allow() -> None:
    cases = [case("negative"), case("typical"), case("open")]
    lesson = supervision.lesson(cases, {"a": GRADED}, LABELS)
    np.testing.assert_array_equal(lesson.allowed, [[1, 0, 0], [0, 0, 1], [0, 1, 1]])
    assert (lesson.severity == -1).all()
    assert [(films.tolist(), count) for films, count in lesson.pools] == [([0], 2), ([1], 1)]


def test_the_map_is_known_where_boxes_are_drawn_or_nothing_is_to_be_seen() -> None:
    cases = [case("negative"), case("typical", boxes="0.1 0.2 0.3 0.4; 0.5 0.5 1 1"), case("typical")]
    lesson = supervision.lesson(cases, {"a": GRADED}, LABELS)
    np.testing.assert_array_equal(lesson.mapped, [1, 1, 0])
    assert lesson.boxes[1] == ((0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 1.0, 1.0))


def test_boxes_that_may_not_be_all_leave_the_rest_of_the_map_unknown() -> None:
    cases = [case("negative"), case("typical", boxes="0.1 0.2 0.3 0.4")]
    lesson = supervision.lesson(cases, {"a": replace(GRADED, boxes_complete=False)}, LABELS, complete=False)
    np.testing.assert_array_equal(lesson.mapped, [1, 0])
    assert lesson.boxes[1] == ((0.1, 0.2, 0.3, 0.4),)


def test_a_patient_of_two_sources_of_one_hospital_stays_on_one_side() -> None:
    clear, ill = (Source(hospital="h", patients=0.5) for _ in range(2))
    patients = [f"p{n}" for n in range(40)]
    sides = [
        [supervision.trained_on(case("x", source, p), s) for p in patients] for source, s in (("x", clear), ("y", ill))
    ]
    assert sides[0] == sides[1]
    assert 5 < sum(sides[0]) < 35


def test_a_named_box_is_read_by_its_last_four_numbers() -> None:
    assert supervision.read_boxes(case("x", boxes="Effusion 0.1 0.2 0.3 0.4"), "boxes") == ((0.1, 0.2, 0.3, 0.4),)


@pytest.mark.parametrize("text", ["0.1 0.2 0.3", "a b c d"])
def test_a_box_that_is_none_is_named(text: str) -> None:
    with pytest.raises(DatasetError, match=r"a-p-typical.png: boxes holds"):
        supervision.lesson([case("typical", boxes=text)], {"a": GRADED}, LABELS, complete=False)


def test_ranked_films_have_a_grade_and_no_class() -> None:
    ranked = Source(rank="extent", batch={"covid": 2}, patients=0.5)
    lesson = supervision.lesson([case("covid", "r", extent="3.5"), case("covid", "r")], {"r": ranked}, LABELS)
    np.testing.assert_array_equal(lesson.severity, [3.5, -1])
    assert (lesson.allowed == 1).all()
    with pytest.raises(DatasetError, match="extent holds 'much'"):
        supervision.lesson([case("covid", "r", extent="much")], {"r": ranked}, LABELS)


def test_a_hospital_that_teaches_one_class_is_refused() -> None:
    one = Source(means={"covid": ("covid",)}, batch={"covid": 4})
    with pytest.raises(DatasetError, match="the network would learn the hospital"):
        supervision.check([case("covid", "b")], {"b": one}, LABELS)


def test_two_sources_of_one_hospital_may_teach_a_class_each() -> None:
    clear = Source(means={"normal": ("normal",)}, batch={"normal": 2}, hospital="h")
    ill = Source(means={"opacity": ("pneumonia", "covid")}, batch={"opacity": 2}, hospital="h")
    cases = [case("normal", "x"), case("opacity", "y")]
    supervision.check(cases, {"x": clear, "y": ill}, LABELS)
    assert len(supervision.lesson(cases, {"x": clear, "y": ill}, LABELS).pools) == 2


def test_ranking_teaches_no_class_so_one_is_enough() -> None:
    supervision.check([case("covid", "r")], {"r": Source(rank="extent", batch={"covid": 2})}, LABELS)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"elsewhere": GRADED}, "sources.elsewhere: the data have no such source"),
        ({"a": Source(means={"x": ("flu",)})}, "'flu' is none of normal"),
        ({"a": Source(means={"x": ("covid",)}, batch={"y": 1})}, "does not say what 'y' means"),
    ],
)
def test_what_cannot_be_is_said(sources: dict[str, Source], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        supervision.check([case("negative")], sources, LABELS)


def test_patients_are_dealt_whole_and_always_alike() -> None:
    source = {"r": Source(rank="extent", patients=0.6)}
    cases = [case("covid", "r", f"p{i // 2}", "test") for i in range(400)]
    dealt = supervision.assign_splits(cases, source)
    by_patient = {c.patient: set() for c in dealt}
    for c in dealt:
        by_patient[c.patient].add(c.split)
    assert all(len(splits) == 1 for splits in by_patient.values())
    share = sum(c.split == "train" for c in dealt) / len(dealt)
    assert 0.5 < share < 0.7
    assert [c.split for c in supervision.assign_splits(cases[::-1], source)][::-1] == [c.split for c in dealt]


def test_a_pool_without_a_film_is_named() -> None:
    with pytest.raises(DatasetError, match="a: no film labelled typical"):
        supervision.lesson([case("negative")], {"a": GRADED}, LABELS)


def test_where_the_recipe_says_nothing_every_label_is_a_class() -> None:
    cases = [case("normal", "a"), case("covid", "b")]
    sources = supervision.default_sources(cases, ("normal", "covid"), 8)
    lesson = supervision.lesson(cases, sources, ("normal", "covid"))
    np.testing.assert_array_equal(lesson.allowed, [[1, 0], [0, 1]])
    assert [count for _, count in lesson.pools] == [4, 4]
