"""What a file may cost."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest

from covidnet_lite import resource_limits


def test_a_length_beyond_the_end_of_a_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "claims.dcm"
    path.write_bytes(b"film")
    with path.open("rb") as file:
        bounded = resource_limits.bounded(file)
        tracemalloc.start()
        assert bounded.read(1 << 30) == b"film"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < resource_limits.MB


def test_a_file_that_is_bounded_is_not_wrapped_again_but_bounded_anew() -> None:
    file = resource_limits.bounded(io.BytesIO(b"12345"), 2)
    file.read(1), file.read(1)
    assert resource_limits.bounded(file, 1) is file
    assert file.read(1) == b"3"
    with pytest.raises(OSError, match="more parts"):
        file.read(1)
