"""What ``requirements/`` locks is what ``setup.py`` asks for."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.M)

# As `make lock` compiles them.
EXTRAS = {
    "demo": ("dicom",),
    "services": ("dicom", "heic", "mqtt", "node", "web"),
    "test": ("test", "lint"),
    "oldest": ("dicom", "mqtt", "node", "web"),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``setup.py`` passes to setuptools."""
    passed: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", passed.update)
    runpy.run_path(str(ROOT / "setup.py"))
    return passed


def locked(name: str) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for package, version in PINNED.findall((ROOT / f"requirements/{name}.txt").read_text()):
        versions.setdefault(canonicalize_name(package), set()).add(version)
    return versions


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_holds_all_that_setup_asks_for_in_versions_that_it_allows(name: str, asked: dict[str, Any]) -> None:
    texts = [*asked["install_requires"], *(text for extra in EXTRAS[name] for text in asked["extras_require"][extra])]
    versions = locked(name)
    expected = [Requirement(text) for text in texts]
    # A file for one Python and one machine leaves out what only others need.
    expected = [one for one in expected if name in ("demo", "services") or not one.marker or one.marker.evaluate()]
    wrong = [
        str(one) for one in expected
        if not any(one.specifier.contains(v) for v in versions.get(canonicalize_name(one.name), ()))
    ]  # fmt: skip
    assert wrong == [], "make lock"


@pytest.mark.parametrize("name", [*EXTRAS, "release"])
def test_every_locked_version_has_a_hash(name: str) -> None:
    blocks = re.split(r"\n(?=\w)", (ROOT / f"requirements/{name}.txt").read_text().strip())
    assert len(blocks) > 10
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", ["demo", "services", "test"])
def test_the_build_back_end_is_locked_too(name: str) -> None:
    """They install the checkout without isolation, in which pip would fetch one without a hash."""
    assert "setuptools" in locked(name)
