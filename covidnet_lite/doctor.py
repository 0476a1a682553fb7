"""One report of what matters here, to paste into a bug report."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import __version__, model
from .errors import CovidNetLiteError
from .interpreter import RUNTIMES, Interpreter, available_cores, installed_runtimes
from .lungs import load_finder

PACKAGES = ("numpy", "Pillow", "pydicom", *(package for _, package in RUNTIMES.values()))


def report() -> str:
    """Board, processor, Python, packages, runtimes and what each makes of each network."""
    lines = [
        f"covidnet-lite  {__version__}",
        f"board          {board()}",
        f"processor      {processor()}, {available_cores()} of its cores usable",
        f"memory         {memory()}",
        f"system         {platform.platform()}",
        f"Python         {platform.python_version()} ({64 if sys.maxsize > 2**32 else 32} bit), {sys.executable}",
        "packages       " + ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name))),
    ]
    for name, digest in model.shipped().items():
        lines.append(f"model          {name}  sha256 {digest}")
        for runtime in installed_runtimes():
            lines.append(f"               {runtime}: {_try(name, runtime)}")
    if not installed_runtimes():
        lines.append("runtimes       none; pip install ai-edge-litert")
    lines.append(f"Edge TPU       {edge_tpu()}")
    return "\n".join(lines)


def installed(package: str) -> str | None:
    """A package's version, or ``None``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def board() -> str:
    """The board's name from the device tree, as on a Raspberry Pi; else the machine's kind."""
    return _first_line("/proc/device-tree/model") or _first_line("/sys/class/dmi/id/product_name") or platform.machine()


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def memory() -> str:
    """Total memory."""
    first = _first_line("/proc/meminfo")  # MemTotal: N kB
    return f"{int(first.split()[1]) / 1024**2:.1f} GiB" if first else "unknown"


def edge_tpu() -> str:
    """Whether the Edge TPU's library can be loaded."""
    import ctypes

    try:
        ctypes.CDLL("libedgetpu.so.1")
    except OSError:
        return "libedgetpu.so.1 is not installed"
    return "libedgetpu.so.1 is installed"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().split("\n")[0].strip("\0 ")
    except OSError:
        return ""


def _try(name: str, runtime: str) -> str:
    try:
        shipped = model.load(name)
        loaded = Interpreter(shipped, runtime, threads=1)
        load_finder(shipped.manifest.input, runtime, name)
    except CovidNetLiteError as error:
        return str(error)
    return f"runs it, input {loaded.input_dtype} {loaded.input_shape}"
