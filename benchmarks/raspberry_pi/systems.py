"""What is emulated: Debian as Raspberry Pi OS has it, on the processors of the boards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covidnet_lite.errors import CovidNetLiteError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORES = 4  # of every board
CACHE = ROOT / ".venv/pi"  # all that is downloaded or made; delete it to begin anew
QEMU = CACHE / "qemu"


class EmulationError(CovidNetLiteError):
    """The emulated Pi cannot be set up, or what runs in it fails."""


@dataclass(frozen=True)
class Processor:
    """A core of a board.

    Attributes:
        name: as qemu's ``-cpu`` calls it.
        part: its number in ``/proc/cpuinfo``.
        features: the line there. XNNPACK chooses its kernels by them, so they must be this core's: with those of an
            A76 an emulated A72 is sent dot products and dies.
        cache: its second-level cache, in KiB.
        mhz: how fast it is at most.
    """

    name: str
    part: str
    features: str
    cache: int
    mhz: int
    architecture: int = 8

    def cpuinfo(self) -> str:
        """What a board with four such cores says of itself."""
        return "".join(
            f"processor\t: {core}\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: {self.architecture}\nCPU variant\t: 0x0\nCPU part\t: {self.part}\nCPU revision\t: 3\n\n"
            for core in range(CORES)
        )

    def files(self) -> dict[str, str]:
        """All that a runtime reads to learn about the processor: path -> text. Without ``/sys``, or with another
        machine's, LiteRT takes other kernels."""
        cpus, everyone = "sys/devices/system/cpu", f"0-{CORES - 1}"
        values = {"kernel_max": CORES - 1, **dict.fromkeys(("online", "possible", "present"), everyone)}
        for core in range(CORES):
            values |= {
                f"cpu{core}/cache/index2/level": 2,
                f"cpu{core}/cache/index2/shared_cpu_list": everyone,
                f"cpu{core}/cache/index2/size": f"{self.cache}K",
                f"cpu{core}/cpufreq/cpuinfo_max_freq": self.mhz * 1000,
                f"cpu{core}/cpufreq/cpuinfo_min_freq": 600_000,
                f"cpu{core}/topology/cluster_cpus_list": everyone,
                f"cpu{core}/topology/core_siblings_list": everyone,
                f"cpu{core}/topology/physical_package_id": 0,
            }
        return {"proc/cpuinfo": self.cpuinfo(), **{f"{cpus}/{name}": f"{value}\n" for name, value in values.items()}}


_ARMV8 = "fp asimd evtstrm crc32 cpuid"
_ARMV7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae"
A53 = Processor("cortex-a53", "0xd03", _ARMV8, 512, 1400)
A72 = Processor("cortex-a72", "0xd08", _ARMV8, 1024, 1500)
A76 = Processor("cortex-a76", "0xd0b", f"{_ARMV8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp", 512, 2400)
A7 = Processor("cortex-a7", "0xc07", _ARMV7, 512, 900, architecture=7)


@dataclass(frozen=True)
class System:
    """A Debian with Python, for one architecture.

    Attributes:
        suite, architecture: as Debian calls them.
        python: its version.
        processors: on which it is tried.
        pinned: wheels from PyPI beyond ``requirements.txt``; where there are any, numpy and Pillow are Debian's.
    """

    suite: str
    architecture: str
    python: str
    processors: tuple[Processor, ...]
    pinned: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """To tell people."""
        return f"{self.suite} {self.architecture}"

    @property
    def folder(self) -> Path:
        """Where it is unpacked."""
        return CACHE / f"{self.suite}-{self.architecture}"

    @property
    def bits64(self) -> bool:
        """Whether it is a 64-bit system."""
        return self.architecture == "arm64"

    @property
    def emulator(self) -> str:
        """The command of qemu-user."""
        return "qemu-aarch64" if self.bits64 else "qemu-arm"

    @property
    def runtime(self) -> str:
        """The TFLite runtime that has a wheel for it."""
        return "tflite_runtime" if self.pinned else "litert"


SYSTEMS = (
    System("bookworm", "arm64", "3.11", (A53, A72, A76)),
    System("trixie", "arm64", "3.13", (A72,)),
    # LiteRT, numpy and Pillow have no wheel for 32-bit ARM on PyPI.
    System("bookworm", "armhf", "3.11", (A7,), pinned=("tflite-runtime==2.14.0",)),
)
COUNTED = SYSTEMS[0]  # where instructions are counted
