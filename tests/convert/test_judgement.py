from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convert import judgement
from covidnet_lite import model
from covidnet_lite.cases import read_cases
from covidnet_lite.errors import ConversionError
from covidnet_lite.guard import fit_guard


def test_it_survives_its_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    guard = fit_guard(rng.uniform(0, 1, (100, 40)), rng.uniform(0, 1, (50, 40)))
    judgement.save(judgement.Judgement((0.01, -0.02), 1.25, 0.8, 0.05, guard), tmp_path / "net")
    again = judgement.load(tmp_path / "net")
    assert again.correction == (0.01, -0.02)
    assert (again.temperature, again.threshold, again.target_error) == (1.25, 0.8, 0.05)
    assert again.guard is not None
    x = rng.uniform(0, 1, (5, 40))
    np.testing.assert_array_equal(again.guard.distance(x), guard.distance(x))


def test_without_files_it_is_neutral(tmp_path: Path) -> None:
    assert judgement.load(tmp_path / "net") == judgement.Judgement()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.judgement.json").write_text('{"temperature": 1')
    with pytest.raises(ConversionError, match="fit it again"):
        judgement.load(tmp_path / "net")


def test_without_a_validation_split_nothing_is_fitted(chests: Path) -> None:
    train = [c for c in read_cases(chests) if c.split == "train"]
    assert judgement.fit(model.load("base"), model.load("base"), train, 0.05) == judgement.Judgement()
