from __future__ import annotations

from pathlib import Path

from covidnet_lite.network import model
from covidnet_lite.web import card


def test_a_network_of_the_package_has_the_whole_card() -> None:
    assert "## Abstention" in card.text(model.load("base"))


def test_of_another_network_the_manifest_is_told_without_its_provenance(narrowing: Path) -> None:
    text = card.text(model.load(narrowing))
    assert "94%" in text
    assert "500 made-up films" in text
    assert "not a medical device" in text
    assert "sources" not in text


def test_headings_can_be_linked_to_and_files_that_are_not_served_cannot() -> None:
    html = card.html("# How often\n\n[data](docs/data.md), [site](https://x.org), [up](#how-often)\n<script>x</script>")
    assert '<h1 id="how-often">' in html
    assert "docs/data.md" not in html
    assert 'href="https://x.org"' in html
    assert 'href="#how-often"' in html
    assert "<script>" not in html


def test_a_manifest_cannot_bring_markup(narrowing: Path) -> None:
    assert "\\<b\\>" in card._cell("<b>")
    assert "<b>" not in card.html(f"| | |\n|---|---|\n| {card._cell('<b>|[x](javascript:1)')} | |")
    assert "href" not in card.html(card._cell("[x](https://evil)"))
