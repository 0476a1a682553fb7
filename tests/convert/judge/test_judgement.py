from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.judge import judgement
from convert.judge.guard import fit_guard
from convert.judge.network_outputs import outputs
from covidnet_lite import files
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import ConversionError, CovidNetLiteError, DatasetError
from covidnet_lite.network import model


def test_it_survives_its_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    guard = fit_guard(rng.uniform(0, 1, (100, 40)), rng.uniform(0, 1, (50, 40)))
    contents = judgement.contents(judgement.Judgement((0.01, -0.02), 1.25, 0.8, 0.05, guard), tmp_path / "net.v2")
    assert [p.name for p in contents] == ["net.v2.judgement.json", "net.v2.guard.npz"]
    files.write_all(contents)
    again = judgement.load(tmp_path / "net.v2")
    assert again.correction == (0.01, -0.02)
    assert (again.temperature, again.threshold, again.target_error) == (1.25, 0.8, 0.05)
    assert again.guard is not None
    x = rng.uniform(0, 1, (5, 40))
    np.testing.assert_array_equal(again.guard.distance(x), guard.distance(x))


def test_without_files_it_is_neutral(tmp_path: Path) -> None:
    assert judgement.load(tmp_path / "net") == judgement.Judgement()


def test_without_a_guard_there_is_no_file_of_it(tmp_path: Path) -> None:
    contents = judgement.contents(judgement.Judgement((), 1.5), tmp_path / "net")
    assert [p.name for p in contents] == ["net.judgement.json"]
    files.write_all(contents)
    assert judgement.load(tmp_path / "net") == judgement.Judgement((), 1.5)


@pytest.mark.parametrize(
    "text", ['{"temperature": 1', "[]", '{"correction": null}', '{"correction": [], "warmth": 1}', "[" * 10**5, "\x00"]
)
def test_damaged_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.judgement.json").write_text(text)
    with pytest.raises(ConversionError, match=r"net\.judgement\.json: cannot be read .*fit it again"):
        judgement.load(tmp_path / "net")


def test_a_damaged_guard_is_refused(tmp_path: Path) -> None:
    files.write_all(judgement.contents(judgement.Judgement(), tmp_path / "net"))
    (tmp_path / "net.guard.npz").write_bytes(b"PK")
    with pytest.raises(CovidNetLiteError):
        judgement.load(tmp_path / "net")


def test_without_a_validation_split_nothing_is_fitted(chests: Path) -> None:
    train = [c for c in read_dataset(chests) if c.split == "train"]
    assert judgement.fit(model.load("base"), model.load("base"), train, 0.05) == judgement.Judgement()


@pytest.fixture
def embedded(chests: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[model.Model, list[LabelledImage]]:
    """A network with an embedding, and labelled images that it knows; few synthetic outliers."""
    monkeypatch.setattr(judgement, "FOREIGN_IMAGES", 4)
    names = {"clear": "normal", "clouded": "covid"}
    cases = [replace(c, label=names[c.label]) for c in read_dataset(chests) if c.split in ("train", "val")]
    return model.load("nano"), cases


def test_too_few_training_images_for_a_guard_are_refused(embedded: tuple[model.Model, list[LabelledImage]]) -> None:
    network, cases = embedded
    train = [c for c in cases if c.split == "train"][:19]
    with pytest.raises(DatasetError, match="19 training images are too few for the guard, which needs 20"):
        judgement.fit(network, network, train + [c for c in cases if c.split == "val"], 0.05)


def test_an_embedding_that_never_varies_is_refused(
    embedded: tuple[model.Model, list[LabelledImage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, cases = embedded

    def constant(*args: Any) -> dict[str, Any]:
        real = outputs(*args)
        return {**real, "embedding": np.ones_like(real["embedding"])}

    monkeypatch.setattr(judgement, "outputs", constant)
    with pytest.raises(ConversionError, match="no guard can be fitted .* without its output embedding"):
        judgement.fit(network, network, cases, 0.05)
