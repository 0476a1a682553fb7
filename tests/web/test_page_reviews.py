"""Reviews on the page: nothing that is typed is lost, and each reviewer sees the earlier reviews."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from covidnet_lite.dataset import read_dataset

from .conftest import Server, serving
from .pages import copies, load

pytestmark = pytest.mark.slow  # a browser, for several minutes


@pytest.fixture(scope="module")
def reviewing(answering: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose network answers for every radiograph, and which stores reviews and images."""
    folder = tmp_path_factory.mktemp("reviewing")
    options = ("--model", answering, "--reviews", folder / "reviews.sqlite", "--keep", folder / "images")
    with serving(*options) as running:
        yield running


def distinct(radiograph: Path, number: int) -> list[Path]:
    """Radiographs that differ in one pixel, so that each has its own reviews."""
    paths = []
    for i in range(number):
        image = Image.open(radiograph).convert("L")
        image.putpixel((0, 0), random.randrange(256))
        image.putpixel((1, 0), random.randrange(256))
        image.putpixel((i + 2, 0), 255 - image.getpixel((i + 2, 0)))
        paths.append(radiograph.with_name(f"{i:02}.png"))
        image.save(paths[-1])
    return paths


def review(page: Any, reviewer: str, verdict: str, label: str | None = None) -> None:
    page.fill("#reviewer", reviewer)
    page.check(f"input[name=verdict][value={verdict}]")
    if label is not None:
        page.select_option("#label", label)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#review-state:has-text('Saved.')")


def test_a_review_is_stored_and_exported_as_a_manifest_for_training(
    opened: Callable[..., Any], reviewing: Server, film: Path, tmp_path: Path
) -> None:
    page = opened(reviewing.url)
    load(page, film)
    page.keyboard.press("d")
    page.select_option("#label", "normal")
    page.fill("#comment", "both <b>bases</b>")
    page.fill("#patient", "p7")
    page.keyboard.press("Control+Enter")
    assert "enter your name" in page.inner_text("#review-state")
    page.keyboard.type("Dr. A")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#review-state:has-text('Saved.')")
    assert page.locator("#rows tr td").last.inner_text() == "✗"
    (stored,) = reviewing.client.get("/v1/reviews").json()["reviews"]
    assert (stored["verdict"], stored["label"], stored["comment"]) == ("disagree", "normal", "both <b>bases</b>")
    assert stored["reviewer"] == "Dr. A"
    with page.expect_download() as waited:
        page.click("#manifest")
    waited.value.save_as(tmp_path / "manifest.csv")
    (case,) = read_dataset(tmp_path / "manifest.csv")
    assert (case.label, case.patient, case.source) == ("normal", "p7", "reviewed")
    assert Image.open(case.path).size == (1841, 1955)
    assert not Image.open(case.path).info  # only pixels: no header, no name


def test_a_review_without_a_verdict_is_not_sent(opened: Callable[..., Any], reviewing: Server, film: Path) -> None:
    page = opened(reviewing.url)
    load(page, film)
    page.click("#review-form button[type=submit]")
    assert "whether you agree" in page.inner_text("#review-state")


def test_under_an_abstention_the_form_asks_what_the_reviewer_sees(
    opened: Callable[..., Any], film_png: Path, abstaining: Path, tmp_path: Path
) -> None:
    with serving("--model", abstaining, "--reviews", tmp_path / "reviews.sqlite") as server:
        page = opened(server.url)
        load(page, film_png)
        assert page.is_hidden("#verdicts")
        assert page.inner_text("#label-title") == "What do you see?"
        page.fill("#reviewer", "Dr. A")
        page.click("#review-form button[type=submit]")
        assert "what you see" in page.inner_text("#review-state")
        page.select_option("#label", "pneumonia")
        page.click("#review-form button[type=submit]")
        page.wait_for_selector("#review-state:has-text('Saved.')")
        (stored,) = server.client.get("/v1/reviews").json()["reviews"]
        assert (stored["verdict"], stored["label"]) == ("", "pneumonia")


