"""What is named on the command line, and where it lies below it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from covidnet_lite.inputs import relative_paths


@pytest.mark.parametrize(
    ("names", "paths", "expected"),
    [
        (["ward/A/IM1", "ward/B/IM1"], ["ward"], ["A/IM1", "B/IM1"]),
        (["ward/A/IM1"], ["ward/"], ["A/IM1"]),
        (["A/IM1", "B/IM1"], ["A", "B"], ["A/IM1", "B/IM1"]),
        (["A/IM1", "B/IM1"], ["A/IM1", "B/IM1"], ["A/IM1", "B/IM1"]),
        (["ward.zip/A/IM1"], ["ward.zip"], ["ward.zip/A/IM1"]),
        (["<stdin>"], ["-"], ["<stdin>"]),
        (["<stdin>", "ward/A/IM1"], ["-", "ward"], ["<stdin>", "A/IM1"]),
        (["ward.zip/../../../etc/IM1"], ["ward.zip"], ["IM1"]),
    ],
)
def test_folders_are_kept_and_never_left(
    names: list[str], paths: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("ward/A", "ward/B", "A", "B"):
        os.makedirs(folder, exist_ok=True)
    assert relative_paths(names, paths) == expected
