from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.errors import BackendError, BenchmarkError, ModelError
from covidnet_lite.machine import benchmark, board
from covidnet_lite.machine.benchmark import Benchmark, Percentiles, Timing

ROOT = Path(__file__).resolve().parent.parent.parent
WELL = board.State("performance", 45.0, 0, 0.1)


def timing(threads: int, total: float, after: board.State = WELL, left_out: int = 0) -> Timing:
    stages = {name: Percentiles(ms, ms + 1, ms + 2) for name, ms in zip(benchmark.STAGES, (3.0, 2.0, 7.0, 0.1))}
    return Timing(threads, {**stages, "total": Percentiles(total, total + 3, total + 9)}, 80.0, 100, left_out, after)


@pytest.fixture
def measured() -> Benchmark:
    """As if on a well-kept Raspberry Pi."""
    machine = board.Machine(
        "Raspberry Pi 4", "Cortex-A72", 4, 1800, "3.7 GiB", "Linux 6.6 aarch64", "3.11.2", ("USB 2-1",)
    )
    return Benchmark(
        "2026-01-01", "0.1.0", "base 3", "a" * 64, "litert 2.3.0", False, "own files (12)", machine,
        (timing(1, 20.0), timing(4, 12.25), timing(2, 15.0)), 0.5, 61.2, WELL, WELL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def real() -> Benchmark:
    return benchmark.measure("nano", threads=(1, 2), rounds=4)


def test_each_stage_is_measured_for_each_number_of_threads(real: Benchmark) -> None:
    assert [t.threads for t in real.timings] == [1, 2]
    for t in real.timings:
        assert set(t.stages) == {"read", "fit", "run", "judge", "total"}
        assert all(0 < s.p50 <= s.p90 <= s.p99 for s in t.stages.values())
        assert t.stages["total"].p99 >= max(t.stages[name].p99 for name in benchmark.STAGES)
        assert (t.measured, t.left_out) == (4, 0)
        assert t.images_per_second > 0


def test_it_says_of_what_and_on_what(real: Benchmark) -> None:
    assert real.model.startswith("nano ")
    assert real.machine == board.machine()
    assert real.runtime.split()[0] in ("litert", "tflite_runtime", "tensorflow")
    assert real.images == "a synthetic 2048 x 2048 JPEG"
    assert not real.edgetpu


def test_a_whole_process_takes_longer_than_a_warm_call_and_has_a_memory_of_its_own(real: Benchmark) -> None:
    assert real.cold_start_s * 1e3 > real.fastest.stages["total"].p50
    assert real.peak_mib is not None
    assert 30 < real.peak_mib < 90  # and not the hundreds of this process


def test_percentiles_are_those_of_all_that_went_through(tmp_path: Path, film_png: Path) -> None:
    blank, bad = tmp_path / "blank.png", tmp_path / "bad.png"
    Image.fromarray(np.full((300, 300), 9, np.uint8)).save(blank)
    bad.write_text("no picture")
    result = benchmark.measure("nano", threads=(1,), paths=[str(bad), str(blank), str(film_png)], rounds=6)
    assert (result.timings[0].measured, result.timings[0].left_out) == (2, 4)
    assert result.images == "own files (3)"
    assert "4 of 6 radiographs were unreadable or blank" in benchmark.warnings(result)
    assert str(tmp_path) not in benchmark.row(result)


def test_without_anything_to_measure_the_reason_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    with pytest.raises(BenchmarkError, match=r"no radiograph to measure with: .*bad.png"):
        benchmark.measure("nano", threads=(1,), paths=[str(bad)], rounds=2)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(BenchmarkError, match="1 or more, not 0"):
        benchmark.measure("nano", rounds=0)
    with pytest.raises(BackendError, match="1 or more"):
        benchmark.measure("nano", threads=(0,), rounds=1)
    with pytest.raises(ModelError, match="no such model"):
        benchmark.measure("huge", rounds=1)
    with pytest.raises(BackendError, match="not compiled for the Edge TPU"):
        benchmark.measure("nano", edgetpu="usb", rounds=1)


def test_a_fresh_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "PROGRAM", "import sys; sys.exit('out of memory')")
    with pytest.raises(BackendError, match=r"a fresh process failed \(1\).*out of memory"):
        benchmark.measure("nano", threads=(1,), rounds=1)


