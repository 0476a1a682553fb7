"""Results as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from covidnet_lite.errors import InputError
from covidnet_lite.evidence.place import ZONES, Place
from covidnet_lite.output import unique_names, writer
from covidnet_lite.prediction import DISCLAIMER, Failure, Prediction

LABELS = ("normal", "pneumonia", "covid")
SHARES = {"normal": 0.1, "pneumonia": 0.2, "covid": 0.7}
TIMINGS = {"read": 1.0, "run": 2.5}


def make_result(name, status, labels, reason, probabilities, distance, **more):
    return Prediction(
        name, status, labels, reason, probabilities, TIMINGS, "tiny", "ab" * 32, distance=distance, **more
    )


ZONES = dict.fromkeys(ZONES, 0.0) | {"right lower": 0.9}
NARROWED = make_result(
    "n.png", "narrowed", ("pneumonia", "covid"), "pneumonia or covid: the network is not sure enough which of them", SHARES, 1.0,
    negative="normal", extent=0.31, extent_error=0.09, place=Place(0.9, ZONES, "right lower zone"),
    track_record="such an answer was right on 94% of radiographs",
)  # fmt: skip
RESULTS = [
    make_result("x/a.png", "answered", ("covid",), None, SHARES, 1.25),
    make_result('b, "é".png', "unsure", (), "unsure: not sure enough", SHARES, None),
    make_result("cat.jpg", "refused", (), "does not look like a chest", {}, 9.0),
    Failure("gone.png", InputError("gone.png: no such file; check the path")),
]


def report(form, results=RESULTS, **options):
    out = io.StringIO()
    results_writer = writer(form, out, LABELS, **options)
    for result in results:
        results_writer.add(result)
    results_writer.close()
    return out.getvalue()


@pytest.mark.parametrize("results", [RESULTS, RESULTS[:1], []])
def test_json_is_one_list_of_every_result(results):
    assert json.loads(report("json", results)) == [result.to_dict() for result in results]


@pytest.mark.parametrize("results", [RESULTS, []])
def test_json_lines_have_one_object_a_line(results):
    assert [json.loads(line) for line in report("jsonl", results).splitlines()] == [r.to_dict() for r in results]


def test_every_json_result_carries_the_disclaimer():
    assert {result["note"] for result in json.loads(report("json"))} == {DISCLAIMER}


def test_csv_has_one_row_a_result_in_the_same_columns():
    answered, unsure, refused, failed = csv.DictReader(io.StringIO(report("csv")))
    assert answered == {
        "name": "x/a.png", "status": "answered", "label": "covid",
        "normal": "0.100000", "pneumonia": "0.200000", "covid": "0.700000", "labels": "covid",
        "extent": "", "extent_error": "", "place": "", "inside": "",
        "distance": "1.250", "total_ms": "3.500", "code": "", "reason": "",
        "model": "tiny", "sha256": "ab" * 32, "signed_by": "", "note": DISCLAIMER, "heatmap": "",
    }  # fmt: skip
    assert (unsure["name"], unsure["label"], unsure["covid"], unsure["distance"]) == ('b, "é".png', "", "0.700000", "")
    assert (refused["status"], refused["covid"], refused["distance"]) == ("refused", "", "9.000")
    assert refused["reason"] == "does not look like a chest"
    assert (failed["status"], failed["reason"]) == ("failed", "gone.png: no such file; check the path")
    assert (failed["normal"], failed["total_ms"], failed["model"], failed["note"]) == ("", "", "", DISCLAIMER)


def test_csv_has_its_header_also_without_results():
    assert report("csv", []).splitlines()[0].split(",")[:6] == ["name", "status", "label", *LABELS]
    assert len(report("csv", []).splitlines()) == 1


def test_a_table_lines_up_and_names_every_file():
    lines = report("table").splitlines()
    assert lines[0].split() == ["answer", *LABELS, "file"]
    assert lines[1].split() == ["covid", "10.0%", "20.0%", "70.0%", "x/a.png"]
    assert lines[2].split()[:4] == ["unsure", "-", "-", "-"]  # an abstention shows no finding
    assert lines[3].strip() == "unsure: not sure enough"
    assert lines[4].split() == ["refused", "-", "-", "-", "cat.jpg"]
    assert lines[6].split() == ["failed", "-", "-", "-", "gone.png"]
    assert lines[7].strip() == "gone.png: no such file; check the path"
    assert lines[8:] == [DISCLAIMER]
    starts = [lines[i].index(name) for i, name in ((0, "file"), (1, "x/a"), (2, "b, "), (4, "cat"), (6, "gone"))]
    assert len(set(starts)) == 1


def test_a_narrowed_answer_says_what_is_left_how_much_and_where():
    lines = report("table", [NARROWED, RESULTS[1]]).splitlines()
    assert lines[1].split() == ["not", "normal", "10.0%", "20.0%", "70.0%", "n.png"]
    assert lines[2].strip() == "not normal; pneumonia or covid"
    assert lines[3].strip() == (
        "opacity in about 31% of the lungs (off by 9% of the lungs on average); evidence: right lower zone"
    )
    assert lines[-2] == "not normal; pneumonia or covid: such an answer was right on 94% of radiographs"
    assert lines[1].index("n.png") == lines[0].index("file")
    (row,) = csv.DictReader(io.StringIO(report("csv", [NARROWED])))
    assert (row["status"], row["label"], row["labels"]) == ("narrowed", "", "pneumonia|covid")
    assert (row["extent"], row["extent_error"]) == ("0.3100", "0.0900")
    assert (row["place"], row["inside"]) == ("right lower zone", "0.9000")


def test_a_probability_is_not_rounded_to_certainty():
    sure = replace(RESULTS[0], probabilities={"normal": 0.0002, "pneumonia": 0.0002, "covid": 0.9996})
    assert report("table", [sure]).splitlines()[1].split()[:4] == ["covid", "<0.1%", "<0.1%", ">99.9%"]


def test_a_table_shows_timings_when_asked():
    assert "read 1.00 ms  run 2.50 ms" in report("table", timings=True)
    assert " ms" not in report("table")


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_each_result_is_out_as_soon_as_it_is_added(form):
    raw = io.BytesIO()
    results_writer = writer(form, io.TextIOWrapper(raw, encoding="utf-8"), LABELS)
    for result in RESULTS:
        before = len(raw.getvalue())
        results_writer.add(result)
        assert result.name[-5:].encode() in raw.getvalue()[before:]


def test_pictures_get_different_names_in_one_folder():
    paths = ["a/x.png", "a/X.dcm", "b/x.dcm", "c/x-2.jpg", "x.png", "<bytes>", "<bytes>", ""]
    names = unique_names(paths)
    assert names == [f"{n}.evidence.png" for n in ("a/x", "a/X-2", "b/x", "c/x-2", "x", "bytes", "bytes-2", "image")]


def test_names_stay_in_the_order_of_the_paths():
    assert unique_names(["b.png", "a.png"]) == ["b.evidence.png", "a.evidence.png"]
    assert unique_names([]) == []


def test_a_name_too_long_for_a_disk_is_shortened() -> None:
    from covidnet_lite.output import shortened

    for stem in ("a" * 300, "ä" * 200, "a" * 245):
        name = shortened(stem, ".12345678.sr.dcm")
        assert len(name.encode()) <= 255
        assert name.endswith(".12345678.sr.dcm")
    assert shortened("film", ".sr.dcm") == "film.sr.dcm"
    long = unique_names(["x/" + "a" * 250 + ".png", "x/" + "a" * 250 + ".dcm"])
    assert len({*long}) == 2
    assert all(len(Path(name).name) <= 255 for name in long)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_holds_no_formula(start: str) -> None:
    (row,) = csv.DictReader(
        io.StringIO(report("csv", [Failure(f"{start}2+5.png", InputError(f"{start}1+1"))]), newline="")
    )
    assert (row["name"], row["reason"]) == (f"'{start}2+5.png", f"'{start}1+1")
