from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged import answers, cases, sure

from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import DatasetError
from training import shortcuts

pytest.importorskip("sklearn")


def two_sources(told_apart: bool) -> shortcuts.Answers:
    """Embeddings of noise that hold the source, or nothing."""
    given = [*cases("normal", 30), *cases("normal", 20, "there"), *cases("covid", 20)]
    embedding = np.random.default_rng(0).normal(size=(70, 8))
    embedding[30:50, 3] += 8 * told_apart
    return answers(given, sure("normal", 70), embedding=embedding)


def test_a_source_is_read_from_an_embedding_that_holds_it() -> None:
    found = shortcuts.source_from_embedding(two_sources(True))
    assert found["source: accuracy"]["value"] > 0.95
    assert found["source: share of the largest"]["value"] == pytest.approx(50 / 70)
    assert found["source given normal: macro AUROC"]["value"] > 0.98
    assert found["source given normal: share of the largest"]["value"] == pytest.approx(0.6)
    assert found["source given covid"]["kind"] == "missing"


def test_and_from_none_other() -> None:
    found = shortcuts.source_from_embedding(two_sources(False))
    assert found["source given normal: macro AUROC"]["value"] < 0.75


def test_patients_are_never_judged_by_what_was_fitted_on_them() -> None:
    rng = np.random.default_rng(0)
    # Eight images a patient, all alike; sources are dealt by chance, so only the patient gives them away.
    features = np.repeat(rng.normal(size=(40, 30)), 8, axis=0) + rng.normal(0, 0.01, (320, 30))
    truth, groups = np.repeat(np.arange(40) % 2, 8), np.repeat(np.arange(40), 8)
    guessed = shortcuts.cross_validated(features, truth, groups).argmax(axis=1)
    assert (guessed == truth).mean() < 0.75


def test_no_embedding_is_not_measured() -> None:
    found = shortcuts.source_from_embedding(answers(cases("normal", 2), sure("normal", 2)))
    assert found["source from embedding"]["why"] == "the network gives no embedding"


def chest_answers(chests: Path) -> tuple[list[Case], shortcuts.Answers]:
    given = [replace(c, label={"clear": "normal", "clouded": "covid"}[c.label]) for c in read_cases(chests)]
    judged = [c for c in given if c.split == "test"]
    return [c for c in given if c.split == "train"], answers(judged, sure("normal", len(judged)))


def test_a_thumbnail_tells_drawn_chests_apart(chests: Path) -> None:
    found = shortcuts.baseline(*chest_answers(chests))
    assert found["accuracy"]["value"] > 0.9
    assert found["accuracy"]["total"] == 12
    assert found["macro AUROC"]["value"] > 0.95
    assert found["covid against pneumonia within a source"]["kind"] == "missing"


def test_trifles_are_what_they_are_called(chests: Path) -> None:
    (case, *_) = read_cases(chests)
    case.fields["source_bytes"] = "1000"
    (row,) = shortcuts.trifles([case], True)
    assert len(row) == 64 + 3 + 2 + 2
    assert list(row[64:67]) == [96, 96, 1]
    assert row[:64].mean() == pytest.approx(row[67], abs=1)
    assert row[69:] == pytest.approx(np.log([case.path.stat().st_size, 1000]))


def test_no_train_split_is_not_measured(chests: Path) -> None:
    _, judged = chest_answers(chests)
    assert "no train split" in shortcuts.baseline([], judged)["thumbnail and file facts"]["why"]


def test_an_unreadable_radiograph_is_named(chests: Path) -> None:
    train, judged = chest_answers(chests)
    train[3].path.write_text("no picture")
    with pytest.raises(DatasetError, match=train[3].path.name):
        shortcuts.baseline(train, judged)