def test_the_row_is_of_the_fastest_number_of_threads(measured: Benchmark) -> None:
    (row,) = csv.DictReader(io.StringIO(benchmark.row(measured)))
    assert list(row) == list(benchmark.COLUMNS)
    assert (row["threads"], row["total_p50_ms"], row["total_p90_ms"], row["total_p99_ms"]) == (
        "4",
        "12.25",
        "15.25",
        "21.25",
    )
    assert (row["read_p50_ms"], row["fit_p50_ms"], row["run_p50_ms"], row["judge_p50_ms"]) == (
        "3.00",
        "2.00",
        "7.00",
        "0.10",
    )
    assert (row["board"], row["mhz"], row["cores"]) == ("Raspberry Pi 4", "1800", "4")
    assert (row["images_per_second"], row["cold_start_s"], row["peak_mib"]) == ("80.00", "0.50", "61.2")
    assert (row["governor"], row["throttled_before"], row["throttled_after"]) == ("performance", "0x0", "0x0")
    assert (row["edgetpu"], row["sha256"]) == ("no", "a" * 12)


def test_the_row_holds_no_formula(measured: Benchmark) -> None:
    (row,) = csv.DictReader(io.StringIO(benchmark.row(replace(measured, model="=2+5"))))
    assert row["model"] == "'=2+5"


def test_what_the_machine_does_not_say_is_left_empty_in_the_row(measured: Benchmark) -> None:
    silent = board.State(None, None, None, None)
    result = replace(measured, before=silent, after=silent, peak_mib=None, machine=replace(measured.machine, mhz=None))
    (row,) = csv.DictReader(io.StringIO(benchmark.row(result)))
    for name in (
        "mhz",
        "peak_mib",
        "governor",
        "celsius_before",
        "celsius_after",
        "throttled_before",
        "throttled_after",
        "load_before",
    ):
        assert row[name] == "", name
    assert benchmark.warnings(replace(result, timings=(timing(1, 9.0, silent),))) == []


def test_on_a_machine_that_is_well_nothing_is_warned_of(measured: Benchmark) -> None:
    assert benchmark.warnings(measured) == []
    assert "warning" not in benchmark.table(measured)


@pytest.mark.parametrize(
    ("before", "during", "after", "says"),
    [
        (WELL, WELL, replace(WELL, throttled=0x50000), r"slowed itself down \(under-voltage, throttled\)"),
        (WELL, replace(WELL, throttled=0x8), WELL, r"slowed itself down \(soft temperature limit\)"),
        (replace(WELL, throttled=0x1), WELL, WELL, r"slowed itself down \(under-voltage\)"),
        (WELL, replace(WELL, temperature=83.2), WELL, "got hot .83 °C"),
        (WELL, WELL, replace(WELL, governor="ondemand"), "governor ondemand"),
        (replace(WELL, load=2.0), WELL, WELL, r"other programs were running \(load 2.00\)"),
    ],
)
def test_what_makes_figures_lie_is_warned_of(
    before: board.State, during: board.State, after: board.State, says: str, measured: Benchmark
) -> None:
    result = replace(measured, before=before, timings=(timing(1, 20.0, during),), after=after)
    (warning,) = benchmark.warnings(result)
    assert re.search(says, warning), warning
    assert warning in benchmark.table(result)
    assert json.loads(result.to_json())["warnings"] == [warning]


def test_the_table_has_every_figure(measured: Benchmark) -> None:
    table = benchmark.table(measured)
    for part in (
        "Raspberry Pi 4",
        "Cortex-A72",
        "1800 MHz",
        "base 3",
        "12.25",
        "15.25",
        "21.25",
        "80.0",
        "0.50 s and 61 MiB",
        "45 °C",
    ):
        assert part in table, part


def test_json_has_everything(measured: Benchmark) -> None:
    fields = json.loads(measured.to_json())
    assert fields["timings"][1]["stages"]["total"] == {"p50": 12.25, "p90": 15.25, "p99": 21.25}
    assert fields["machine"]["board"] == "Raspberry Pi 4"
    assert fields["before"]["throttled"] == 0


def test_no_more_threads_than_cores_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, (1,)), (2, (1, 2)), (3, (1, 2)), (4, (1, 2, 4)), (16, (1, 2, 4))):
        monkeypatch.setattr(benchmark, "available_cores", lambda cores=cores: cores)
        assert benchmark.default_threads() == expected


def test_committed_rows_of_boards_have_these_columns() -> None:
    for path in (ROOT / "benchmarks/reference").glob("*.csv"):
        head, *rows = csv.reader(path.read_text().splitlines())
        if head[0] == "board":  # other figures are kept there too
            assert head == list(benchmark.COLUMNS), path.name
            assert {len(row) for row in rows} == {len(head)}, path.name
