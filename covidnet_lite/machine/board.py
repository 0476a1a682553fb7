"""The machine and its state, read from /proc and /sys as far as these report them.

Every function takes the root of the file system, so that a test can imitate a Raspberry Pi's.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..network.interpreter import available_cores

ROOT = Path("/")
HOT = 80.0  # degrees Celsius, from which a Raspberry Pi slows down

# Of Arm's own cores, by the "CPU part" of /proc/cpuinfo: those of the Raspberry Pis and of Coral's boards.
CORES = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
}
# Bits that the firmware of a Raspberry Pi reports; sixteen places higher the same, for any time since it started.
THROTTLED = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
SINCE_START = 16
# A Coral USB Accelerator, before and after it has been given its firmware.
CORAL_USB = (("1a6e", "089a"), ("18d1", "9302"))


@dataclass(frozen=True)
class Machine:
    """The machine.

    Attributes:
        board, processor: their names.
        cores: that this process may use.
        mhz: the highest clock that the fastest core may take; ``None`` where the machine does not report it.
        memory: in all.
        system, python: names and versions.
        edge_tpus: that are plugged in.
    """

    board: str
    processor: str
    cores: int
    mhz: int | None
    memory: str
    system: str
    python: str
    edge_tpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """The machine's state at one moment; ``None`` for what it does not report.

    Attributes:
        governor: what sets the cores' clock: ``performance``, ``ondemand``, ...
        temperature: of the hottest zone, degrees Celsius.
        throttled: what a Raspberry Pi's firmware reports on power and heat, as bits; 0 if all is well.
        load: mean number of programs that wanted a core, over the last minute.
    """

    governor: str | None
    temperature: float | None
    throttled: int | None
    load: float | None

    def __str__(self) -> str:
        parts = (
            self.governor and f"governor {self.governor}",
            self.temperature is not None and f"{self.temperature:.0f} °C",
            self.throttled is not None and " ".join([f"throttled {self.throttled:#x}", *in_words(self.throttled)]),
            self.load is not None and f"load {self.load:.2f}",
        )
        return ", ".join(part for part in parts if part) or "unknown"


def machine(root: Path = ROOT) -> Machine:
    """This machine."""
    return Machine(
        board(root),
        processor(root),
        available_cores(),
        clock(root),
        memory(root),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        platform.python_version(),
        edge_tpu(root),
    )


def state(root: Path = ROOT) -> State:
    """The machine's state now."""
    load = _first_line(root / "proc/loadavg").split()
    return State(governor(root), temperature(root), throttled(root), float(load[0]) if load else None)


def board(root: Path = ROOT) -> str:
    """The board's name from the device tree, as on a Raspberry Pi; else the machine's kind."""
    names = (_first_line(root / path) for path in ("proc/device-tree/model", "sys/class/dmi/id/product_name"))
    return next((name for name in names if name), platform.machine())


def processor(root: Path = ROOT) -> str:
    """The processor's name."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # Reversed, so that the first core's values stay. "Model", with a capital, would be the board.
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    arm = CORES.get(fields.get("CPU part", "")) if fields.get("CPU implementer") == "0x41" else None
    return arm or fields.get("model name") or platform.machine()


def clock(root: Path = ROOT) -> int | None:
    """The highest clock that the fastest core may take, MHz."""
    kilohertz = _numbers(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq")
    return round(max(kilohertz) / 1000) if kilohertz else None


def memory(root: Path = ROOT) -> str:
    """Total memory."""
    first = _first_line(root / "proc/meminfo")  # MemTotal: N kB
    return f"{int(first.split()[1]) / 1024**2:.1f} GiB" if first else "unknown"


def governor(root: Path = ROOT) -> str | None:
    """The governor of the cores' clock; several where they differ."""
    governors = {_first_line(p) for p in root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")} - {""}
    return "/".join(sorted(governors)) or None


def temperature(root: Path = ROOT) -> float | None:
    """Of the hottest zone, degrees Celsius."""
    millidegrees = _numbers(root, "sys/class/thermal/thermal_zone*/temp")
    return max(millidegrees) / 1000 if millidegrees else None


def throttled(root: Path = ROOT) -> int | None:
    """What a Raspberry Pi's firmware reports on power and heat, as bits (see ``THROTTLED``)."""
    paths = sorted(root.glob("sys/devices/platform/soc*/*firmware/get_throttled"))  # gone from newer kernels
    digits = _first_line(paths[0]) if paths else _vcgencmd(root, "get_throttled").removeprefix("throttled=")
    try:
        return int(digits, 16)
    except ValueError:
        return None


def in_words(bits: int) -> list[str]:
    """The bits of :func:`throttled` in words: ``under-voltage`` now, ``(under-voltage)`` earlier since the start."""
    now = [name for i, name in enumerate(THROTTLED) if bits >> i & 1]
    past = [f"({name})" for i, name in enumerate(THROTTLED) if bits >> i + SINCE_START & 1 and name not in now]
    return now + past


def slowdowns(before: State, *others: State) -> list[str]:
    """What slowed a Raspberry Pi down, at one of these moments or between them."""
    first, now = before.throttled or 0, 0
    for moment in (before, *others):
        bits = moment.throttled or 0
        now |= bits | (bits & ~first) >> SINCE_START  # what had been before does not count
    return in_words(now & (1 << SINCE_START) - 1)


def edge_tpu(root: Path = ROOT) -> tuple[str, ...]:
    """The Edge TPUs that are plugged in; the names of the ports are the kernel's."""
    usb = [
        f"USB {vendor.parent.name}"
        for vendor in sorted(root.glob("sys/bus/usb/devices/*/idVendor"))
        if (_first_line(vendor), _first_line(vendor.with_name("idProduct"))) in CORAL_USB
    ]
    return (*usb, *(f"PCI {path.name}" for path in sorted(root.glob("sys/class/apex/*"))))


def memory_mib(field: str, process: int | str = "self", root: Path = ROOT) -> float | None:
    """Memory of a process, MiB: ``VmRSS``, what it holds now, or ``VmHWM``, the most it ever held; Linux only.

    Raises:
        OSError: the system does not report it.
    """
    match = re.search(rf"{field}:\s+(\d+) kB", (root / f"proc/{process}/status").read_text())
    return int(match[1]) / 1024 if match else None


def peak_memory(root: Path = ROOT) -> float | None:
    """The most memory that this process ever held, MiB."""
    try:
        # Not rusage, which for a child process also counts what its parent held at the fork.
        return memory_mib("VmHWM", root=root)
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def installed(package: str) -> str | None:
    """A package's version, or ``None``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _vcgencmd(root: Path, question: str) -> str:
    program = root / "usr/bin/vcgencmd"
    if not os.access(program, os.X_OK):
        return ""
    try:
        process = subprocess.run([program, question], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _numbers(root: Path, pattern: str) -> list[int]:
    numbers = []
    for path in root.glob(pattern):
        try:
            numbers.append(int(_first_line(path)))
        except ValueError:  # a zone that is switched off cannot be read
            continue
    return numbers


def _first_line(path: Path) -> str:
    try:
        return path.read_text().split("\n")[0].strip("\0 ")
    except (OSError, UnicodeDecodeError):
        return ""
