"""The viewer, the work list's patient data, and printing."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicoms
import numpy as np
import pytest
from conftest import drawn_chest
from PIL import Image

from .conftest import Server, serving
from .pages import fields, load, lung_colour

pytestmark = pytest.mark.slow  # a browser, for several minutes


def dicom(path: Path, number: int = 1, **elements: Any) -> Path:
    """A made-up radiograph of 400 x 500 pixels, brighter at the patient's right."""
    pixels = np.asarray(drawn_chest(number, opaque=True, side=500))[:, :400].astype(np.uint16) * 16
    pixels[:, :60] = 4000
    data = dicoms.dataset(pixels, **dicoms.IDENTITY)
    data.BitsStored, data.HighBit = 12, 11
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    data.PatientName, data.PatientID, data.StudyDate, data.AccessionNumber = "Roe^Jane", "p17", "20260102", "a5"
    data.PatientOrientation, data.PixelSpacing = ["L", "F"], [0.5, 0.25]
    data.WindowCenter, data.WindowWidth = [2000, 1000], [4000, 2000]
    for name, value in elements.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def edges(page: Any) -> str:
    page.wait_for_timeout(150)
    return "".join(page.inner_text(f"#edge-{edge}") for edge in ("top", "right", "bottom", "left"))


def drawn_texts(page: Any) -> list[str]:
    """The texts that the page draws on its canvases from now on."""
    texts: list[str] = []
    page.expose_function("drawText", lambda text: texts.append(text))
    page.evaluate("""() => {
        const before = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
            window.drawText(text);
            return before.call(this, text, ...rest);
        };
    }""")
    return texts


