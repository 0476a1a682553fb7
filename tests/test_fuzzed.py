"""Inputs that once broke a reader, found by benchmarks/fuzz_coverage.py: each is refused, or read, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from covidnet_lite import archive
from covidnet_lite.errors import CovidNetLiteError
from covidnet_lite.network.manifest import Manifest, unseal

READERS = {
    "archive": lambda data: list(archive.members(data)),
    "manifest": Manifest.from_json,
    "sealed": lambda data: unseal(data, "fuzzed", hash_checked=True),
}
INPUTS = sorted((Path(__file__).parent / "fuzzed").glob("*/*"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name[-8:]}")
def test_what_once_broke_a_reader_does_so_no_more(path: Path) -> None:
    with suppress(CovidNetLiteError):
        READERS[path.parent.name](path.read_bytes())
