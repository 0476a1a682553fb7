"""Codes: each is declared once, told in the documentation, used somewhere, and carried by what is raised and refused."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest
from conftest import ROOT

import covidnet_lite
from covidnet_lite import codes, errors
from covidnet_lite.codes import Code, Note
from covidnet_lite.errors import CovidNetLiteError, InputError, UnforeseenError
from covidnet_lite.prediction import Failure

SOURCES = [path for path in (ROOT / "covidnet_lite").rglob("*.py") if path.name != "codes.py"]
USED = {name for path in SOURCES for name in re.findall(r"\bCode\.([A-Z][A-Z_]+)", path.read_text())}


def test_every_code_is_documented_with_its_public_words() -> None:
    assert codes.table() in (ROOT / "docs/codes.md").read_text()


def test_every_code_that_is_used_is_declared_and_the_other_way_round() -> None:
    assert set(Code.__members__) == USED


@pytest.mark.parametrize("code", Code)
def test_a_code_is_words_and_hyphens_and_its_public_words_have_no_place_for_anything_else(code: Code) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.value)
    assert code.public
    assert not set("{}%|\n") & set(code.public)


def test_every_error_has_a_code_and_says_so_through_a_pipe() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CovidNetLiteError)]
    for kind in kinds:
        assert isinstance(kind("JANE DOE").code, Code)
        assert "DOE" not in kind("JANE DOE").public
    copy = pickle.loads(pickle.dumps(InputError("JANE DOE", Code.DAMAGED)))
    assert (str(copy), copy.code, copy.public) == ("JANE DOE", Code.DAMAGED, Code.DAMAGED.public)
    note = pickle.loads(pickle.dumps(Note(Code.POLARITY)))
    assert (note, note.code) == (Code.POLARITY.public, Code.POLARITY)


def test_a_failure_tells_its_code_and_its_reference_beside_the_reason() -> None:
    fields = json.loads(Failure("a.png", UnforeseenError("JANE DOE", "12ab34cd")).to_json())
    assert (fields["code"], fields["reference"], fields["reason"]) == ("unforeseen", "12ab34cd", "JANE DOE")
    assert "12ab34cd" in Failure("a.png", UnforeseenError("JANE DOE", "12ab34cd")).public_reason


def test_a_refusal_tells_its_code() -> None:
    refused = covidnet_lite.classify(np.zeros((200, 200), np.uint8), model="nano")
    assert (refused.status, refused.code, refused.to_dict()["code"]) == ("refused", Code.BLANK, "blank")
    with pytest.raises(InputError) as failed:
        covidnet_lite.classify(b"", model="nano")
    assert failed.value.code is Code.EMPTY


def test_words_of_no_code_are_not_taken_for_public() -> None:
    assert codes.public("blank") == Code.BLANK.public
    assert [codes.public(other) for other in ("JANE DOE", None, ["blank"], 1)] == [None] * 4
