"""Cells of CSV files: what a spreadsheet would calculate is text, and a number is a number."""

from __future__ import annotations

import csv
import io

import pytest

from covidnet_lite.csv_cells import cell, text_of, writer


@pytest.mark.parametrize("text", ["=2+5", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "-nan", "+1 "])
def test_a_formula_becomes_text_and_comes_back(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert text_of(cell(text)) == text


@pytest.mark.parametrize("text", ["-1.5", "+3", "-1e-3", "12", "a=b", "", "'quoted", "ward 7"])
def test_numbers_and_other_text_stay_as_they_are(text: str) -> None:
    assert cell(text) == text
    assert text_of(text) == text


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b"])
def test_text_with_the_end_of_a_line_in_it_stays_in_its_row(text: str) -> None:
    out = io.StringIO(newline="")
    writer(out).writerows([[text, 1], ["c", 2]])
    assert list(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [[text, "1"], ["c", "2"]]
    assert out.getvalue().endswith("c,2\n")
