from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from covidnet_lite import __version__
from covidnet_lite.network import model

ROOT = Path(__file__).resolve().parent.parent


DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
README_LINES = 150  # more belongs into docs/


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    broken = [link for link in links if not link.startswith("http") and not (path.parent / link).exists()]
    assert broken == []


def test_every_option_of_the_converter_is_documented() -> None:
    from convert.quantize import build_parser

    page = (ROOT / "docs/converting.md").read_text()
    options = {o for action in build_parser()._actions for o in action.option_strings if o.startswith("--")}
    assert sorted(o for o in options - {"--help"} if f"`{o}" not in page) == []


def test_every_scheme_and_every_rung_is_documented() -> None:
    from convert.quantisation.fallbacks import FALLBACKS
    from convert.quantisation.scheme import SCHEMES

    page = (ROOT / "docs/converting.md").read_text()
    assert [name for name in (*SCHEMES, *(rung.name for rung in FALLBACKS)) if f"`{name}`" not in page] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_the_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    scripts = set(re.findall(r"python ((?:training|convert|benchmarks|examples)/\w+\.py)", readme))
    assert scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []
    targets = set(re.findall(r"^make ([\w-]+)", readme, re.M))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


def test_the_model_card_is_about_the_shipped_network() -> None:
    assert model.load("base").sha256 in (ROOT / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("name", model.shipped())
def test_the_audit_in_the_documents_is_that_of_the_shipped_network(name: str) -> None:
    from training.judge.audit_table import card, summary

    figures = json.loads((ROOT / f"training/checkpoints/{name}.audit.json").read_text())
    assert (figures["model"], figures["sha256"]) == (name, model.load(name).sha256), "run training/audit.py --publish"
    assert card(figures) in (ROOT / "MODEL_CARD.md").read_text()
    if name == model.DEFAULT:
        assert summary(figures) in (ROOT / "README.md").read_text()


def test_the_changelog_has_a_section_for_this_version() -> None:
    """Keep a Changelog: what is not released stands under Unreleased, which names the version it will be."""
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased, _, _ = text.partition("## [Unreleased]")[2].partition("\n## [")
    assert f"## [{__version__}] - 2" in text or f"released as {__version__}" in unreleased


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_bug_report_asks_for_doctor_and_no_report_for_patient_data() -> None:
    forms = {path.stem: path.read_text() for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")}
    assert "covidnet-lite doctor" in forms["bug_report"]
    assert "Do not attach" in forms["bug_report"]
    assert "Do not attach" in forms["wrong_answer"]
