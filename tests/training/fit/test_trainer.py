from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from training.fit import trainer
from training.fit.batches import Batch
from training.fit.trainer import Stage


def straight(epochs: int, momentum: float = 0.0, fail_in: int | None = None) -> tuple[Stage, keras.Variable]:
    """Finds the 3 in y = 3 x."""
    slope = keras.Variable(0.0)

    def batches(epoch: int) -> Iterator[Batch]:
        if epoch == fail_in:
            raise KeyboardInterrupt
        rng = np.random.default_rng(epoch)
        for _ in range(10):
            x = rng.uniform(-1, 1, (8, 1)).astype(np.float32)
            yield Batch(x, 3 * x, x, x[:, 0], x[:, 0])

    def loss(x: object, y: object, *_: object) -> dict[str, object]:
        return {"loss": keras.ops.mean((slope * x - y) ** 2)}

    groups = [([slope], keras.optimizers.Adam(0.05))]
    return Stage("line", epochs, batches, loss, groups, lambda: {"slope": float(slope)}, momentum), slope


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_it_learns_and_tells_each_epoch(tmp_path: Path) -> None:
    stage, slope = straight(12)
    told: list[str] = []
    trainer.train(stage, tmp_path, tmp_path / "log.csv", told.append)
    assert float(slope) == pytest.approx(3, abs=0.2)
    assert len(told) == len(rows(tmp_path / "log.csv")) == 12
    assert float(rows(tmp_path / "log.csv")[-1]["loss"]) < float(rows(tmp_path / "log.csv")[0]["loss"])


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    unbroken, expected = straight(5, momentum=0.9)
    trainer.train(unbroken, tmp_path / "one", tmp_path / "one.csv", lambda _: None)
    killed, _ = straight(5, momentum=0.9, fail_in=3)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(killed, tmp_path / "two", tmp_path / "two.csv", lambda _: None)
    resumed, result = straight(5, momentum=0.9)
    trainer.train(resumed, tmp_path / "two", tmp_path / "two.csv", lambda _: None)
    assert float(result) == pytest.approx(float(expected), abs=1e-6)
    assert [row["epoch"] for row in rows(tmp_path / "two.csv")] == ["1", "2", "3", "4", "5"]


def test_a_finished_stage_is_taken_from_disk(tmp_path: Path) -> None:
    first, slope = straight(3, momentum=0.9)
    trainer.train(first, tmp_path, tmp_path / "log.csv", lambda _: None)
    again, result = straight(3, momentum=0.9, fail_in=0)
    trainer.train(again, tmp_path, tmp_path / "log.csv", lambda _: None)
    assert float(result) == pytest.approx(float(slope), abs=1e-6)
    assert len(rows(tmp_path / "log.csv")) == 3


def test_the_average_is_kept_and_not_the_last_step(tmp_path: Path) -> None:
    plain, last = straight(2)
    trainer.train(plain, tmp_path / "a", tmp_path / "a.csv", lambda _: None)
    averaged, mean = straight(2, momentum=0.99)
    trainer.train(averaged, tmp_path / "b", tmp_path / "b.csv", lambda _: None)
    assert 0.1 < float(mean) < float(last)  # it lags behind a slope that still rises