def test_the_work_list_shows_patients_and_is_searched(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened()
    long = dicom(tmp_path / "portable-film-of-ward-seven-before-drainage-in-the-evening.dcm")
    other = dicom(tmp_path / "b.dcm", 2, PatientName="Poe^Ann", PatientID="p18")
    load(page, long, other)
    page.wait_for_selector("#rows tr:nth-child(2) canvas.thumbnail")
    assert page.locator("#rows tr .patient").all_inner_texts() == [
        "Roe, Jane · p17 · 2026-01-02 · a5",
        "Poe, Ann · p18 · 2026-01-02 · a5",
    ]
    name = page.locator("#rows button").first
    assert name.inner_text() == long.name
    assert name.evaluate("node => node.scrollWidth <= node.clientWidth")  # not cut off
    page.focus("#canvas")
    page.keyboard.press("/")
    page.keyboard.type("poe 2026")
    assert page.locator("#rows button").all_inner_texts() == ["b.dcm"]
    page.keyboard.press("j")  # typed into the search, not a shortcut
    assert page.locator("#rows tr").count() == 0
    assert page.is_visible("#no-match")
    page.fill("#search", "")
    answers = page.locator("#answer-filter option").all_inner_texts()
    page.select_option("#answer-filter", answers[1])
    assert {*page.locator("#rows td.word").all_inner_texts()} == {answers[1]}


def test_patient_data_stay_on_the_screen(opened: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    page = opened()
    path = dicom(tmp_path / "a.dcm")
    responses: list[str] = []
    page.on("response", lambda response: "/v1/classify" in response.url and responses.append(response.text()))
    load(page, path)
    assert responses
    exports = []
    for button in ("#export-csv", "#export-json"):
        with page.expect_download() as waited:
            page.click(button)
        exports.append(Path(waited.value.path()).read_text())
    for text in (*responses, *exports):
        assert not any(word in text for word in ("Roe", "Jane", "p17", '"a5"'))


def test_side_markers_follow_rotations_and_flips(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened()
    load(page, dicom(tmp_path / "a.dcm"))
    assert edges(page) == "HLFR"
    page.keyboard.press("t")
    assert edges(page) == "RHLF"
    page.keyboard.press("f")
    assert edges(page) == "RFLH"
    page.keyboard.press("r")
    page.keyboard.press("f")
    assert edges(page) == "HRFL"
    page.keyboard.press("r")
    assert edges(page) == "HLFR"
    load(page, dicom(tmp_path / "b.dcm", 2, PatientOrientation=["R", "F"]))
    page.keyboard.press("j")
    page.wait_for_selector("#corner-name:has-text('b.dcm')")
    assert edges(page) == "HRFL"


def test_a_rotated_radiograph_is_drawn_rotated(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened(viewport={"width": 1500, "height": 900})
    load(page, dicom(tmp_path / "a.dcm"))

    def bright() -> tuple[float, float]:
        """The median position of the white pixels: across and down, 0 to 1 of the stage."""
        page.wait_for_timeout(150)
        shot = np.asarray(Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("L")) > 240
        rows, columns = np.nonzero(shot)
        return float(np.median(columns) / shot.shape[1]), float(np.median(rows) / shot.shape[0])

    across, down = bright()
    assert across < 0.45
    assert down == pytest.approx(0.5, abs=0.1)
    page.keyboard.press("t")  # clockwise: the left side comes to the top
    across, down = bright()
    assert down < 0.4
    page.keyboard.press("f")
    assert bright()[1] < 0.4
    page.keyboard.press("r")
    page.keyboard.press("f")
    assert bright()[0] > 0.55


@pytest.mark.parametrize(
    ("elements", "length"),
    [({}, "mm"), ({"PixelSpacing": None, "ImagerPixelSpacing": [0.5, 0.25]}, "at the detector"), (None, "px")],
)
def test_the_ruler_measures_in_millimetres_where_the_header_says(
    opened: Callable[..., Any], tmp_path: Path, elements: dict[str, Any] | None, length: str
) -> None:
    page = opened()
    path = dicom(tmp_path / "a.dcm", **(elements or {}))
    if elements is None:
        path = tmp_path / "a.png"
        Image.new("L", (400, 500), 90).save(path)
    load(page, path)
    texts = drawn_texts(page)
    page.keyboard.press("m")
    page.keyboard.press("1")  # one pixel of the radiograph per pixel of the screen
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y)
    page.mouse.down()
    page.mouse.move(x + 50, y)
    page.mouse.up()
    page.wait_for_timeout(200)
    expected = {"mm": "25.0 mm", "at the detector": "25.0 mm at the detector", "px": "100 px"}[length]
    assert texts[-1] == expected
    page.keyboard.press("m")
    assert page.get_attribute("#ruler", "aria-pressed") == "false"


def test_window_and_level_are_shown_in_the_units_of_the_file_and_its_windows_are_presets(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    page = opened()
    load(page, dicom(tmp_path / "a.dcm"))
    assert "DICOM W 4000 L 2000" in page.inner_text("#corner-window")
    page.select_option("#preset", label="window 2 of the file")
    page.wait_for_selector("#corner-window:has-text('DICOM W 2000 L 1000')")
    page.select_option("#preset", label="window 1 of the file")
    page.wait_for_selector("#corner-window:has-text('DICOM W 4000 L 2000')")


def test_the_magnifier_enlarges_the_place_under_the_pointer(opened: Callable[..., Any], film: Path) -> None:
    page = opened()
    load(page, film)
    before = lung_colour(page)
    box = page.locator("#canvas").bounding_box()
    page.keyboard.press("z")
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    assert lung_colour(page) != before
    page.keyboard.press("z")
    assert lung_colour(page) == before


def test_a_prior_of_the_same_patient_is_offered_first_and_shown_beside_the_radiograph(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    page = opened()
    now = dicom(tmp_path / "now.dcm", 1)
    other = dicom(tmp_path / "other.dcm", 2, PatientID="p18")
    prior = dicom(tmp_path / "prior.dcm", 3, StudyDate="20250301")
    load(page, now, other, prior)
    assert page.locator("#compared option").all_inner_texts() == [
        "none", "same patient: 2025-03-01 prior.dcm", "2026-01-02 other.dcm"
    ]  # fmt: skip
    texts = drawn_texts(page)
    page.select_option("#compared", label="same patient: 2025-03-01 prior.dcm")
    page.wait_for_selector("#corner-compared:has-text('prior.dcm')")
    page.wait_for_timeout(400)
    left, right = (page.locator(canvas).bounding_box() for canvas in ("#canvas", "#compared-canvas"))
    assert left["x"] + left["width"] <= right["x"] + 1
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#compared-canvas").screenshot())).convert("L"))
    assert shot.max() > 200
    assert {"R", "L"} <= {*texts}  # the compared radiograph has its own side markers
    page.select_option("#compared", label="none")
    assert page.is_hidden("#compared-canvas")


# Replaces the first result by the guard's refusal of a radiograph that is upside down.
UPSIDE_DOWN = """() => {
    const before = Response.prototype.json;
    const reason = "looks like a radiograph upside down; show one alone, upright, with white bones";
    const refused = { status: "refused", code: "shown-wrongly", reason, labels: [], label: null, probabilities: {} };
    Response.prototype.json = async function () {
        const body = await before.call(this);
        if (body.results) Response.prototype.json = before;
        return body.results ? { results: [{ ...body.results[0], ...refused, evidence: null }] } : body;
    };
}"""


def test_one_click_corrects_a_radiograph_that_is_upside_down(
    opened: Callable[..., Any], server: Server, film_image: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "down.png"
    film_image.transpose(Image.Transpose.ROTATE_180).save(path)
    page = opened()
    page.wait_for_selector("html[data-ready]")
    page.evaluate(UPSIDE_DOWN)
    load(page, path)
    assert "upside down" in page.inner_text("#explanation")
    page.click("#correct")
    page.wait_for_selector("#corner-name:has-text('(corrected)')")
    page.wait_for_selector(".word.pending", state="detached")
    assert page.is_hidden("#correct")
    digest = re.findall("SHA-256 ([0-9a-f]{64})", page.text_content("#detail-list"))[-1]
    corrected = server.client.get(f"/v1/picture/{digest}", params={"full": "1"}).content.partition(b"255\n")[2]
    assert corrected == film_image.tobytes()


def images_of(pdf: bytes) -> list[list[tuple[float, float, float, float]]]:
    """The boxes of the images of a PDF, page by page, in points."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    document = pypdfium2.PdfDocument(pdf)
    return [[item.get_bounds() for item in page.get_objects() if item.type == 3] for page in document]


def text_of(pdf: bytes) -> str:
    import pypdfium2

    return "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(pdf))


@pytest.mark.parametrize("rotated", [False, True])
def test_a_printed_radiograph_is_undistorted_with_answer_probabilities_and_patient(
    opened: Callable[..., Any], narrowing: Path, tmp_path: Path, rotated: bool
) -> None:
    with serving("--model", narrowing) as server:
        page = opened(server.url)
        load(page, dicom(tmp_path / "a.dcm"))
        if rotated:
            page.keyboard.press("t")
            page.wait_for_timeout(150)
        pdf = page.pdf()
        ((box,),) = images_of(pdf)
        width, height = box[2] - box[0], box[3] - box[1]
        assert width / height == pytest.approx(5 / 4 if rotated else 4 / 5, rel=0.01)
        text = text_of(pdf)
        for words in ("Research use only", page.inner_text("#verdict"), "Roe, Jane", "2026-01-02", "Network"):
            assert words in text, words
        assert ("covid" in text) == (page.get_attribute("#answer", "data-status") == "narrowed")
        for button in ("Invert", "Save CSV", "Clear"):
            assert button not in text


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_a_printed_answer_fits_on_one_page(opened: Callable[..., Any], narrowing: Path, film: Path, paper: str) -> None:
    with serving("--model", narrowing) as server:
        page = opened(server.url)
        load(page, film)
        page.wait_for_selector("#map-legend:has-text('Evidence for not normal')")
        pdf = page.pdf(format=paper)
        assert len(images_of(pdf)) == 1
        for words in ("average error", "Evidence for not normal, logits", "Track record", "Printed"):
            assert words in text_of(pdf), words


def test_all_radiographs_are_printed_one_per_page(
    opened: Callable[..., Any], narrowing: Path, film: Path, tmp_path: Path
) -> None:
    with serving("--model", narrowing) as server:
        page = opened(server.url)
        load(page, film, dicom(tmp_path / "a.dcm"))
        page.evaluate("""() => {
            window.print = () => {
                window.dispatchEvent(new Event("beforeprint"));
                document.documentElement.dataset.printed = "true";
            };
        }""")
        page.click("#print-all")
        page.wait_for_selector("html[data-printed]")
        assert page.locator("#sheets .sheet").count() == 2
        sheets = page.locator("#sheets").inner_html()
        page.evaluate("window.addEventListener('beforeprint', (event) => event.stopImmediatePropagation(), true)")
        assert sheets.count("<canvas") == 2
        assert "Not for diagnosis" in sheets
        assert fields(page) is not None
