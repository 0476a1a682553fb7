"""Uploads: once each, with progress, on slow and broken connections; folders and archives."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import Server, serving
from .pages import PENDING, PHONE, copies, load, lung_colour

pytestmark = pytest.mark.slow  # a browser, for several minutes

MEGABIT = 1e6 / 8  # bytes a second
HALF_WAY = "() => { const share = document.querySelector('#rows progress')?.value; return share > 0.2 && share < 0.9; }"


def throttled(page: Any, rate: float) -> None:
    """Limits the page's uploads to so many bytes a second, and its downloads to ten times as many."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 20, "uploadThroughput": rate, "downloadThroughput": 10 * rate}
    session.send("Network.emulateNetworkConditions", limits)


def test_a_radiograph_is_uploaded_once(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    posts: list[str] = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url))
    load(page, film)
    page.fill("#reviewer", "Dr. A")
    page.select_option("#label", index=1)
    page.click("#review-form button[type=submit]")
    page.wait_for_selector("#review-state:has-text('Saved.')")
    assert [url.split("/v1/")[1].split("?")[0] for url in posts] == ["classify", "reviews"]


def test_an_image_that_the_server_no_longer_has_is_uploaded_again(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    gone = {"error": "that image is not, or no longer, in memory; send it again"}
    page.route("**/v1/picture/*", lambda route: route.fulfill(status=404, json=gone))
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
    page.wait_for_selector(PENDING, state="detached", timeout=120_000)
    upload = film.stat().st_size / (4 * MEGABIT)
    assert time.monotonic() - start < 1.2 * upload + 2  # the processor may be busy


def test_one_click_sends_again_what_failed_because_of_the_server(
    opened: Callable[..., Any], film_png: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "zz-bad.png"
    bad.write_bytes(b"no picture")
    page = opened()
    page.wait_for_selector("html[data-ready]")
    page.route("**/v1/classify*", lambda route: route.abort())
    page.set_input_files("#files", [str(path) for path in copies(film_png, 3)])
    page.wait_for_selector(PENDING, state="detached")
    assert page.inner_text("#verdict") == "No result"
    assert page.is_visible("#retry")
    assert page.inner_text("#retry-all") == "Send 3 radiographs again"
    page.unroute("**/v1/classify*")
    page.click("#retry")
    page.wait_for_selector("#retry-all:has-text('Send 2 radiographs again')")
    page.click("#retry-all")
    page.wait_for_selector("#retry-all", state="hidden")
    page.wait_for_selector(PENDING, state="detached")
    assert "failed" not in page.inner_text("#rows")
    page.set_input_files("#files", str(bad))
    page.wait_for_selector(".word.failed")
    assert page.is_hidden("#retry-all")  # it would fail again


def test_folders_and_archives_are_opened(opened: Callable[..., Any], film_png: Path, tmp_path: Path) -> None:
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
    page.wait_for_selector(PENDING, state="detached")
    assert page.locator("#rows button").all_inner_texts() == ["ward/A/a.png", "b.zip/B/b.png"]


@pytest.fixture
def heic(film_image: Image.Image, tmp_path: Path) -> Path:
    """The radiograph as a phone's camera stores it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "phone.heic"
    pillow_heif.from_pillow(film_image.convert("RGB")).save(path, quality=90)
    return path


def test_heic_is_classified_and_shown(opened: Callable[..., Any], heic: Path, film_image: Image.Image) -> None:
    page = opened()
    load(page, heic)
    assert page.inner_text("#verdict") != "Cannot be read"
    assert page.inner_text("#corner-size") == f"{film_image.width} × {film_image.height}"
    assert max(lung_colour(page)) > 40  # not the black background
    page.wait_for_selector("#rows canvas.thumbnail")


def test_heic_without_its_extra_names_the_extra_and_whom_to_ask(
    opened: Callable[..., Any], heic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pillow_heif.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")]))
    with serving() as server:
        page = opened(server.url)
        page.wait_for_selector("html[data-ready]")
        page.set_input_files("#files", str(heic))
        page.wait_for_selector(".word.failed")
        explanation = page.inner_text("#explanation")
        assert "covidnet-lite[heic]" in explanation
        assert "Ask the person who runs this server" in explanation
        page.wait_for_selector("#stage-message:has-text('covidnet-lite[heic]')")
        assert page.is_hidden("#retry")


def test_a_phone_shows_the_answer_directly_under_the_radiograph(opened: Callable[..., Any], film: Path) -> None:
    page = opened(**PHONE)
    load(page, film)
    stage, answer = (page.locator(place).bounding_box() for place in ("#stage", "#verdict"))
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
