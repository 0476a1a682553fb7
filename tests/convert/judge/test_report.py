from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from convert.judge import report
from convert.judge.agreement import Agreement
from convert.judge.candidate import Candidate
from convert.judge.disagreement import Disagreement
from convert.quantisation.fallbacks import FALLBACKS, Attempt, Fallback
from convert.quantisation.layers import Layer
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.network.model import Model

FOUND = Agreement(200, 0.985, 0.0123, 100, 80, 78, 5, 3, ("ward/a.png", "ward/b.png", "ward/c.png"))
MANIFEST = Manifest("net", ("a", "b"), InputSpec(8, 8))


def candidate(scheme: str, size: int, latency: float, found: Agreement | None = FOUND) -> Candidate:
    return Candidate(scheme, Model(bytes(size), MANIFEST, f"hash of {scheme}", Path(scheme)), found, 0.99, latency, 4.0)


def layer(name: str, snr: float) -> Layer:
    return Layer(name, f"net/{name}", "CONV_2D", snr, (0.0, 6.0), (-0.5, 0.25), (0.001, 0.5))


def attempt(rung: Fallback, agreement: float) -> Attempt:
    nothing = dict.fromkeys(field.name for field in fields(Attempt))
    return Attempt(**{**nothing, "fallback": rung, "clip": rung.clip, "agreement": agreement, "wide": ()})  # type: ignore[arg-type]


def told(*candidates: Candidate, **more: object) -> report.Report:
    given = {
        "network": "net.keras",
        "network_sha256": "abc",
        "candidates": candidates or (candidate("int8", 2_000_000, 2.0), candidate("float32", 8_000_000, 4.0)),
        "attempts": [attempt(*a) for a in zip(FALLBACKS, (0.9, 0.985))],
        "layers": [layer(f"layer{i}", 5.0 + i) for i in range(20)],
        "calibration": "9 radiographs",
        "calibration_sha256": "def",
        "judged": "test split",
        "packages": {"tensorflow": "1.2.3"},
    }
    return report.Report(**{**given, **more})  # type: ignore[arg-type]


def test_figures_for_the_card_are_those_of_the_scheme() -> None:
    assert report.figures("int8", FOUND) == {
        "images": 200, "float accuracy": 0.8, "int8 accuracy": 0.78, "top-1 agreement": 0.985, "confidence drift": 0.0123,
    }  # fmt: skip
    assert report.figures("int16", replace(FOUND, labelled=0)).keys() == {
        "images",
        "top-1 agreement",
        "confidence drift",
    }
    assert report.figures("int8", None) == {}


def test_the_table_has_a_column_a_scheme() -> None:
    lines = report.to_text(told(), 8_000_000).splitlines()
    rows = {line[:22].strip(): line[22:].split() for line in lines if len(line) > 40}
    assert rows[""] == ["float", "int8", "float32"]
    assert rows["size"] == ["8.00", "MB", "2.00", "MB", "8.00", "MB"]
    assert rows["times as fast"] == ["1", "2.00", "1.00"]
    assert rows["top-1 agreement"] == ["98.50%", "98.50%"]
    assert rows["mean confidence drift"] == ["0.0123"] * 2
    assert rows["accuracy (95 %)"][0].startswith("80.0%")
    assert rows["accuracy (95 %)"][2].startswith("78.0%")
    assert rows["McNemar's p"] == ["0.73"] * 2  # exact, 3 against 5
    assert "judged on 200 images (test split), 100 of them labelled" in lines
    assert "not worth having, since another is better all round: float32" in lines


def test_the_table_without_images_says_what_to_do() -> None:
    text = report.to_text(told(candidate("int8", 2, 2.0, None)), 8)
    assert "not measured; pass --data" in text
    assert "agreement " not in text.split("agreement and accuracy")[0]
    unlabelled = report.to_text(told(candidate("int8", 2, 2.0, replace(FOUND, labelled=0))), 8)
    assert "accuracy (95 %)" not in unlabelled
    assert "98.50%" in unlabelled


