"""The page in a real browser."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from covidnet_lite.percent import percent

from .conftest import Server, serving
from .pages import PENDING, PHONE, colourfulness, copies, load, lung_colour

pytestmark = pytest.mark.slow  # a browser, for several minutes


def test_the_empty_page_states_that_it_is_no_medical_device_and_passes_nothing_on(opened: Callable[..., Any]) -> None:
    page = opened()
    page.wait_for_selector("html[data-ready]")
    assert "Not a medical device" in page.inner_text("#notice")
    assert "passes nothing on" in page.inner_text("#welcome")
    assert page.is_hidden("#review")


def test_the_empty_page_states_what_the_server_stores(
    opened: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    def note(page: Any) -> str:
        page.wait_for_selector("html[data-ready]")
        return str(page.inner_text("#storage-note"))

    with serving() as plain:
        assert "It stores nothing." in note(opened(plain.url))
    with serving("--reviews", tmp_path / "reviews.sqlite") as reviewing:
        assert "the reviews that you save, with file names but without images." in note(opened(reviewing.url))
    storing = note(opened(server.url))
    assert "the reviews that you save, with file names and images." in storing
    assert "stores nothing" not in storing


def test_a_radiograph_is_shown_with_answer_probabilities_and_provenance(
    opened: Callable[..., Any], server: Server, film: Path
) -> None:
    page = opened()
    load(page, film)
    (result,) = server.classify(film).json()["results"]
    for label, share in result["probabilities"].items():
        bar = page.locator("#bars li", has_text=label)
        assert bar.locator(".share").text_content() == percent(share)
        assert float(bar.locator("meter").get_attribute("value")) == pytest.approx(share)
    details = page.text_content("#detail-list")
    assert result["sha256"] in details
    assert re.search(r"read \d+\.\d", details)
    assert "PA" in details  # from the header
    verdict, explanation = page.inner_text("#verdict"), page.inner_text("#explanation")
    assert verdict == (f"Resembles {result['label']}" if result["label"] else "No answer")
    assert "not a diagnosis" in explanation or "says nothing" in explanation


def test_an_answer_of_several_labels_comes_with_extent_zone_and_track_record(
    opened: Callable[..., Any], film: Path, narrowing: Path
) -> None:
    with serving("--model", narrowing) as server:
        page = opened(server.url)
        load(page, film)
        assert page.inner_text("#verdict") == "Not normal; pneumonia or covid"
        assert re.search(r"about \d+% of the lungs \(average error: 9% of the lungs\)", page.inner_text("#findings"))
        (result,) = server.classify(film).json()["results"]
        assert result["place"]["main"] in page.inner_text("#findings")
        assert "right on 94% of radiographs; 29% of radiographs get no answer" in page.inner_text("#track-record")
        assert page.input_value("#evidence-label") == "not normal"
        page.wait_for_selector("#map-legend:has-text('Evidence for not normal, logits: 0')")
        assert page.inner_text("#rows td.word") == "not normal"
        assert float(page.inner_text("#map-maximum")) > 0


def test_an_abstention_shows_no_map_and_no_probabilities_until_the_user_opens_them(
    opened: Callable[..., Any], film: Path, abstaining: Path
) -> None:
    with serving("--model", abstaining) as server:
        page = opened(server.url)
        load(page, film)
        assert page.inner_text("#verdict") == "No answer"
        assert page.is_hidden("#map-legend")
        colour = lung_colour(page)
        assert max(colour) - min(colour) <= 2  # gray
        assert page.is_hidden("#bars")
        text = page.inner_text(".panel") + page.inner_text(".list")
        assert not re.search("covid(?!net)|pneumonia|normal", text)
        page.select_option("#evidence-label", "covid")
        page.wait_for_selector("#map-legend:has-text('Evidence for covid (no answer)')")
        page.click("#probabilities-title")
        assert page.is_visible("#bars")


def test_the_slider_fades_the_evidence_map(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    load(page, film)
    page.fill("#opacity", "100")

    def shown(label: str) -> int:
        page.select_option("#evidence-label", label)
        return colourfulness(page)

    # All maps share a scale, so that only that of the class with the strongest evidence is sure to be seen.
    assert max(map(shown, ("normal", "pneumonia", "covid"))) > 10
    page.fill("#opacity", "0")
    assert colourfulness(page) <= 2
    page.keyboard.press("h")
    assert page.input_value("#opacity") != "0"


def test_window_level_invert_zoom_and_reset_do_what_radiologists_expect(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    load(page, film)
    page.fill("#opacity", "0")
    before = lung_colour(page)
    page.keyboard.press("i")
    assert lung_colour(page)[0] == pytest.approx(255 - before[0], abs=6)
    page.keyboard.press("r")
    assert lung_colour(page) == before
    canvas = page.locator("#canvas").bounding_box()
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down(button="right")
    page.mouse.move(x, y - 80)
    page.mouse.up(button="right")
    assert lung_colour(page)[0] > before[0]  # a lower level is brighter
    assert "L 80" in page.inner_text("#corner-window")
    page.mouse.wheel(0, -600)
    zoomed = page.inner_text("#corner-window")
    page.keyboard.press("r")
    page.wait_for_timeout(100)
    assert page.inner_text("#corner-window") != zoomed
    assert lung_colour(page) == before


def test_the_work_list_is_sorted_and_stepped_through_by_keys(
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
    assert "not an image format" in page.inner_text("#explanation")
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
    records = json.loads((tmp_path / "covidnet-lite.json").read_text())
    assert float(rows[0]["covid"]) == records[0]["probabilities"]["covid"]
    assert records[1]["status"] == "failed"
    assert "evidence" not in records[0]


def test_an_image_that_is_no_radiograph_is_refused_in_plain_words(opened: Callable[..., Any], tmp_path: Path) -> None:
    import numpy as np

    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)).save(noise)
    page = opened()
    load(page, noise)
    assert page.inner_text("#verdict") == "Not classified"
    assert "frontal chest radiograph" in page.inner_text("#explanation")
    assert page.locator("#bars li").count() == 0
    assert page.is_disabled("#opacity")


def test_single_keys_do_nothing_while_the_user_types_or_has_turned_them_off(
    opened: Callable[..., Any], film: Path
) -> None:
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


def test_a_phone_shows_everything_without_scrolling_sideways(opened: Callable[..., Any], film: Path) -> None:
    page = opened(**PHONE)
    load(page, film)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360.5
    assert page.locator("#stage").bounding_box()["height"] > 300


@pytest.mark.parametrize("width", [360, 900])
def test_the_notice_stays_in_view_while_the_page_scrolls(
    opened: Callable[..., Any], film_png: Path, width: int
) -> None:
    page = opened(**{**PHONE, "viewport": {"width": width, "height": 740}})
    load(page, film_png)
    page.click("#details summary")  # which makes it long
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function("scrollY > 200")
    box = page.locator("#notice").bounding_box()
    assert 0 <= box["y"]
    assert box["y"] + box["height"] <= 80
    on_top = "([x, y]) => document.elementFromPoint(x, y).closest('#notice') !== null"
    assert page.evaluate(on_top, [box["x"] + 20, box["y"] + box["height"] / 2])


def test_on_a_phone_keys_do_not_scroll_and_a_tap_scrolls_to_the_radiograph(
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
    box = page.locator("#stage").bounding_box()
    assert -1 <= box["y"] < 740


def test_a_long_list_scrolls_to_the_selected_radiograph(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened(viewport={"width": 1366, "height": 500})
    load(page, *copies(film_png, 12))
    height = page.locator("#rows").bounding_box()["height"]
    for key, times in (("j", 11), ("k", 8)):
        for _ in range(times):
            page.keyboard.press(key)
        row, rows = (page.locator(place).bounding_box() for place in ("#rows .selected", ".rows"))
        assert rows["y"] + page.locator(".rows thead").bounding_box()["height"] <= row["y"] + 1
        assert row["y"] + row["height"] <= rows["y"] + rows["height"] + 1
    page.wait_for_selector("#rows tr:last-child canvas.thumbnail")
    assert page.locator("#rows").bounding_box()["height"] == height  # thumbnails do not move the rows


def images_in_memory(page: Any) -> int:
    """How many decoded radiographs the page still refers to."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    prototype = session.send("Runtime.evaluate", {"expression": "Object.prototype"})["result"]["objectId"]
    objects = session.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]["objectId"]
    count = "function () { return this.filter((object) => Object.hasOwn(object, 'pixels')).length; }"
    call = {"objectId": objects, "functionDeclaration": count, "returnByValue": True}
    number = int(session.send("Runtime.callFunctionOn", call)["result"]["value"])
    session.detach()  # releases the objects
    return number


