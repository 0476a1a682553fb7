from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import DatasetError
from covidnet_lite.fit import InputSpec
from training import dataset
from training.augment import Strength

LABELS = ("clear", "clouded")


def test_a_sound_data_set_has_no_problems(chests: Path) -> None:
    assert dataset.problems(read_cases(chests), LABELS) == []


def test_every_problem_is_reported_before_the_first_step(chests: Path) -> None:
    cases = read_cases(chests)
    (chests / "3.png").unlink()
    shutil.copyfile(chests / "4.png", chests / "5.png")
    cases[8] = replace(cases[8], label="fracture")
    cases[10] = replace(cases[10], split="test", patient=cases[0].patient)
    cases[12] = replace(cases[12], split="tran")
    with pytest.raises(DatasetError) as caught:
        dataset.check(cases, LABELS)
    message = str(caught.value)
    assert "3.png: no such file" in message
    assert "label 'fracture' on 1 images" in message
    assert "patient p0 is in test and train" in message
    assert "split 'tran'" in message
    assert "5.png" in message
    assert "repeated" in message


def test_ignored_labels_are_no_problem(chests: Path) -> None:
    cases = [replace(c, label="other") if c.label == "clear" else c for c in read_cases(chests)]
    assert dataset.problems(cases, ("clouded",), ignore=("other",)) == []


def test_splitting_keeps_patients_together_and_every_label_in_every_split() -> None:
    cases = [
        Case(Path(f"{label}{p}_{i}.png"), label, f"{label}{p}", "h")
        for label in LABELS
        for p in range(40)
        for i in range(3)
    ]
    split = dataset.split_by_patient(cases, seed=1)
    of_patient: dict[str, set[str]] = {}
    for case in split:
        of_patient.setdefault(case.patient, set()).add(case.split)
    assert all(len(s) == 1 for s in of_patient.values())
    counts = Counter((c.label, c.split) for c in split)
    assert counts["clear", "train"] == 84
    assert min(counts[label, s] for label in LABELS for s in dataset.SPLITS) >= 12
    assert split == dataset.split_by_patient(cases, seed=1)
    assert split != dataset.split_by_patient(cases, seed=2)


def test_splits_that_are_given_stay(chests: Path) -> None:
    cases = read_cases(chests)
    assert dataset.split_by_patient(cases, seed=0) == cases


def test_weights_level_labels_and_soften_sources() -> None:
    cases = [Case(Path(str(i)), "clear", source="big") for i in range(90)]
    cases += [Case(Path("x"), "clear", source="small") for _ in range(10)]
    cases += [Case(Path("y"), "clouded", source="big") for _ in range(20)]
    weights = dataset.case_weights(cases, balance=0.5, source_weights={})
    assert weights.mean() == pytest.approx(1)
    assert weights[:100].sum() == pytest.approx(weights[100:].sum(), rel=1e-4)
    assert weights[95] / weights[0] == pytest.approx(3, rel=1e-4)  # the root of 90 / 10
    even = dataset.case_weights(cases, balance=1.0, source_weights={"small": 0.5})
    assert even[90:100].sum() / even[:90].sum() == pytest.approx(0.5, rel=1e-4)


def test_unreadable_images_are_all_named(chests: Path) -> None:
    (chests / "1.png").write_bytes(b"not a picture")
    (chests / "2.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"(?s)1\.png.*2\.png"):
        dataset.decode(read_cases(chests), 96)


def test_batches_repeat_for_a_seed_and_epoch_and_differ_between_epochs(chests: Path) -> None:
    cases = read_cases(chests)
    images = dataset.decode(cases, 96)
    targets = np.eye(2, dtype=np.float32)[[i % 2 for i in range(48)]]

    def batches(seed: int, epoch: int) -> np.ndarray:
        made = dataset.Batches(images, targets, np.ones(48, np.float32), InputSpec(64, 64), Strength(), 8, seed, epoch)
        return made[1][0]

    assert batches(1, 0).shape == (8, 64, 64, 1)
    np.testing.assert_array_equal(batches(1, 0), batches(1, 0))
    assert not np.array_equal(batches(1, 0), batches(1, 1))
    assert not np.array_equal(batches(1, 0), batches(2, 0))
