from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from judged import answers, cases, sided_network, sure

from covidnet_lite.cases import Case, read_cases
from covidnet_lite.fit import WHOLE
from training import lungs
from training.evaluate import answer

LOWER = "0.05 0.5 0.45 0.95;0.55 0.5 0.95 0.95"  # drawn chests are clouded in the right one


def boxed(chests: Path, boxes: str = LOWER) -> list[Case]:
    """Drawn chests, the clouded ones as COVID-19; each of a patient."""
    named = {"clear": "pneumonia", "clouded": "covid"}
    return [
        replace(c, label=named[c.label], patient=c.path.name, fields={"lung_boxes": boxes}) for c in read_cases(chests)
    ]


def test_a_network_that_looks_at_lungs_needs_them(chests: Path) -> None:
    ask = partial(answer, sided_network())
    found = lungs.lungs(ask, ask(boxed(chests)))
    area = {name.split(", ")[1]: f["value"] for name, f in found.items() if "pneumonia" in name}
    assert area["untouched"] > 0.95
    assert area["lungs only"] > 0.95
    assert area["lungs black"] < 0.75
    assert found["covid against the rest, untouched"]["value"] == area["untouched"]


def test_only_images_with_boxes_count(chests: Path) -> None:
    ask, given = partial(answer, sided_network()), boxed(chests)
    given = [replace(c, fields={}) for c in given[:20]] + given[20:]
    found = lungs.lungs(ask, ask(given))
    assert {(f["positive"], f["negative"]) for f in found.values()} == {(14, 14)}
    assert lungs.lungs(ask, ask(given[:20]))["covid with lungs black"]["why"] == "no image has lung_boxes"


def test_covid_against_the_rest_needs_no_pneumonia(chests: Path) -> None:
    ask = partial(answer, sided_network(("normal", "covid")))
    given = [replace(c, label=c.label.replace("pneumonia", "normal")) for c in boxed(chests)]
    found = lungs.lungs(ask, ask(given))
    assert found["covid against the rest, untouched"]["value"] > 0.95
    assert found["covid against pneumonia, untouched"]["why"] == "the network has no label pneumonia"


def test_the_border_is_asked_of_all_images(chests: Path) -> None:
    ask, given = partial(answer, sided_network()), boxed(chests, "")
    found = lungs.border(ask, ask(given))
    assert found["accuracy, untouched"]["total"] == found["accuracy, border black"]["total"] == 48
    assert found["macro AUROC, untouched"]["value"] > found["macro AUROC, border black"]["value"] - 0.05


def test_how_much_of_each_field_a_box_covers() -> None:
    case = Case(Path("x.png"), fields={"lung_boxes": "0 0 0.5 0.125;0.5 0.5 1 1"})
    expected = [[0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_array_equal(lungs.lung_cover(case, (4, 4)), expected)


def test_a_cropped_network_s_fields_lie_over_what_it_saw() -> None:
    case = Case(Path("x.png"), fields={"lung_boxes": "0 0 0.5 0.125;0.5 0.5 1 1"})
    np.testing.assert_array_equal(lungs.lung_cover(case, (2, 2), (0.25, 0.25, 0.75, 0.75)), [[0, 0], [0, 1]])


def test_the_share_of_the_evidence_in_the_lungs() -> None:
    evidence = np.zeros((6, 2, 2, 3))
    evidence[:, 0, 0, 2] = 3  # for covid, inside
    evidence[:, 1, 1, 2] = 1  # for covid, outside
    evidence[:, 1, 0, 0] = 9  # for another class
    given = cases("covid", 6, lung_boxes="0 0 0.5 0.5")
    found = lungs.evidence(answers(given, sure("covid", 6), evidence=evidence), [WHOLE] * 6)
    assert found["evidence in the lungs"]["value"] == pytest.approx(0.75)
    assert found["area of the lungs"]["value"] == pytest.approx(0.25)
    assert found["fields in the lungs against fields outside, by evidence"]["value"] == 1


def test_what_is_not_there_is_not_measured() -> None:
    given, told = cases("covid", 6), sure("covid", 6)
    assert "no evidence map" in lungs.evidence(answers(given, told), [WHOLE] * 6)["evidence in the lungs"]["why"]
    blank = answers(given, told, evidence=np.zeros((6, 2, 2, 3)))
    assert "no image has lung_boxes" in lungs.evidence(blank, [WHOLE] * 6)["evidence in the lungs"]["why"]
