from __future__ import annotations

from dataclasses import replace

import numpy as np

from convert.judge import card
from convert.judge.guard import fit_guard
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest

SPEC = InputSpec(32, 40, 3, (0.0,) * 3, (255.0,) * 3, equalise=True)


def manifest(**more: object) -> Manifest:
    provenance = {"calibration": "9 pictures", "quantised": "min-max: all of it", "network_sha256": "abc"}
    return Manifest("net", ("a", "b|c"), SPEC, version="2", provenance=provenance, licence="CC0", **more)  # type: ignore[arg-type]


def test_it_says_what_people_must_know() -> None:
    text = card.write(manifest(), "int8", "in 8 bits", {"images": 7, "top-1 agreement": 0.99})
    assert text.startswith("# net 2\n")
    for told in ("32 x 40", "three equal channels", "equalised", "int8: in 8 bits", "9 pictures", "all of it", "CC0", "SHA-256 abc",
                 "| images | 7 |", "| top-1 agreement | 0.99 |", "Research use only; not a medical device."):  # fmt: skip
        assert told in text, told


def test_what_was_not_measured_or_stated_is_said() -> None:
    text = card.write(Manifest("net", ("a", "b"), InputSpec(8, 8)), "float16", "half", {})
    assert "Not measured: no labelled images were given." in text
    assert "licence of the weights | not stated" in text
    assert "Never: no validation images" in text
    assert "It has no guard" in text
    assert "equalised" not in text


def test_when_it_stays_silent_is_said() -> None:
    rng = np.random.default_rng(0)
    guard = fit_guard(rng.uniform(0, 1, (100, 40)), rng.uniform(0, 1, (50, 40)))
    text = card.write(manifest(threshold=0.75, guard=guard), "int8", "", {})
    assert "Below a confidence of 75.0%" in text
    assert "It refuses images unlike those it was trained on." in text
    turned = fit_guard(rng.uniform(0, 1, (100, 40)), rng.uniform(0, 1, (50, 40)), wrong={"turned": np.eye(40)[:9]})
    text = card.write(manifest(threshold=0.75, guard=turned), "int8", "", {})
    assert "trained on, and radiographs turned." in text


def test_a_classifier_of_anything_is_no_radiologist() -> None:
    assert "gray radiograph" in card.write(manifest(), "int8", "", {})
    assert "not what a person has" in card.write(manifest(), "int8", "", {})
    text = card.write(replace(manifest(), input=replace(SPEC, equalise=False)), "int8", "", {})
    assert "one gray image, 32 x 40" in text
    assert "person" not in text


def test_a_crop_is_said() -> None:
    given = manifest()
    assert "cropped to the lungs" not in card.write(given, "int8", "", {})
    cropping = replace(given, input=replace(given.input, lungs=b"finder"))
    assert "cropped to the lungs by the network in lungs.tflite" in card.write(cropping, "int8", "", {})


def test_a_label_cannot_break_the_table() -> None:
    line = next(line for line in card.write(manifest(), "int8", "", {}).splitlines() if "labels" in line)
    assert line == r"| labels | a, b\|c |"
