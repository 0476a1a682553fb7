from __future__ import annotations

import numpy as np
import pytest
from conftest import drawn_chest
from PIL import Image

from training.data.confounding import auroc, confounding, cramers_v, crosstab, features, mutual_information


def test_a_source_that_is_a_label_tells_all_of_it() -> None:
    table = crosstab(["a", "a", "b", "b"], ["x", "x", "y", "y"])
    assert table.tolist() == [[2, 0], [0, 2]]
    assert cramers_v(table) == pytest.approx(1)
    assert mutual_information(table) == (pytest.approx(1), pytest.approx(1))


def test_a_source_with_all_labels_alike_tells_nothing() -> None:
    table = crosstab(["a", "b", "a", "b"], ["x", "x", "y", "y"])
    assert cramers_v(table) == pytest.approx(0)
    assert mutual_information(table)[0] == pytest.approx(0)
    assert cramers_v(crosstab(["a", "b"], ["x", "x"])) == 0


def test_a_brightness_that_goes_with_the_label_is_told_in_words() -> None:
    labels = ["clear" if i % 2 else "clouded" for i in range(80)]
    images = [drawn_chest(i, opaque=False).point(lambda v, by=i % 2: v // (1 + by)) for i in range(80)]
    result = confounding(images, [(96, 96)] * 80, labels, labels, [f"p{i}" for i in range(80)])
    assert result.label_auroc is not None
    assert result.label_auroc > 0.95
    assert (result.from_source, result.from_nothing) == (1, 0.5)
    said = " ".join(result.sentences())
    assert "right for 100%" in said
    assert "nearly coincide" in said
    assert "Hardly any disease" in said


def test_a_label_that_nothing_tells_is_at_chance_and_one_patient_is_not_judged_on_himself() -> None:
    rng = np.random.default_rng(0)
    people = rng.normal(size=(60, 69))
    patients = [f"p{i // 4}" for i in range(240)]
    labels = [("a", "b")[rng.integers(2)] for _ in range(60)]
    seen = people[np.arange(240) // 4] + rng.normal(scale=0.01, size=(240, 69))
    one = auroc(seen, [labels[i // 4] for i in range(240)], [f"p{i // 4}" for i in range(240)])
    assert len(set(patients)) == 60
    assert one is not None
    assert one < 0.7  # a model that saw the patient would be near 1


def test_few_patients_are_not_judged() -> None:
    images = [drawn_chest(i, opaque=False) for i in range(8)]
    result = confounding(images, [(96, 96)] * 8, ["a", "b"] * 4, ["x"] * 8, [str(i) for i in range(8)])
    assert result.label_auroc is None
    assert result.source_auroc is None
    assert "-0.00" not in " ".join(confounding(images, [(96, 96)] * 8, ["a"] * 8, ["x"] * 8, ["p"] * 8).sentences())
    assert "too few patients" in " ".join(result.sentences())


def test_features_hold_the_size_of_the_file() -> None:
    one, other = features([Image.new("L", (64, 64), 9)] * 2, [(64, 64), (2000, 1000)])
    assert (one[:66] == other[:66]).all()
    assert other[68] == pytest.approx(np.log(2))
