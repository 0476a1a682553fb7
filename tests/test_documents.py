from __future__ import annotations

import re
from pathlib import Path

import pytest

from covidnet_lite import __version__, model

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["README.md", "MODEL_CARD.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())
    broken = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert broken == []


def test_the_first_screen_says_what_it_is_shows_a_picture_and_gives_two_commands() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:30]
    text = "\n".join(first)
    for word in ("not a medical device", "![", "pydicom-data", "make demo", "make test"):
        assert word in text, word


def test_the_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    scripts = set(re.findall(r"python ((?:training|convert|benchmarks|examples)/\w+\.py)", readme))
    assert scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []
    targets = set(re.findall(r"^make (\w+)", readme, re.M))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


def test_the_model_card_is_about_the_shipped_network() -> None:
    card = (ROOT / "MODEL_CARD.md").read_text()
    assert model.load("base").sha256 in card
    for word in ("not a medical device", "licence", "Limits", "CC BY-NC-SA", "NIH Clinical Center", "source"):
        assert word in card, word


def test_nothing_is_left_to_fill_in() -> None:
    for name in ("README.md", "MODEL_CARD.md", "CHANGELOG.md"):
        assert "@@" not in (ROOT / name).read_text(), name


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
