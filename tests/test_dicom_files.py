"""The table of real DICOM files is true."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("data_store", reason="needs pydicom-data")

from benchmarks import dicom_files

PAGE = (Path(__file__).resolve().parent.parent / "docs/dicom_files.md").read_text()


@pytest.fixture(scope="module")
def now() -> dict[str, dicom_files.Row]:
    return {row.name: row for row in dicom_files.rows()}


def test_every_file_has_the_outcome_of_the_table(now: dict[str, dicom_files.Row]) -> None:
    then = {row.name: row for row in dicom_files.read(PAGE)}
    if f"pydicom {version('pydicom')}," in PAGE:  # else some files, and some reasons in pydicom's words, are others
        assert now == then, "run python benchmarks/dicom_files.py --write docs/dicom_files.md"
    both = now.keys() & then.keys()
    assert len(both) > 250
    assert {name: now[name].outcome for name in both} == {name: then[name].outcome for name in both}


def test_the_chest_films_are_classified_and_nothing_else(now: dict[str, dicom_files.Row]) -> None:
    films = {f"pydicom-data/data/RG1_{kind}.dcm" for kind in ("UNCR", "UNCI", "J2KR", "J2KI")}
    assert {row.name for row in now.values() if row.outcome == "classified"} == films


def test_every_other_file_has_a_reason(now: dict[str, dicom_files.Row]) -> None:
    assert [row.name for row in now.values() if row.outcome != "classified" and len(row.reason) < 20] == []


def test_a_page_is_read_as_it_was_written() -> None:
    rows = [dicom_files.Row("a/b.dcm", "classified", ""), dicom_files.Row("c", "not read", "is empty")]
    assert dicom_files.read(dicom_files.page(rows)) == rows
