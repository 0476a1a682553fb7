"""The table of image formats, and what is made of it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from covidnet_lite import formats, radiograph
from covidnet_lite.formats import FORMATS, Format
from covidnet_lite.image_in import costs

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_each_format_has_a_reader_an_estimate_and_an_extra_that_setup_knows(form: Format) -> None:
    assert form.reader in radiograph.READERS
    assert form.costs in costs.DECODER_BYTES
    assert bool(form.pillow) != bool(form.begins)
    assert not form.extra or f'"{form.extra}":' in (ROOT / "setup.py").read_text()


def test_no_suffix_belongs_to_two_formats_and_all_are_in_lower_case() -> None:
    suffixes = [suffix for form in FORMATS for suffix in form.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in suffixes)


@pytest.mark.parametrize("form", [form for form in FORMATS if form.pillow], ids=lambda form: form.name)
def test_what_pillow_reads_is_left_to_pillow(form: Format) -> None:
    buffer = io.BytesIO()
    try:
        Image.linear_gradient("L").convert("RGB").save(buffer, form.pillow)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {form.name}")
    assert formats.recognised(buffer.getvalue()[:132]) is None
    assert formats.of_pillow(Image.open(io.BytesIO(buffer.getvalue())).format) is form
    assert radiograph.read(buffer.getvalue()).width == 256


def test_other_formats_are_recognised_by_their_first_bytes() -> None:
    assert formats.recognised(b"\0" * 128 + b"DICM") is formats.DICOM
    assert formats.recognised(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") is formats.HEIC
    assert formats.recognised(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif") is None
    assert formats.recognised(b"") is None


@pytest.mark.parametrize("page", ["docs/watch.md"])
def test_documents_name_every_format(page: str) -> None:
    text = (ROOT / page).read_text()
    assert [form.name for form in FORMATS if form.name not in text] == []
