from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.dataset import LabelledImage, read_dataset
from training.judge import baselines
from training.judge.contrasts import TYPICAL

pytest.importorskip("sklearn")


def films(chests: Path, split: str) -> list[LabelledImage]:
    """Drawn chests of a split, the clouded ones as covid."""
    named = {"clear": "normal", "clouded": "covid"}
    return [replace(case, label=named[case.label]) for case in read_dataset(chests) if case.split == split]


def test_a_baseline_is_fitted_on_one_split_and_judged_on_another(chests: Path, tmp_path: Path) -> None:
    taught, judged = films(chests, "train"), films(chests, "test")
    result = baselines.baselines(taught, judged, TYPICAL, tmp_path / "kept")
    assert list(result) == list(baselines.BASELINES)
    # The cloud is large enough for a thumbnail, and not in the frame.
    assert result["thumbnail of 8 x 8"]["value"] > 0.9
    assert (result["thumbnail of 8 x 8"]["positive"], result["thumbnail of 8 x 8"]["negative"]) == (6, 6)
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 4
    assert baselines.baselines([], judged, TYPICAL, tmp_path / "kept")["thumbnail of 8 x 8"]["kind"] == "missing"


def test_films_of_other_labels_take_no_part(chests: Path, tmp_path: Path) -> None:
    taught, judged = films(chests, "train"), films(chests, "test")
    more = [*taught, replace(taught[0], label="pneumonia")]
    result = baselines.baselines(more, judged, TYPICAL, tmp_path)
    assert result == baselines.baselines(taught, judged, TYPICAL, tmp_path)


def test_what_the_baselines_see() -> None:
    film = Image.fromarray(np.pad(np.full((60, 124), 200, np.uint8), 2))
    small = baselines.thumbnail(film)
    assert len(small) == 65
    assert small[-1] == pytest.approx(np.log(2))
    seen = baselines.surround(film)
    assert len(seen) == 2 + len(baselines.LEVELS) + 60 + 1
    inner = film.copy()
    inner.paste(90, (40, 20, 80, 40))
    ring = slice(2 + len(baselines.LEVELS), -1)
    assert baselines.surround(inner)[ring] == seen[ring]
