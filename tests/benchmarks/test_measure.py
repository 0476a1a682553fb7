from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import bench, figures, inputs, measure
from benchmarks.figures import Figure, Run
from benchmarks.measure import Ratio
from covidnet_lite.errors import BenchmarkError
from covidnet_lite.machine import board

IDLE = {"machine": "x", "processor": "p", "cores": 2, "python": "3", "load": 0.0, "quick": False}


def run_of(**values: tuple[float, float, float]) -> Run:
    return Run(IDLE, [Figure(name, 1.0, "ms", "y", Ratio(*value)) for name, value in values.items()])


def test_a_slow_minute_cancels_out() -> None:
    yardstick = [1.0] * 20 + [7.0] * 20
    result = measure.ratio([3 * y for y in yardstick], yardstick)
    assert result == Ratio(3, 3, 3)


def test_the_interval_holds_the_middle_of_the_ratios_and_is_all_of_them_where_they_are_few() -> None:
    result = measure.ratio(list(range(1, 102)), [1.0] * 101)
    assert result == Ratio(51, 41, 61)
    assert measure.ratio([1, 2, 3], [1, 1, 1]) == Ratio(2, 1, 3)
    assert measure.ratio([5], [2]) == Ratio(2.5, 2.5, 2.5)


def test_a_difference_is_that_of_the_same_rounds() -> None:
    yardstick = [1.0] * 20 + [7.0] * 20
    assert measure.difference([y + 2 for y in yardstick], yardstick) == Ratio(2, 2, 2)


def test_rounds_that_have_no_partner_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        measure.ratio([1, 2], [1])


def test_runs_are_taken_in_turn() -> None:
    order: list[str] = []
    medians = measure.in_turn(lambda: order.append("a"), lambda: order.append("b"), rounds=3)
    assert (order, len(medians)) == (list("ababab"), 2)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_process_is_told_with_its_own_peak_memory() -> None:
    small, large = (measure.process(measure.python(f"x = bytearray({size})")) for size in (1, 200 << 20))
    assert 180 < large[1] - small[1] < 220
    assert small[0] > 0
    with pytest.raises(RuntimeError, match="no such thing"):
        measure.process([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_the_machine_is_told_in_what_json_takes() -> None:
    told = measure.machine()
    assert json.loads(json.dumps(told)) == told
    assert told["processor"] == board.processor() != ""
    assert set(told) == {*IDLE} - {"quick"}


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    first, again = (inputs.synthetic_radiograph(tmp_path / f"{i}.png", 90, 70).read_bytes() for i in range(2))
    assert first == again
    assert first != inputs.synthetic_radiograph(tmp_path / "other.png", 90, 70, seed=1).read_bytes()
    with Image.open(tmp_path / "0.png") as image:
        assert (image.size, image.mode) == ((90, 70), "L")


def test_only_what_is_beyond_the_noise_and_the_margin_is_a_change() -> None:
    then = run_of(much=(1, 0.9, 1.1), little=(1, 0.9, 1.1), noisy=(1, 0.9, 1.1), fast=(1, 0.9, 1.1), gone=(1, 1, 1))
    now = run_of(much=(1.5, 1.3, 1.7), little=(1.2, 1.15, 1.25), noisy=(2, 1.0, 3), fast=(0.5, 0.4, 0.6), new=(9, 9, 9))
    result = {change.name: change.verdict for change in figures.changes(now, then)}
    assert result == {"much": "worse", "little": "same", "noisy": "same", "fast": "better", "gone": "not measured"}


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run_of(fit=(2, 1, 3)).to_json())
    assert figures.read(tmp_path / "run.json") == run_of(fit=(2, 1, 3))
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(BenchmarkError, match="run make bench"):
        figures.read(tmp_path / "other.json")


def test_the_table_has_a_row_a_figure() -> None:
    rows = figures.table(run_of(fit=(2, 1, 3), run=(0.25, 0.2, 0.3)).figures).splitlines()[2:]
    assert rows == ["| fit | 1 ms | 2 | 1 to 3 | y |", "| run | 1 ms | 0.25 | 0.2 to 0.3 | y |"]


def test_the_check_says_that_there_is_no_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.json").write_text(run_of(fit=(2, 1, 3)).to_json())
    assert bench.main(["--check", "--out", str(tmp_path), "--reference", str(tmp_path / "none.json")]) == 2
    assert "there is no reference yet" in capsys.readouterr().err


def test_the_check_fails_on_a_regression_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path), "--reference", str(tmp_path / "reference.json")]
    (tmp_path / "bench.json").write_text(run_of(fit=(2, 1.9, 2.1)).to_json())
    assert bench.main([*options, "--accept"]) == 0
    assert bench.main([*options, "--check"]) == 0
    (tmp_path / "bench.json").write_text(run_of(fit=(3, 2.9, 3.1)).to_json())
    assert bench.main([*options, "--check"]) == 1
    assert "worse: fit (1.50 times what it was)" in capsys.readouterr().out


def test_the_check_names_what_was_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path), "--reference", str(tmp_path / "reference.json")]
    (tmp_path / "reference.json").write_text(run_of(fit=(2, 1.9, 2.1), gone=(1, 1, 1)).to_json())
    (tmp_path / "bench.json").write_text(run_of(fit=(2, 1.9, 2.1)).to_json())
    assert bench.main([*options, "--check"]) == 0
    assert "not measured: gone\n" in capsys.readouterr().out


def test_a_quick_run_is_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reference.json").write_text(run_of(fit=(2, 1.9, 2.1)).to_json())
    quick = replace(run_of(fit=(2, 1.9, 2.1)), machine={**IDLE, "quick": True})
    (tmp_path / "bench.json").write_text(quick.to_json())
    options = ["--out", str(tmp_path), "--reference", str(tmp_path / "reference.json")]
    assert bench.main([*options, "--check"]) == 2
    assert "--quick" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "why"), [({"quick": True}, "--quick"), ({"load": 1.5}, "idle machine")])
def test_no_reference_is_made_of_a_run_that_measured_nothing(
    change: dict[str, object], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(run_of(fit=(2, 1, 3)), machine={**IDLE, **change})
    (tmp_path / "bench.json").write_text(run.to_json())
    assert bench.main(["--accept", "--out", str(tmp_path), "--reference", str(tmp_path / "r.json")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_the_plot_is_a_picture() -> None:
    pytest.importorskip("matplotlib")
    assert bench.draw(run_of(fit=(2, 1, 3), run=(0.2, 0.1, 0.3)).figures).startswith(b"\x89PNG")
