"""``release/build.py``, but for the building itself."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

BUILD = runpy.run_path(str(Path(__file__).resolve().parent.parent / "release/build.py"))

SOUND = {"name": "pillow", "version": "13.0.0", "vulns": []}
BAD = {"name": "h11", "version": "0.9", "vulns": [{"id": "PYSEC-2025-1"}, {"id": "PYSEC-2025-2"}]}
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        ([SOUND], "no vulnerability is known in 1 of 1"),
        ([SOUND, SKIPPED], "in 1 of 2 locked versions; it could not answer about the others"),
        ([SKIPPED, SKIPPED], "could not answer"),
    ],
)
def test_a_package_that_nobody_could_ask_about_is_not_called_sound(packages: list[dict[str, Any]], words: str) -> None:
    assert words in BUILD["audited"]({"dependencies": packages})


def test_a_known_vulnerability_ends_the_release() -> None:
    with pytest.raises(BUILD["ReleaseError"], match="h11 0.9: PYSEC-2025-1\nh11 0.9: PYSEC-2025-2"):
        BUILD["audited"]({"dependencies": [SOUND, BAD, SKIPPED]})
