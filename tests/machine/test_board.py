from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from covidnet_lite.machine import board

PI4 = "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"


def lay(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """As much of a Raspberry Pi 4's /proc and /sys as is read."""
    cores = {f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor": "ondemand\n" for i in range(4)}
    clocks = {f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_max_freq": "1800000\n" for i in range(4)}
    return lay(
        tmp_path / "pi",
        {
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "proc/cpuinfo": "".join(PI4.format(i) for i in range(4)) + "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "proc/meminfo": "MemTotal:        3884376 kB\nMemFree:         2000000 kB\n",
            "proc/loadavg": "0.08 0.03 0.01 1/180 2345\n",
            "sys/class/thermal/thermal_zone0/temp": "48686\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            **cores,
            **clocks,
        },
    )


def test_a_raspberry_pi_is_read_from_its_proc_and_sys(pi: Path) -> None:
    assert board.board(pi) == "Raspberry Pi 4 Model B Rev 1.4"
    assert board.processor(pi) == "Cortex-A72"
    assert board.clock(pi) == 1800
    assert board.memory(pi) == "3.7 GiB"
    assert board.state(pi) == board.State("ondemand", 48.686, 0x50005, 0.08)
    machine = board.machine(pi)
    assert (machine.board, machine.mhz, machine.edge_tpus) == ("Raspberry Pi 4 Model B Rev 1.4", 1800, ())


def test_a_state_is_told_in_words(pi: Path) -> None:
    text = str(board.state(pi))
    assert text == "governor ondemand, 49 °C, throttled 0x50005 under-voltage throttled, load 0.08"


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, []),
        (0x1, ["under-voltage"]),
        (0x2, ["frequency capped"]),
        (0x4, ["throttled"]),
        (0x8, ["soft temperature limit"]),
        (0x10000, ["(under-voltage)"]),
        (0xE0000, ["(frequency capped)", "(throttled)", "(soft temperature limit)"]),
        (0x50001, ["under-voltage", "(throttled)"]),
    ],
)
def test_what_the_firmware_says_in_words(bits: int, words: list[str]) -> None:
    assert board.in_words(bits) == words


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ((None, None), []),
        ((0, 0), []),
        ((0x50000, 0x50000), []),  # long ago
        ((0x50000, 0x50004), ["throttled"]),
        ((0x10000, 0x50000), ["throttled"]),  # between two looks
        ((0x0, 0x80008, 0x80000), ["soft temperature limit"]),
        ((0x10001, 0x10000), ["under-voltage"]),  # before the first
    ],
)
def test_what_slowed_it_down_meanwhile(bits: tuple[int | None, ...], words: list[str]) -> None:
    before, *later = (board.State(None, None, b, None) for b in bits)
    assert board.slowdowns(before, *later) == words


@pytest.mark.parametrize(("statement", "bits"), [("throttled=0x50005", 0x50005), ("throttled=0x0", 0), ("what?", None)])
def test_without_the_file_vcgencmd_is_asked(pi: Path, statement: str, bits: int | None) -> None:
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    program = (
        lay(pi, {"usr/bin/vcgencmd": f'#!/bin/sh\n[ "$1" = get_throttled ] && echo "{statement}"\n'})
        / "usr/bin/vcgencmd"
    )
    assert board.throttled(pi) is None  # not to be run
    program.chmod(0o755)
    assert board.throttled(pi) == bits


def test_a_vcgencmd_that_may_not_ask_the_firmware_says_nothing(pi: Path) -> None:
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    lay(pi, {"usr/bin/vcgencmd": "#!/bin/sh\necho throttled=0x5\nexit 255\n"})
    (pi / "usr/bin/vcgencmd").chmod(0o755)
    assert board.throttled(pi) is None


def test_a_raspberry_pi_5_keeps_it_elsewhere(tmp_path: Path) -> None:
    lay(tmp_path, {"sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "e0000\n"})
    assert board.throttled(tmp_path) == 0xE0000


def test_of_several_zones_and_governors_the_hottest_and_all(tmp_path: Path) -> None:
    zones = {"0": "31000", "1": "72500", "2": ""}  # the last is switched off
    governors = {"0": "performance", "4": "schedutil"}
    lay(tmp_path, {f"sys/class/thermal/thermal_zone{i}/temp": text for i, text in zones.items()})
    lay(tmp_path, {f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor": g for i, g in governors.items()})
    assert board.temperature(tmp_path) == 72.5
    assert board.governor(tmp_path) == "performance/schedutil"


def test_where_nothing_is_said_nothing_is_claimed(tmp_path: Path) -> None:
    assert board.state(tmp_path) == board.State(None, None, None, None)
    assert str(board.state(tmp_path)) == "unknown"
    assert (board.clock(tmp_path), board.memory(tmp_path), board.edge_tpu(tmp_path)) == (None, "unknown", ())
    assert board.board(tmp_path)
    assert board.processor(tmp_path)


def test_a_laptop_is_named_by_its_maker_and_its_processor(tmp_path: Path) -> None:
    lay(tmp_path, {"sys/class/dmi/id/product_name": "20XW\n"})
    lay(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel\t\t: 140\nmodel name\t: Core i7\n\nprocessor\t: 1\nmodel name\t: other\n"
        },
    )
    assert (board.board(tmp_path), board.processor(tmp_path)) == ("20XW", "Core i7")


@pytest.mark.parametrize(("vendor", "product"), [("1a6e", "089a"), ("18d1", "9302")])
def test_edge_tpus_are_seen_where_they_are_plugged_in(tmp_path: Path, vendor: str, product: str) -> None:
    lay(
        tmp_path,
        {"sys/bus/usb/devices/2-1/idVendor": f"{vendor}\n", "sys/bus/usb/devices/2-1/idProduct": f"{product}\n"},
    )
    lay(tmp_path, {"sys/bus/usb/devices/1-1/idVendor": "18d1\n", "sys/bus/usb/devices/1-1/idProduct": "4ee7\n"})
    (tmp_path / "sys/class/apex/apex_0").mkdir(parents=True)
    assert board.edge_tpu(tmp_path) == ("USB 2-1", "PCI apex_0")


def test_peak_memory_is_that_of_the_kernel(tmp_path: Path) -> None:
    lay(tmp_path, {"proc/self/status": "Name:\tpython3\nVmPeak:\t  999999 kB\nVmHWM:\t   61440 kB\n"})
    assert board.peak_memory(tmp_path) == 60


def test_peak_memory_remembers_what_was_let_go() -> None:
    program = (
        "from covidnet_lite.machine.board import peak_memory; a = peak_memory(); b = bytearray(90 << 20); b[::4096] = b'x' * len(b[::4096]);"
        "del b; assert 80 < peak_memory() - a < 120, peak_memory() - a"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_packages_are_known_by_their_version() -> None:
    assert board.installed("numpy")
    assert board.installed("no-such-package-anywhere") is None