def test_a_draft_stays_with_its_radiograph_until_it_is_saved(
    opened: Callable[..., Any], reviewing: Server, film_png: Path
) -> None:
    page = opened(reviewing.url)
    load(page, *distinct(film_png, 2))
    page.fill("#comment", "one")
    page.focus("#canvas")
    page.keyboard.press("j")
    page.wait_for_function("document.querySelector('#comment').value === ''")
    page.fill("#comment", "two")
    page.focus("#canvas")
    page.keyboard.press("k")
    page.wait_for_function("document.querySelector('#comment').value === 'one'")
    assert page.locator("#rows td.mark").all_inner_texts() == ["✎", "✎"]
    page.click("#clear")
    assert "2 reviews are not saved." in page.inner_text("#confirm")
    page.keyboard.press("Escape")
    assert page.locator("#rows tr").count() == 2
    review(page, "Dr. A", "agree")
    assert page.locator("#rows td.mark").all_inner_texts() == ["✓", "✎"]
    page.click("#clear")
    page.click("#confirm-action")
    page.locator("#rows tr").first.wait_for(state="detached", timeout=5000)


@pytest.mark.parametrize("typed", [True, False])
def test_the_browser_asks_before_it_leaves_the_page_with_a_draft(
    opened: Callable[..., Any], reviewing: Server, film_png: Path, typed: bool
) -> None:
    page = opened(reviewing.url)
    load(page, film_png)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.dismiss()))
    page.click("#comment")
    if typed:
        page.keyboard.type("seen")
    page.close(run_before_unload=True)
    if typed:
        page.wait_for_timeout(500)
    assert dialogs == (["beforeunload"] if typed else [])


def test_an_earlier_review_is_shown_to_every_reviewer(
    opened: Callable[..., Any], reviewing: Server, film_png: Path
) -> None:
    (path,) = distinct(film_png, 1)
    page = opened(reviewing.url)
    load(page, path)
    page.fill("#comment", "seen by A")
    review(page, "Dr. A", "agree")
    other = opened(reviewing.url)
    load(other, path)
    other.wait_for_selector("#earlier-reviews:has-text('seen by A')")
    assert re.search(r"Dr\. A, 20\d\d-\d\d-\d\d \d\d:\d\d UTC, network nano", other.inner_text("#earlier-reviews"))
    assert other.input_value("#comment") == ""  # another reviewer's
    assert other.input_value("#reviewer") == ""
    page.click("#clear")
    load(page, path)
    page.wait_for_function("document.querySelector('#comment').value === 'seen by A'")  # the reviewer's own


def test_disagreement_is_shown_and_left_out_of_the_manifest_until_a_review_settles_it(
    opened: Callable[..., Any], reviewing: Server, film_png: Path
) -> None:
    def counts() -> tuple[int, int]:
        export = reviewing.client.get("/v1/reviews").json()["export"]
        return export["cases"], export["disagreed"]

    (path,) = distinct(film_png, 1)
    before = counts()
    page = opened(reviewing.url)
    load(page, path)
    review(page, "Dr. A", "agree")
    assert counts() == (before[0] + 1, before[1])
    assert page.is_hidden("#settle")
    review(page, "Dr. B", "disagree", "normal")
    assert page.is_visible("#disagreement")
    assert page.locator("#rows td.mark").inner_text() == "≠"
    assert counts() == (before[0], before[1] + 1)
    page.check("input[name=settles]")
    review(page, "Dr. B", "disagree", "normal")
    assert page.is_hidden("#disagreement")
    assert counts() == (before[0] + 1, before[1])


def test_a_review_that_could_not_be_saved_stays_in_the_form(
    opened: Callable[..., Any], reviewing: Server, film_png: Path
) -> None:
    page = opened(reviewing.url)
    load(page, *copies(film_png, 2))
    page.route("**/v1/reviews", lambda route: route.abort())
    page.fill("#reviewer", "Dr. A")
    page.fill("#comment", "basal")
    page.check("input[name=verdict][value=agree]")
    page.click("#review-form button[type=submit]")
    page.wait_for_selector("#review-state:has-text('Not saved: The server does not answer')")
    page.focus("#canvas")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.wait_for_function("document.querySelector('#comment').value === 'basal'")
    page.unroute("**/v1/reviews")
    page.click("#review-form button[type=submit]")
    page.wait_for_selector("#review-state:has-text('Saved.')")
