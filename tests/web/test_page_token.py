"""The page of a server that requires a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Server, serving
from .pages import focused, load

pytestmark = pytest.mark.slow  # a browser, for several minutes

TOKEN = "sixteen-or-more-letters"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with serving("--token-file", token) as running:
        yield running


def enter(page: Any, token: str) -> None:
    page.fill("#token", token)
    page.keyboard.press("Enter")


def test_the_page_asks_until_the_token_is_right(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    for _ in range(2):
        page.keyboard.press("Escape")
    assert page.is_visible("#token")
    enter(page, "wrong")
    page.wait_for_selector("#token-error:has-text('does not accept this token')")
    enter(page, TOKEN)
    page.wait_for_selector("html[data-ready]")
    assert focused(page) == "choose"
    load(page, film_png)
    assert page.locator("#rows tr").count() == 1
    assert page.is_visible("#no-reviews")


def test_the_page_asks_once_per_session(opened: Callable[..., Any], server: Server, film_png: Path) -> None:
    page = opened()
    enter(page, TOKEN)
    page.wait_for_selector("html[data-ready]")
    page.reload()
    load(page, film_png)
    assert page.is_hidden("#token-dialog")
    assert page.request.get(f"{server.url}/model-card").ok
