from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.judge import held_out
from convert.quantisation.representative_images import choose
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.network.input_spec import InputSpec

SPEC = InputSpec(32, 32)
LABELS = ("clear", "clouded")


@pytest.fixture
def cases(chests: Path) -> list[LabelledImage]:
    return read_dataset(chests)[:16]  # two a label and split, train twice as many


def test_validation_and_test_split_decide_and_the_test_split_is_reported(cases: list[LabelledImage]) -> None:
    result = held_out.gather(cases, [], LABELS, SPEC)
    assert result is not None
    assert result.images.shape == (8, 32, 32)
    assert result.description == "test split"
    told = [c for c in cases if str(c.path) in np.array(result.names)[result.reported]]
    assert {c.split for c in told} == {"test"}
    assert len(told) == 4
    assert [LABELS[t] for t in result.targets] == [c.label for c in cases if c.split in ("val", "test")]


def test_without_a_test_split_the_validation_split_is_reported(cases: list[LabelledImage]) -> None:
    result = held_out.gather([c for c in cases if c.split != "test"], [], LABELS, SPEC)
    assert result is not None
    assert (result.description, list(result.reported)) == ("validation split", [True] * 4)


def test_without_splits_what_calibration_left_over_is_judged_on(cases: list[LabelledImage]) -> None:
    loose = [replace(c, split="") for c in cases]
    chosen = choose(loose, 10)
    result = held_out.gather(loose, chosen, LABELS, SPEC)
    assert result is not None
    assert result.description == "images that calibration left over"
    assert len(result.names) == 6
    assert not {str(c.path) for c in chosen} & set(result.names)
    assert held_out.gather(loose, loose, LABELS, SPEC) is None
    assert held_out.gather([], [], LABELS, SPEC) is None


def test_training_images_are_never_judged_on(cases: list[LabelledImage]) -> None:
    assert held_out.gather([c for c in cases if c.split == "train"], [], LABELS, SPEC) is None


def test_other_labels_are_left_out_and_missing_ones_kept(cases: list[LabelledImage]) -> None:
    mixed = [replace(c, label=("clear", "fracture", "")[i % 3]) for i, c in enumerate(cases) if c.split == "test"]
    result = held_out.gather(mixed, [], LABELS, SPEC)
    assert result is not None
    assert sorted(result.targets) == sorted(0 if c.label else -1 for c in mixed if c.label != "fracture")


def test_no_more_than_enough_are_read(cases: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "MAX_IMAGES", 5)
    result = held_out.gather([replace(c, split="") for c in cases], [], LABELS, SPEC)
    assert result is not None
    assert len(result.names) == 5
