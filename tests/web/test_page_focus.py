"""The keyboard focus on the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .pages import copies, focused, load

pytestmark = pytest.mark.slow  # a browser, for several minutes


def test_the_focus_survives_when_its_element_is_disabled_hidden_or_rendered_again(
    opened: Callable[..., Any], film_png: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    page = opened()
    load(page, *copies(film_png, 3), bad)

    page.focus("#next")
    for _ in range(3):
        page.keyboard.press("Enter")
    assert page.inner_text("#position") == "4 / 4"
    assert focused(page) == "canvas"  # at the end of the list

    page.keyboard.press("k")
    page.wait_for_selector("#opacity:enabled")
    page.focus("#opacity")
    page.keyboard.press("j")
    page.wait_for_selector("#opacity:disabled")
    assert focused(page) == "canvas"  # there is no map

    page.focus("th[data-sort=name] button")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert focused(page) == "Radiograph"
    page.locator("#rows button", has_text="01.png").focus()
    page.evaluate("document.querySelector('th[data-sort=confidence] button').click()")
    assert focused(page) == "01.png"  # although another radiograph is selected
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    assert focused(page) == page.inner_text("#corner-name") != "01.png"

    page.focus("#clear")
    page.keyboard.press("Enter")
    assert focused(page) == "choose"


def test_a_dialog_that_closes_returns_the_focus(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    load(page, *copies(film_png, 2))
    page.focus("#help-button")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused(page) == "help-button"
    page.focus("#rows button")
    page.keyboard.press("?")
    page.evaluate("document.querySelector('th[data-sort=name] button').click()")  # renders the rows again
    page.keyboard.press("Escape")
    assert focused(page) == "canvas"
