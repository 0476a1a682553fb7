"""Random walks through the page: a review that was typed is always on the page or on the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .conftest import Server, serving
from .pages import load

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

pytestmark = pytest.mark.slow  # a browser, for several minutes

RADIOGRAPHS = 3
WALKS = 100
STEPS = (
    "type", "comment", "next", "previous", "choose", "save", "broken save", "sort", "search", "clear, go back",
    "add", "key", "save and go on",
)  # fmt: skip


@pytest.fixture(scope="module")
def walked(answering: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("--model", answering, "--reviews", tmp_path_factory.mktemp("walks") / "reviews.sqlite") as running:
        yield running


class Walk:
    """A reviewer at the page, and what this reviewer has typed."""

    number = count()  # no text is typed twice: an earlier walk's review would hide a loss

    def __init__(self, page: Any, server: Server, paths: list[Path]) -> None:
        self.page, self.server, self.paths = page, server, paths
        self.typed: dict[str, str] = {}  # radiograph -> its comment

    @property
    def selected(self) -> str:
        return str(self.page.inner_text("#corner-name"))

    def step(self, what: str, number: int) -> None:
        page = self.page
        if what in ("type", "comment"):
            words = f"{self.selected} {next(self.number)}"
            if what == "type":
                page.fill("#comment", words)
            else:
                page.focus("#comment")
                page.keyboard.press("End")
                page.keyboard.type(f" {next(self.number)}")
                words = page.input_value("#comment")
            self.typed[self.selected] = words.strip()
        elif what in ("next", "previous"):
            page.focus("#canvas")
            page.keyboard.press("j" if what == "next" else "k")
        elif what == "choose":
            page.locator("#rows button").nth(number % page.locator("#rows tr").count()).click()
        elif what == "save":
            page.check(f"input[name=verdict][value={'agree' if number % 2 else 'disagree'}]")
            page.click("#review-form button[type=submit]")
            page.wait_for_selector("#review-state:text-matches('^(Saved|Not)')")
        elif what == "broken save":
            page.route("**/v1/reviews", lambda route: route.abort())
            page.check("input[name=verdict][value=agree]")
            page.click("#review-form button[type=submit]")
            page.wait_for_selector("#review-state:has-text('Not saved')")
            page.unroute("**/v1/reviews")
        elif what == "save and go on":  # the server answers while the reviewer types on or is at another radiograph
            page.check("input[name=verdict][value=agree]")
            page.click("#review-form button[type=submit]")
            if number % 2:
                self.step("type", number)
            else:
                self.step("next", number)
        elif what == "sort":
            page.locator("th[data-sort] button").nth(number % 4).click()
        elif what == "search":
            page.fill("#search", "1")
            page.fill("#search", "")
        elif what == "clear, go back":
            if page.locator(".mark:has-text('✎')").count():
                page.click("#clear")
                page.keyboard.press("Escape")
        elif what == "add":
            page.set_input_files("#files", str(self.paths[number % RADIOGRAPHS].with_name("zz-bad.png")))
        elif what == "key":
            page.focus("#canvas")
            page.keyboard.press("ad"[number % 2])

    def lost(self) -> list[str]:
        """Radiographs whose comment is neither in the form nor on the server."""
        self.page.wait_for_timeout(100)
        stored = {review["comment"] for review in self.server.client.get("/v1/reviews").json()["reviews"]}
        missing = []
        for name, words in self.typed.items():
            self.page.locator("#rows button", has_text=name).first.click()
            self.page.wait_for_function("name => document.querySelector('#corner-name').textContent === name", arg=name)
            if self.page.input_value("#comment").strip() != words and words not in stored:
                missing.append(f"{name}: {words}")
        return missing


def test_no_typed_review_is_lost(opened: Callable[..., Any], walked: Server, film_png: Path, tmp_path: Path) -> None:
    paths = []
    for i in range(RADIOGRAPHS):
        image = Image.open(film_png).convert("L").resize((300, 320))
        image.putpixel((i, 0), 255)
        paths.append(tmp_path / f"film-{i}.png")
        image.save(paths[-1])
    (tmp_path / "zz-bad.png").write_bytes(b"no picture")
    page = opened(walked.url)

    @hypothesis.settings(max_examples=WALKS, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=3, max_size=12))
    def walk(steps: list[tuple[str, int]]) -> None:
        page.reload() if not page.locator("#rows tr").count() else page.evaluate(
            "document.querySelector('#clear').click()"
        )
        if page.locator("#confirm[open]").count():
            page.click("#confirm-action")
        load(page, *paths)
        page.fill("#reviewer", "Dr. A")
        reviewer = Walk(page, walked, paths)
        for what, number in steps:
            if page.is_hidden("#review") and what not in ("next", "previous", "choose"):
                continue  # a file that cannot be read has no review
            reviewer.step(what, number)
        assert reviewer.lost() == []

    walk()
