from __future__ import annotations

import numpy as np
import pytest
from judged import cases, reading, told

from training.judge.agreement import agreement
from training.judge.contrasts import UNSEEN


def test_what_int8_changes() -> None:
    films = [*cases("normal", 5, "rsna_normal"), *cases("opacity", 5, "nih_boxed", boxes="x 0 0 0.5 0.5")]
    cold, hot = np.zeros((10, 2, 2, 3)), np.zeros((10, 2, 2, 3))
    hot[:, 0, 0, 2] = 2
    cold[:, 1, 1, 2] = 2
    floating = reading(films, told("normal", 5) + told("covid", 5), hot)
    int8 = reading(films, told("normal", 5) + told("covid", 4) + told("normal", 1), cold)
    row = agreement(int8, floating, UNSEEN[0])
    assert (row["same class"]["count"], row["same answer"]["count"]) == (9, 9)
    assert row["P(not normal) moves by"]["value"] == pytest.approx(0.085, abs=1e-6)
    assert row["AUROC, int8 less float"]["value"] == pytest.approx(-0.1)
    assert row["map moves by"]["value"] > 0.05
    assert row["pointing, int8 less float"]["value"] == -1


def test_of_one_class_there_is_no_area_and_of_no_map_no_move() -> None:
    said = reading(cases("covid", 6), told("covid", 6))
    row = agreement(said, said, UNSEEN[0])
    assert row["same class"]["value"] == 1
    assert {name for name, figure in row.items() if figure["kind"] == "missing"} == {
        "AUROC, int8 less float",
        "map moves by",
    }