def test_the_browser_keeps_the_images_that_were_viewed_last(opened: Callable[..., Any], film_png: Path) -> None:
    page = opened()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if "/v1/picture" in request.url else None)

    def images_requested() -> int:
        return sum("side=" not in url for url in requests)  # without the thumbnails

    load(page, *copies(film_png, 12))
    page.click("#details summary")
    for i in range(2, 13):
        page.keyboard.press("j")
        page.wait_for_selector(f"#position:has-text('{i} / 12')")
        page.wait_for_selector("#detail-list dd:has-text('after it was')")
    assert images_requested() == 12  # one each, although the first was shown twice: without and with its answer
    assert images_in_memory(page) == 8
    page.keyboard.press("k")  # still there
    page.wait_for_selector("#stage-message", state="hidden")
    assert images_requested() == 12
    page.click("#rows tr:first-child button")  # no longer in memory
    page.wait_for_selector("#corner-size:has-text('×')")
    assert images_requested() == 13
    assert images_in_memory(page) == 8
    page.click("#clear")
    page.wait_for_timeout(200)
    assert images_in_memory(page) == 0


def test_the_time_on_screen_starts_when_the_user_opens_or_chooses_a_radiograph(
    opened: Callable[..., Any], film_png: Path
) -> None:
    page = opened()
    start = time.monotonic()
    load(page, *copies(film_png, 2))
    page.click("#details summary")
    first = page.wait_for_selector("#detail-list dd:has-text('after it was')").inner_text()
    assert first.endswith("ms after it was opened")
    page.wait_for_timeout(2500)
    page.keyboard.press("j")
    page.wait_for_selector("#corner-name:has-text('01.png')")
    second = page.wait_for_selector("#detail-list dd:has-text('after it was')").inner_text()
    assert second.endswith("ms after it was chosen")
    since_opened = 1000 * (time.monotonic() - start)
    assert int(second.split()[0]) < since_opened - 2500
    page.keyboard.press("k")
    assert first in page.inner_text("#detail-list")


def test_a_dropped_radiograph_is_opened(opened: Callable[..., Any], film_png: Path) -> None:
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
    page.wait_for_selector(PENDING, state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 360])
def test_axe_reports_no_serious_barrier(opened: Callable[..., Any], film: Path, scheme: str, width: int) -> None:
    import axe_playwright_python

    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    for state in ("empty", "radiograph", "help"):
        if state == "radiograph":
            load(page, film)
        if state == "help":
            page.click("#help-button")
        page.wait_for_timeout(200)
        page.evaluate(script)
        violations = page.evaluate("() => axe.run()")["violations"]
        serious = [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]
        assert serious == [], state
