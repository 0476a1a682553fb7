"""The page in a real browser."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from covidnet_lite.percent import percent

from .conftest import Server, serving
from .pages import DONE, PHONE, colourfulness, copies, load, middle

pytestmark = pytest.mark.slow  # a browser, for several minutes


def test_before_anything_is_opened_it_says_what_it_is_for_and_what_it_is_not(opened: Callable[..., Any]) -> None:
    page = opened()
    page.wait_for_selector("html[data-ready]")
    assert "Not a medical device" in page.inner_text("#notice")
    assert "Nothing leaves it." in page.inner_text("#welcome")
    assert page.is_hidden("#review")


def test_what_is_kept_is_said_before_anything_is_opened(
    opened: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    def said(page: Any) -> str:
        page.wait_for_selector("html[data-ready]")
        return str(page.inner_text("main"))

    with serving() as plain:
        assert "Nothing is kept." in said(opened(plain.url))
    with serving("--reviews", tmp_path / "reviews.sqlite") as reviewing:
        assert "keeps the reviews you save, with file names but without pictures." in said(opened(reviewing.url))
    told = said(opened(server.url))
    assert "keeps the reviews you save, with file names and pictures." in told
    assert "othing is kept" not in told
    assert "Nothing you open is kept" not in told


def test_a_film_is_shown_with_answer_probabilities_and_provenance(
    opened: Callable[..., Any], server: Server, film: Path
) -> None:
    page = opened()
    load(page, film)
    told = server.classify(film).json()["results"][0]
    for label, share in told["probabilities"].items():
        bar = page.locator("#bars li", has_text=label)
        assert bar.locator(".share").text_content() == percent(share)
        assert float(bar.locator("meter").get_attribute("value")) == pytest.approx(share)
    facts = page.text_content("#fact-list")
    assert told["sha256"] in facts
    assert re.search(r"read \d+\.\d", facts)
    assert "PA" in facts  # what the header says
    verdict = page.inner_text("#verdict")
    assert verdict == (f"Resembles {told['label']}" if told["label"] else "No answer")
    assert "no diagnosis" in page.inner_text("#because") or "says nothing" in page.inner_text("#because")


def test_a_narrowed_answer_is_told_with_extent_zone_and_track_record(
    opened: Callable[..., Any], film: Path, narrowing: Path
) -> None:
    with serving("--model", narrowing) as server:
        page = opened(server.url)
        load(page, film)
        assert page.inner_text("#verdict") == "Not normal; pneumonia or covid"
        assert re.search(r"about \d+% of the lungs, off by 9% of the lungs", page.inner_text("#findings"))
        (told,) = server.classify(film).json()["results"]
        assert told["place"]["main"] in page.inner_text("#findings")
        assert "right on 94% of films; 29% of films get no answer" in page.inner_text("#record")
        assert page.input_value("#evidence-label") == "not normal"
        page.wait_for_selector("#map-legend:has-text('Evidence for not normal, logits: 0')")
        assert page.inner_text("#rows td.word") == "not normal"
        assert float(page.inner_text("#map-most")) > 0


def test_an_abstention_shows_no_map_and_no_numbers_until_somebody_asks(
    opened: Callable[..., Any], film: Path, abstaining: Path
) -> None:
    with serving("--model", abstaining) as server:
        page = opened(server.url)
        load(page, film)
        assert page.inner_text("#verdict") == "No answer"
        assert page.is_hidden("#map-legend")
        shown = middle(page)
        assert max(shown) - min(shown) <= 2  # gray
        assert page.is_hidden("#bars")
        shown_text = page.inner_text(".panel") + page.inner_text(".list")
        assert not re.search("covid(?!net)|pneumonia|normal", shown_text)
        page.select_option("#evidence-label", "covid")
        page.wait_for_selector("#map-legend:has-text('Evidence for covid (no answer)')")
        page.click("#numbers-title")
        assert page.is_visible("#bars")


def test_the_slider_fades_the_evidence_map(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    load(page, film)
    page.select_option("#evidence-label", "covid")
    page.fill("#opacity", "100")
    assert colourfulness(page) > 10
    page.fill("#opacity", "0")
    assert colourfulness(page) <= 2
    page.keyboard.press("h")
    assert page.input_value("#opacity") != "0"


def test_window_level_invert_zoom_and_reset_do_what_radiologists_expect(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    load(page, film)
    page.fill("#opacity", "0")
    before = middle(page)
    page.keyboard.press("i")
    assert middle(page)[0] == pytest.approx(255 - before[0], abs=6)
    page.keyboard.press("r")
    assert middle(page) == before
    canvas = page.locator("#canvas").bounding_box()
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down(button="right")
    page.mouse.move(x, y - 80)
    page.mouse.up(button="right")
    assert middle(page)[0] > before[0]  # a lower level is brighter
    assert "L 80" in page.inner_text("#corner-window")
    page.mouse.wheel(0, -600)
    zoomed = page.inner_text("#corner-window")
    page.keyboard.press("r")
    page.wait_for_timeout(100)
    assert page.inner_text("#corner-window") != zoomed
    assert middle(page) == before


def test_the_work_list_is_sorted_and_walked_through_by_keys(
    opened: Callable[..., Any], film: Path, film_png: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "a-bad.png"
    bad.write_bytes(b"no picture")
    page = opened()
    load(page, film, film_png, bad)
    assert page.locator("#rows tr").count() == 3
    assert page.inner_text("#position") == "1 / 3"
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#position") == "3 / 3"
    assert page.inner_text("#verdict") == "Cannot be read"
    assert "not an image format" in page.inner_text("#because")
    assert page.is_hidden("#review")
    page.click("th[data-sort=name] button")
    assert page.locator("#rows tr th").all_inner_texts()[0] == "a-bad.png"
    assert page.get_attribute("th[data-sort=name]", "aria-sort") == "ascending"
    page.click("th[data-sort=name] button")
    assert page.locator("#rows tr th").all_inner_texts()[-1] == "a-bad.png"


def test_the_work_list_is_saved_as_csv_and_json(opened: Callable[..., Any], film: Path, tmp_path: Path) -> None:
    formula = tmp_path / "=2+5.png"
    formula.write_bytes(b"no picture")
    page = opened()
    load(page, film, formula)
    for button, name in (("#export-csv", "covidnet-lite.csv"), ("#export-json", "covidnet-lite.json")):
        with page.expect_download() as waited:
            page.click(button)
        assert waited.value.suggested_filename == name
        waited.value.save_as(tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "covidnet-lite.csv").open(newline="")))
    assert [row["name"] for row in rows] == [film.name, "'=2+5.png"]
    assert rows[0]["note"] == "Research use only; not a medical device."
    told = json.loads((tmp_path / "covidnet-lite.json").read_text())
    assert float(rows[0]["covid"]) == told[0]["probabilities"]["covid"]
    assert told[1]["status"] == "failed"
    assert "evidence" not in told[0]


def test_what_is_no_radiograph_is_refused_in_plain_words(opened: Callable[..., Any], tmp_path: Path) -> None:
    import numpy as np

    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)).save(noise)
    page = opened()
    load(page, noise)
    assert page.inner_text("#verdict") == "Not judged"
    assert "frontal chest radiograph" in page.inner_text("#because")
    assert page.locator("#bars li").count() == 0
    assert page.is_disabled("#opacity")


def test_keys_do_nothing_while_one_types_or_has_turned_them_off(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    load(page, film)
    page.focus("#comment")
    page.keyboard.type("irad?")
    assert page.input_value("#comment") == "irad?"
    assert page.get_attribute("#invert", "aria-pressed") == "false"
    page.focus("#canvas")
    page.keyboard.press("?")
    page.uncheck("#single-keys")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    assert page.get_attribute("#invert", "aria-pressed") == "false"


def test_a_phone_shows_all_without_scrolling_sideways(opened: Callable[..., Any], film: Path) -> None:
    page = opened(**PHONE)
    load(page, film)
    assert page.locator("html").bounding_box()["width"] <= 360
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360.5
    assert page.locator("#stage").bounding_box()["height"] > 300


@pytest.mark.parametrize("width", [360, 900])
def test_the_notice_stays_in_sight_however_far_one_scrolls(
    opened: Callable[..., Any], film_png: Path, width: int
) -> None:
    page = opened(**{**PHONE, "viewport": {"width": width, "height": 740}})
    load(page, film_png)
    page.click("#facts summary")  # which makes it long
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function("scrollY > 200")
    box = page.locator("#notice").bounding_box()
    assert 0 <= box["y"]
    assert box["y"] + box["height"] <= 80
    at = "([x, y]) => document.elementFromPoint(x, y).closest('#notice') !== null"
    assert page.evaluate(at, [box["x"] + 20, box["y"] + box["height"] / 2])  # nothing lies over it


def test_a_phone_is_not_scrolled_by_walking_through_the_list_but_goes_to_a_film_that_is_tapped(
    opened: Callable[..., Any], film_png: Path
) -> None:
    page = opened(**PHONE)
    load(page, *copies(film_png, 12))
    page.locator("#next").tap()
    page.keyboard.press("j")
    page.wait_for_timeout(200)
    assert page.inner_text("#position") == "3 / 12"
    assert page.evaluate("scrollY") == 0
    page.locator("#rows tr").nth(5).scroll_into_view_if_needed()
    page.locator("#rows tr button").nth(5).tap()
    page.wait_for_timeout(200)
    assert page.inner_text("#position") == "6 / 12"
    box = page.locator("#stage").bounding_box()  # which is what one wants to see
    assert -1 <= box["y"] < 740


def test_a_long_list_shows_the_film_that_is_looked_at(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened(viewport={"width": 1366, "height": 500})
    load(page, *copies(film_png, 12))
    for key, times in (("j", 11), ("k", 8)):
        for _ in range(times):
            page.keyboard.press(key)
        row, rows = (page.locator(at).bounding_box() for at in ("#rows .selected", ".rows"))
        assert rows["y"] + page.locator(".rows thead").bounding_box()["height"] <= row["y"] + 1
        assert row["y"] + row["height"] <= rows["y"] + rows["height"] + 1


def pictures_in_memory(page: Any) -> int:
    """How many decoded films the page still holds on to."""
    browser = page.context.new_cdp_session(page)
    browser.send("HeapProfiler.collectGarbage")
    prototype = browser.send("Runtime.evaluate", {"expression": "Object.prototype"})["result"]["objectId"]
    held = browser.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]["objectId"]
    count = "function () { return this.filter((one) => Object.hasOwn(one, 'pixels')).length; }"
    call = {"objectId": held, "functionDeclaration": count, "returnByValue": True}
    number = int(browser.send("Runtime.callFunctionOn", call)["result"]["value"])
    browser.detach()  # lets go of them, too
    return number


def test_of_many_films_the_browser_keeps_the_pictures_seen_last(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    asked: list[str] = []
    page.on(
        "request",
        lambda request: (
            asked.append(request.url) if "/v1/picture" in request.url and "side=" not in request.url else None
        ),
    )
    load(page, *copies(film_png, 12))
    page.click("#facts summary")
    for i in range(2, 13):
        page.keyboard.press("j")
        page.wait_for_selector(f"#position:has-text('{i} / 12')")
        page.wait_for_selector("#fact-list dd:has-text('after it was')")
    assert len(asked) == 12  # one for each, though the first was shown twice: without its answer, and with it
    assert pictures_in_memory(page) == 8
    page.keyboard.press("k")  # still there
    page.wait_for_selector("#stage-message", state="hidden")
    assert len(asked) == 12
    page.click("#rows tr:first-child button")  # gone, and fetched again
    page.wait_for_selector("#corner-size:has-text('×')")
    assert len(asked) == 13
    assert pictures_in_memory(page) == 8
    page.click("#clear")
    page.wait_for_timeout(200)
    assert pictures_in_memory(page) == 0


def test_the_time_on_screen_is_counted_from_when_one_began_to_wait(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    load(page, *copies(film_png, 2))
    page.click("#facts summary")
    first = page.wait_for_selector("#fact-list dd:has-text('after it was')").inner_text()
    assert first.endswith("ms after it was opened")
    page.wait_for_timeout(2500)
    page.keyboard.press("j")
    page.wait_for_selector("#corner-name:has-text('01.png')")
    second = page.wait_for_selector("#fact-list dd:has-text('after it was')").inner_text()
    assert second.endswith("ms after it was chosen")
    assert int(second.split()[0]) < 2500
    page.keyboard.press("k")
    assert first in page.inner_text("#fact-list")


def focused(page: Any) -> str:
    """What has the focus: its id, or its text."""
    page.wait_for_timeout(150)  # until the browser has taken it from what cannot have it
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"))


def test_the_focus_is_never_lost_to_what_is_disabled_hidden_or_drawn_anew(
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
    assert focused(page) == "canvas"  # there is no next

    page.keyboard.press("k")
    page.wait_for_selector("#opacity:enabled")
    page.focus("#opacity")
    page.keyboard.press("j")
    page.wait_for_selector("#opacity:disabled")
    assert focused(page) == "canvas"  # there is no map

    page.focus("th[data-sort=name] button")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert focused(page) == "Film"
    page.locator("#rows button", has_text="01.png").focus()
    page.evaluate("document.querySelector('th[data-sort=confidence] button').click()")
    assert focused(page) == "01.png"  # which is not the film that is looked at
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    assert focused(page) == page.inner_text("#corner-name") != "01.png"

    page.focus("#clear")
    page.keyboard.press("Enter")
    assert focused(page) == "choose"


def test_a_dialog_that_closes_gives_the_focus_back(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    load(page, *copies(film_png, 2))
    page.focus("#help-button")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused(page) == "help-button"
    page.focus("#rows button")
    page.keyboard.press("?")
    page.evaluate("document.querySelector('th[data-sort=name] button').click()")  # draws the rows anew
    page.keyboard.press("Escape")
    assert focused(page) == "canvas"


def test_a_dropped_film_is_opened(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    page.wait_for_selector("html[data-ready]")
    data = list(film_png.read_bytes())
    transfer = page.evaluate_handle(
        "(data) => { const t = new DataTransfer(); t.items.add(new File([new Uint8Array(data)], 'dropped.png')); return t; }",
        data,
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#rows tr")
    assert page.locator("#rows tr th").inner_text() == "dropped.png"
    page.wait_for_selector(DONE, state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 360])
def test_axe_finds_no_serious_barrier(opened: Callable[..., Any], film: Path, scheme: str, width: int) -> None:
    import axe_playwright_python

    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    for state in ("empty", "film", "help"):
        if state == "film":
            load(page, film)
        if state == "help":
            page.click("#help-button")
        page.wait_for_timeout(200)
        page.evaluate(script)
        found = page.evaluate("() => axe.run()")["violations"]
        serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
        assert serious == [], state


def test_a_token_is_asked_for_where_one_is_needed(browser: Any, film: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sixteen-or-more-letters")
    token.chmod(0o600)
    with serving("--token-file", token) as guarded:
        page = browser.new_context().new_page()
        page.set_default_timeout(20_000)
        page.goto(guarded.url)
        for _ in range(2):
            page.keyboard.press("Escape")
        assert page.is_visible("#token")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-error:has-text('not the right one')")
        page.fill("#token", token.read_text())
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-ready]")
        assert focused(page) == "choose"
        load(page, film)
        assert page.locator("#rows tr").count() == 1
        assert page.is_visible("#no-review")
        page.context.close()
