"""How an image is prepared for a network, in words and numbers."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from covidnet_lite.network.input_spec import InputSpec

THREE: dict[str, Any] = {"channels": 3, "mean": (124.0, 116.0, 104.0), "std": (58.0, 57.0, 56.0)}
SPECS = [
    InputSpec(96, 128),
    InputSpec(1, 1, equalise=True),
    InputSpec(96, 128, **THREE),
    InputSpec(96, 128, **THREE, colour="rgb"),
    InputSpec(96, 128, **THREE, colour="bgr"),
    InputSpec(96, 128, lungs=b"finder"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_survives_json(spec: InputSpec) -> None:
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict())), spec.lungs) == spec


def test_a_spec_is_written_in_the_types_of_json_and_names_a_colour_only_for_a_network_in_colour() -> None:
    plain = {"height": 96, "width": 128, "channels": 1, "mean": [127.0], "std": [128.0], "equalise": False}
    assert InputSpec(96, 128).to_dict() == plain  # as it always was: the shipped files stay the same to the byte
    assert InputSpec(96, 128, lungs=b"finder").to_dict() == {**plain, "lungs": hashlib.sha256(b"finder").hexdigest()}
    three = {name: list(value) if name != "channels" else value for name, value in THREE.items()}
    assert InputSpec(96, 128, **THREE, colour="bgr").to_dict() == {**plain, **three, "colour": "bgr"}


SIZE, STD = "height and width must be positive whole numbers, not ", "std must be "


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"height": 0}, SIZE + "0 x 8"),
        ({"width": -1}, SIZE + "8 x -1"),
        ({"height": 8.0}, SIZE + "8.0 x 8"),
        ({"width": True}, SIZE + "8 x True"),
        ({"channels": 2}, "channels must be 1 or 3, not 2"),
        ({"channels": 3}, "mean needs one value per channel (3)"),
        ({"mean": (1.0, 2.0)}, "mean needs one value per channel (1)"),
        ({"mean": ("1",)}, "mean must be finite numbers, not ('1',)"),
        ({"std": ()}, "std needs one value per channel (1)"),
        ({"std": (float("nan"),)}, STD + "finite numbers, not (nan,)"),
        ({"std": (0.0,)}, STD + "positive, not (0.0,)"),
        ({"std": (1e-6,)}, STD + "positive, not (1e-06,)"),
        ({"std": (1e9,)}, STD + "positive, not (1000000000.0,)"),
        ({"lungs": "finder"}, "lungs must be the bytes of a .tflite, not str"),
        ({"colour": "cmyk"}, "colour must be one of gray, rgb, bgr, not 'cmyk'"),
        *(
            (
                {"colour": "bgr", **fields},
                "colour bgr needs 3 channels, and neither equalise nor lungs, which are for gray radiographs",
            )
            for fields in ({}, {**THREE, "equalise": True}, {**THREE, "lungs": b"finder"})
        ),
    ],
)
def test_a_spec_out_of_range_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        InputSpec(**{"height": 8, "width": 8, **fields})


@pytest.mark.parametrize("fields", [{"height": 8}, {"height": 8, "width": 8, "depth": 3}])
def test_a_spec_with_a_missing_or_unknown_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        InputSpec.from_dict(fields)


@pytest.mark.parametrize(("spec", "held"), [(SPECS[5], b""), (SPECS[5], b"another"), (SPECS[0], b"finder")])
def test_a_network_that_finds_the_lungs_has_to_be_the_one_that_is_named(spec: InputSpec, held: bytes) -> None:
    with pytest.raises(ValueError, match="^the network that finds the lungs is missing, or is another than was named$"):
        InputSpec.from_dict(spec.to_dict(), held)


def test_a_radiograph_that_is_cropped_to_the_lungs_is_read_with_more_pixels() -> None:
    assert SPECS[0].at_least == (128, 96)
    assert SPECS[5].at_least == (183, 138)