def test_json_has_everything() -> None:
    result = json.loads(report.to_json(told()))
    int8, float32 = result["schemes"]
    assert (int8["scheme"], int8["bytes"], int8["sha256"]) == ("int8", 2_000_000, "hash of int8")
    assert (int8["dominated"], float32["dominated"]) == (False, True)
    assert (int8["latency_ms"], int8["float_latency_ms"], int8["times_as_fast_as_float"]) == (2.0, 4.0, 2.0)
    measured = int8["agreement"]
    assert measured["differing"] == list(FOUND.differing)
    assert (measured["top1"], measured["drift"]) == (0.985, 0.0123)
    assert measured["float_accuracy"] == pytest.approx({"share": 0.8, "low": 0.711, "high": 0.867}, abs=1e-3)
    assert measured["accuracy"]["share"] == 0.78
    assert measured["mcnemar_p"] == pytest.approx(0.7266, abs=1e-4)
    assert int8["agreement_on_all_held_out"] == 0.99
    assert len(result["layers"]) == 20
    assert result["layers"][0] == {
        "name": "layer0", "tensor": "net/layer0", "operation": "CONV_2D", "snr": 5.0, "range": [0, 6], "weights": [-0.5, 0.25], "channels": [0.001, 0.5], "lost": 0.0,
    }  # fmt: skip
    assert [(r["rung"], r["agreement"]) for r in result["rungs"]] == [("min-max", 0.9), ("percentile", 0.985)]
    assert (result["network"], result["network_sha256"], result["calibration"], result["calibration_sha256"]) == (
        "net.keras",
        "abc",
        "9 radiographs",
        "def",
    )
    assert result["packages"] == {"tensorflow": "1.2.3"}
    assert result["machine"].keys() == {"processor", "system", "python"}


def test_json_without_images_measures_nothing() -> None:
    (scheme,) = json.loads(report.to_json(told(candidate("int8", 2, 2.0, None))))["schemes"]
    assert scheme["agreement"] is None
    (scheme,) = json.loads(report.to_json(told(candidate("int8", 2, 2.0, replace(FOUND, labelled=0)))))["schemes"]
    assert scheme["agreement"]["accuracy"] is scheme["agreement"]["mcnemar_p"] is None


def test_markdown_says_it_to_people() -> None:
    text = report.to_markdown(told(), ["schemes.png", "layers.png", "ranges.png"])
    for part in (
        "# net.keras in int8, float32", "not a medical device", "**98.50%**", "80.0% (71.1%-86.7%)", "McNemar's exact p is 0.73",
        "| float32 | 8.00 MB | 1.00 |", "dominated", "| min-max | 90.00% |", "`layer0`", "5.0 dB", "0.001 to 0.5", "8 more are in report.json",
        "* `ward/a.png`", "SHA-256 of the images def", "| tensorflow | 1.2.3 |", "(schemes.png)", "(layers.png)", "(ranges.png)",
    ):  # fmt: skip
        assert part in text, part
    assert text.index("`layer0`") < text.index("`layer1`")
    assert "`layer12`" not in text


def test_markdown_without_images_says_so() -> None:
    text = report.to_markdown(told(candidate("dynamic", 2, 2.0, None), attempts=[], layers=[]), ["schemes.png"])
    assert "**not measured**" in text
    for part in ("Rungs", "Layers", "disagree"):
        assert part not in text


def test_near_ties_are_told_beside_the_agreement() -> None:
    torn = replace(FOUND, near=90, near_differing=2)
    markdown, text = (
        f(told(candidate("int8", 2, 2.0, torn)), x) for f, x in ((report.to_markdown, []), (report.to_text, 8))
    )  # type: ignore[operator]
    assert "Float hesitates on 90 of 200 images" in markdown
    assert "on the others the two agree in 99.09%" in markdown
    assert ["but", "for", "near", "ties", "99.09%"] in [line.split() for line in text.splitlines()]
    assert "float hesitates on 90 of 200 images" in text
    assert "hesitates" not in report.to_text(told(), 8)
    assert json.loads(report.to_json(told(candidate("int8", 2, 2.0, torn))))["schemes"][0]["agreement"][
        "clear"
    ] == pytest.approx(109 / 110)


def test_the_images_that_differ_most_are_pictured() -> None:
    one = Disagreement("ward/a.png", np.zeros((8, 8), np.uint8), 0.4, ("a", 0.9), ("b", 0.5))
    result = told(disagreements=[one]).contents()
    assert "![disagreements](disagreements.png)" in str(result["report.md"])
    assert str(result["report.md"]).count("disagreements.png") == 1
    assert bytes(result["disagreements.png"])[:4] == b"\x89PNG"  # type: ignore[arg-type]


def test_a_report_is_five_files() -> None:
    alone = told(candidate("int8", 2, 2.0), layers=[])
    assert alone.contents().keys() == {"report.json", "report.md"}, "one scheme would be a lone dot"
    assert told().contents().keys() == {"report.json", "report.md", "schemes.png", "layers.png", "ranges.png"}
    assert told(layers=[]).contents().keys() == {"report.json", "report.md", "schemes.png"}
