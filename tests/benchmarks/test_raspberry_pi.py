"""What of the emulated Raspberry Pi can be judged without an emulator; ``make pi`` is the rest."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import covidnet_lite
from benchmarks.raspberry_pi import __main__ as pi
from benchmarks.raspberry_pi import agreement, emulate, inputs, modelled, reference, roots, systems
from benchmarks.raspberry_pi.agreement import Answers
from benchmarks.raspberry_pi.reference import Row
from benchmarks.raspberry_pi.systems import A72, A76, SYSTEMS, EmulationError, System
from covidnet_lite import radiograph
from covidnet_lite.network import model

ROW = Row("cortex-a72", "base", "0123456789ab", "ba9876543210", "invoke", 100_000_000)
TOLD = {"status": "answered", "label": "normal", "most_likely": "normal", "confidence": 0.9}


def answers(steps: int = 0, **changes: object) -> Answers:
    outputs = {"base/a.png/0/0": np.array([[5, -7, 100 + steps]], np.int8)}
    return Answers({"base/a.png": {**TOLD, **changes}}, {"python": "3.11"}, outputs)


# The reference of instructions.


def test_counts_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [replace(ROW, stage=stage, processor=cpu) for stage in ("classify", "invoke") for cpu in ("a", "b")]
    (tmp_path / "x.csv").write_text(reference.text(reversed(rows)))
    assert reference.read(tmp_path / "x.csv") == rows
    assert reference.read(tmp_path / "missing.csv") == []


@pytest.mark.parametrize("damage", ["instructions", "100000000", "sha256"])
def test_a_damaged_reference_is_told(damage: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(reference.text([ROW]).replace(damage, "?"))
    with pytest.raises(EmulationError, match="check it out again"):
        reference.read(tmp_path / "x.csv")


def test_three_per_cent_more_instructions_are_let_pass_and_not_a_bit_more() -> None:
    assert reference.regressions([ROW], [replace(ROW, instructions=103_000_000)]) == []
    assert reference.regressions([ROW], [replace(ROW, instructions=50_000_000)]) == []
    (wrong,) = reference.regressions([ROW], [replace(ROW, instructions=103_100_000)])
    assert "base invoke on cortex-a72: 103.1 M instructions, 3.1% more than 100.0 M" in wrong
    assert "make pi ARGS=--write" in wrong


def test_a_count_of_another_network_is_no_reference() -> None:
    (wrong,) = reference.regressions([ROW], [replace(ROW, sha256="ffffffffffff")])
    assert "no reference for the network ffffffffffff" in wrong
    (wrong,) = reference.regressions([], [ROW])
    assert "none at all" in wrong


def test_what_was_not_counted_now_stays_in_the_reference() -> None:
    other, now = replace(ROW, network="yardstick"), replace(ROW, instructions=1)
    assert sorted(reference.renewed([ROW, other], [now]), key=str) == sorted([other, now], key=str)


def test_the_committed_counts_are_of_the_networks_that_ship() -> None:
    rows = {row.key: row for row in reference.read()}
    for name, digest in model.shipped().items():
        for processor in SYSTEMS[0].processors:
            for stage in ("classify", "invoke"):
                assert rows[processor.name, name, stage].sha256 == digest[: reference.DIGITS], (
                    "run make pi ARGS=--write"
                )


# The page of modelled times.


def test_a_time_is_the_yardsticks_times_the_ratio_of_instructions() -> None:
    board = modelled.PI4
    yardstick = Row(board.processor, modelled.YARDSTICK, "", "", "invoke", 100_000_000)
    rows = [yardstick, replace(ROW, instructions=200_000_000)]
    line = next(line for line in modelled.page(rows).splitlines() if line.startswith("| Raspberry Pi 4 "))
    one, four = (f"modelled: 200 M instructions, {2 * ms:.0f} ms" for ms in (board.one_core, board.all_cores))
    assert line.endswith(f"| not counted | {one} | {four} |")


def test_a_page_without_counts_says_so_and_never_a_time() -> None:
    page = modelled.page([ROW])
    assert "not counted" in page
    assert not re.search(r"\d ms \|", page)


def test_int8_is_set_against_float_only_where_both_are_of_one_training() -> None:
    real = replace(ROW, network="base_float32", instructions=400_000_000)
    assert "| 0.25 |" in modelled.page([ROW, real])
    assert "Not counted for this `base`" in modelled.page([ROW, replace(real, checkpoint="another")])


def test_the_committed_page_is_that_of_the_committed_counts() -> None:
    assert modelled.PAGE.read_text() == modelled.page(reference.read()), "run make pi ARGS=--write"
    assert "not counted" not in modelled.PAGE.read_text()


def test_every_time_on_the_page_is_worded_as_modelled() -> None:
    rows = [line for line in modelled.PAGE.read_text().splitlines() if line.startswith("| Raspberry")]
    assert rows
    for line in rows:
        assert line.count("modelled: ") == len(re.findall(r" ms \|", line)) == 3


# What may differ between two machines.


def test_the_same_is_no_complaint() -> None:
    result = agreement.compare(answers(), answers())
    assert (result.answers, result.values, result.equal, result.furthest) == (1, 3, 1.0, 0)
    assert result.complaints(steps=0, drift=0.0) == []


def test_an_output_may_be_off_by_as_many_steps_as_are_allowed() -> None:
    result = agreement.compare(answers(steps=2), answers())
    assert result.complaints(steps=2, drift=0.0) == []
    (wrong,) = result.complaints(steps=1, drift=0.0)
    assert "2 steps" in wrong


def test_steps_do_not_wrap_around() -> None:
    ours, theirs = answers(), answers()
    ours.outputs["base/a.png/0/0"][0, 0], theirs.outputs["base/a.png/0/0"][0, 0] = -128, 127
    assert agreement.compare(ours, theirs).furthest == 255


@pytest.mark.parametrize("change", [{"label": "covid"}, {"status": "unsure", "label": None}])
def test_another_answer_is_a_complaint(change: dict[str, object]) -> None:
    (wrong,) = agreement.compare(answers(**change), answers()).complaints(steps=0, drift=1.0)
    assert "base/a.png" in wrong


def test_an_older_runtime_may_be_unsure_at_the_threshold_but_call_nothing_by_another_name() -> None:
    unsure = answers(status="unsure", label=None, confidence=0.84)
    result = agreement.compare(unsure, answers(), slack=0.1)
    assert (len(result.differing), len(result.borderline)) == (0, 1)
    result = agreement.compare(replace(unsure), answers(), slack=0.01)
    assert (len(result.differing), len(result.borderline)) == (1, 0)
    other = answers(status="unsure", label=None, most_likely="covid")
    assert agreement.compare(other, answers(), slack=1.0).differing


def test_a_confidence_further_off_is_a_complaint() -> None:
    result = agreement.compare(answers(confidence=0.85), answers())
    assert result.drift == pytest.approx(0.05)
    assert result.complaints(steps=0, drift=0.06) == []
    assert result.complaints(steps=0, drift=0.04)


def test_what_one_machine_left_out_is_a_complaint() -> None:
    assert agreement.compare(Answers({}, {}, {}), answers()).differing
    nothing = Answers({}, {}, {})
    assert "no outputs to compare" in agreement.compare(nothing, nothing).complaints(0, 0)


def test_a_board_that_refused_every_picture_has_not_been_tried() -> None:
    refused = answers(status="refused", label=None)
    (wrong,) = agreement.compare(refused, refused).complaints(steps=0, drift=0.0)
    assert "classified to the end" in wrong
    assert agreement.compare(answers(), answers()).classified == 1


# What is emulated.


def test_an_a72_is_not_said_to_have_the_dot_products_of_an_a76() -> None:
    assert "asimddp" in A76.cpuinfo()
    assert "asimddp" not in A72.cpuinfo()
    assert A72.cpuinfo().count("processor\t") == 4


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_board_tells_of_its_own_four_cores_whatever_the_host_has(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "CACHE", tmp_path)
    for processor in system.processors:
        view = emulate.view(system, processor)
        told = view / "sys/devices/system/cpu"
        assert (view / "proc/cpuinfo").read_text().count(processor.part) == 4
        assert {(told / name).read_text() for name in ("possible", "present", "online")} == {"0-3\n"}
        assert len(list(told.glob("cpu[0-3]/cache/index2/size"))) == 4
        assert (view / "usr").readlink() == Path("../root/usr")


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_nothing_but_the_plugin_and_the_program_is_the_hosts(system: System, tmp_path: Path) -> None:
    machine = emulate.emulated(system, system.processors[0], tmp_path, tmp_path / "count.so")
    paths = [word for word in machine.command if "/" in word]
    assert [word for word in paths if str(systems.CACHE) not in word] == [str(tmp_path / "count.so")]
    assert Path(machine.command[0]).is_relative_to(systems.QEMU)  # no qemu of the host's, which may take no plugin


def test_another_processor_than_what_is_compared_with_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(EmulationError, match="this is aarch64"):
        roots.install_tools()


def test_both_word_sizes_and_both_releases_are_tried_with_fast_and_plain_kernels() -> None:
    tried = {(trial.system.suite, trial.system.architecture, trial.plain) for trial in pi.TRIALS}
    assert {("bookworm", "arm64", False), ("trixie", "arm64", False), ("bookworm", "armhf", False)} <= tried
    assert {("bookworm", "arm64", True), ("bookworm", "armhf", True)} <= tried


def test_only_another_runtime_may_be_off_by_more_than_a_step() -> None:
    for trial in pi.TRIALS:
        if trial.system.runtime == "litert":
            assert trial.steps == (0 if trial.plain else 1)


def test_drawn_chests_are_the_same_each_time_and_can_be_read(tmp_path: Path) -> None:
    first, second = (inputs.write_chests(tmp_path / name) for name in "ab")
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()
        assert radiograph.read(one).width >= 280


@pytest.mark.parametrize("network", sorted(model.shipped()))
def test_every_network_has_a_picture_that_it_classifies_to_the_end(network: str, film: Path, tmp_path: Path) -> None:
    assert covidnet_lite.classify(inputs.write_real_radiograph(tmp_path), model=network).status in (
        "answered",
        "unsure",
    )
