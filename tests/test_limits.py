"""What a file may cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from covidnet_lite import limits


def test_a_length_beyond_the_end_of_a_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "claims.dcm"
    path.write_bytes(b"film")
    with path.open("rb") as file:
        bounded = limits.bounded(file)
        tracemalloc.start()
        assert bounded.read(1 << 30) == b"film"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < limits.MB
