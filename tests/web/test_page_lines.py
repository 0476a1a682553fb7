"""Slow and broken lines, and what comes in: an upload happens once, tells how far it is, and is tried again."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Server, serving
from .pages import DONE, PHONE, copies, load

pytestmark = pytest.mark.slow  # a browser, for several minutes

MEGABIT = 1e6 / 8  # bytes a second
HALF_WAY = "() => { const share = document.querySelector('#rows progress')?.value; return share > 0.2 && share < 0.9; }"


def throttled(page: Any, rate: float) -> None:
    """Lets the page send no more than so many bytes a second."""
    browser = page.context.new_cdp_session(page)
    browser.send("Network.enable")
    limits = {"offline": False, "latency": 20, "uploadThroughput": rate, "downloadThroughput": 10 * rate}
    browser.send("Network.emulateNetworkConditions", limits)


def test_a_film_is_uploaded_once(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    sent: list[str] = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request.url))
    load(page, film)
    page.fill("#reviewer", "Dr. A")
    page.select_option("#right-label", index=1)
    page.click("#review-form button[type=submit]")
    page.wait_for_selector("#review-state:has-text('Saved.')")
    assert [url.split("/v1/")[1].split("?")[0] for url in sent] == ["classify", "reviews"]


def test_a_picture_that_the_server_has_forgotten_is_uploaded_again(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    forgotten = {"error": "that image is not, or no longer, in memory; send it again"}
    page.route("**/v1/picture/*", lambda route: route.fulfill(status=404, json=forgotten))
    load(page, film_png)
    page.wait_for_selector("#corner-size:has-text('920 × 977')")


def test_on_a_slow_line_the_progress_is_shown_and_the_answer_comes_with_the_upload(
    opened: Callable[..., Any], film: Path
) -> None:
    """A film of 7 MB at 1 Mbit/s is answered in less than 1.2 times the time of the upload."""
    page = opened()
    page.wait_for_selector("html[data-ready]")
    throttled(page, 4 * MEGABIT)
    start = time.monotonic()
    page.set_input_files("#files", str(film))
    page.wait_for_function(HALF_WAY)
    page.wait_for_selector(DONE, state="detached", timeout=120_000)
    upload = film.stat().st_size / (4 * MEGABIT)
    assert time.monotonic() - start < 1.2 * upload + 2  # the processor may be busy


def test_films_that_failed_by_the_server_are_sent_again_by_one_click(
    opened: Callable[..., Any], film_png: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "zz-bad.png"
    bad.write_bytes(b"no picture")
    page = opened()
    page.wait_for_selector("html[data-ready]")
    page.route("**/v1/classify*", lambda route: route.abort())
    page.set_input_files("#files", [str(path) for path in copies(film_png, 3)])
    page.wait_for_selector(DONE, state="detached")
    assert page.inner_text("#verdict") == "Cannot be read"
    assert page.is_visible("#again")
    assert page.inner_text("#retry") == "Send 3 films again"
    page.unroute("**/v1/classify*")
    page.click("#again")
    page.wait_for_selector("#retry:has-text('Send 2 films again')")
    page.click("#retry")
    page.wait_for_selector("#retry", state="hidden")
    page.wait_for_selector(DONE, state="detached")
    assert "failed" not in page.inner_text("#rows")
    page.set_input_files("#files", str(bad))
    page.wait_for_selector(".word.failed")
    assert page.is_hidden("#retry")  # another time it would be as bad


def test_the_token_is_asked_for_once_a_session(browser: Any, film_png: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sixteen-or-more-letters")
    token.chmod(0o600)
    with serving("--token-file", token) as guarded:
        page = browser.new_context().new_page()
        page.set_default_timeout(20_000)
        page.goto(guarded.url)
        page.fill("#token", token.read_text())
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-ready]")
        page.reload()
        load(page, film_png)
        assert page.is_hidden("#token-dialog")
        assert page.request.get(f"{guarded.url}/model-card").ok
        page.context.close()


def test_folders_and_archives_are_taken(opened: Callable[..., Any], film_png: Path, tmp_path: Path) -> None:
    ward = tmp_path / "ward"
    (ward / "A").mkdir(parents=True)
    (ward / "A" / "a.png").write_bytes(film_png.read_bytes())
    (ward / "notes.txt").write_text("no film")
    (ward / ".hidden.png").write_text("no film")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("B/b.png", film_png.read_bytes())
    page = opened()
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#folder", str(ward))
    page.set_input_files("#files", str(tmp_path / "b.zip"))
    page.wait_for_selector("#rows tr:nth-child(2)")
    page.wait_for_selector(DONE, state="detached")
    assert page.locator("#rows button").all_inner_texts() == ["ward/A/a.png", "b.zip/B/b.png"]


def test_a_phone_shows_the_answer_right_under_the_film(opened: Callable[..., Any], film: Path) -> None:
    page = opened(**PHONE)
    load(page, film)
    stage, answer = (page.locator(at).bounding_box() for at in ("#stage", "#verdict"))
    assert 0 < answer["y"] - (stage["y"] + stage["height"]) < 140
    page.evaluate("scrollTo(0, 0)")
    assert page.locator("#verdict").bounding_box()["y"] < 740  # without scrolling


def test_the_model_card_is_one_click_away(opened: Callable[..., Any], server: Server, film_png: Path) -> None:
    page = opened()
    load(page, film_png)
    with page.context.expect_page() as waited:
        page.click(".answer a")
    card = waited.value
    card.wait_for_selector("h1")
    assert card.url == f"{server.url}/model-card"
    assert "Abstention" in card.inner_text("main")
