from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from judged import sided_network

from covidnet_lite.cases import read_cases
from training.evaluate import answer
from training.invariance import invariances
from training.perturb import INVARIANCES


def test_a_network_that_hangs_on_brightness_and_side_is_seen_to(chests: Path) -> None:
    ask = partial(answer, sided_network(("clear", "clouded")))
    given = [replace(c, patient=c.path.name) for c in read_cases(chests)]
    found = invariances(ask, ask(given))
    assert len(found) == 1 + 3 * len(INVARIANCES)
    assert found["untouched: accuracy"]["value"] > 0.9
    assert found["half the resolution: same answer"]["value"] == 1
    assert found["half the resolution: mean move of its probability"]["value"] < 0.02
    assert found["mirrored: accuracy"]["value"] < 0.6
    assert found["mirrored: same answer"]["value"] < 0.6
    assert found["mirrored: mean move of its probability"]["value"] > 0.2
    assert (
        found["15 % darker: mean move of its probability"]["value"]
        > found["half the resolution: mean move of its probability"]["value"]
    )


def test_the_untouched_radiographs_are_not_asked_again(chests: Path) -> None:
    ask, asked = partial(answer, sided_network(("clear", "clouded"))), []

    def counting(cases, change):
        asked.append(change)
        return ask(cases, change)

    found = invariances(counting, ask(read_cases(chests)[:4]))
    assert asked == list(INVARIANCES.values())
    assert found["untouched: accuracy"]["total"] == pytest.approx(4)
