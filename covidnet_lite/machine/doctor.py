"""One report of what matters here, to paste into a bug report."""

from __future__ import annotations

import platform
import sys

from .. import __version__
from ..errors import CovidNetLiteError
from ..network import edgetpu, model
from ..network.interpreter import RUNTIMES, Interpreter, available_cores, find_runtime, installed_runtimes
from ..network.lungs import load_finder
from . import board
from .board import installed

PACKAGES = ("numpy", "Pillow", "pydicom", *(package for _, package in RUNTIMES.values()))


def report() -> str:
    """Board, processor and their state, Python, packages, runtimes and what each makes of each network, Edge TPU."""
    lines = [
        f"covidnet-lite  {__version__}",
        f"board          {board.board()}",
        f"processor      {board.processor()}, {available_cores()} of its cores usable",
        f"memory         {board.memory()}",
        f"state          {board.state()}",
        f"system         {platform.platform()}",
        f"Python         {platform.python_version()} ({64 if sys.maxsize > 2**32 else 32} bit), {sys.executable}",
        "packages       " + ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name))),
    ]
    for name, digest in model.shipped().items():
        lines.append(f"model          {name}  sha256 {digest}, {_signed(name)}")
        for runtime in installed_runtimes():
            lines.append(f"               {runtime}: {_try(name, runtime)}")
    if not installed_runtimes():
        lines.append("runtimes       none; pip install ai-edge-litert")
    lines.append(f"Edge TPU       {_edge_tpu()}")
    return "\n".join(lines)


def _signed(name: str) -> str:
    try:
        found = model.signed(model.load(name), anew=True)
    except CovidNetLiteError as error:
        return str(error)
    return f"signed by {found.by}" if found.by else found.objection


def _edge_tpu() -> str:
    seen = ", ".join(board.edge_tpu()) or "none plugged in"
    why = edgetpu.missing()
    if why is not None:
        return f"{seen}; {edgetpu.LIBRARY} cannot be loaded ({why})"
    return f"{seen}; {edgetpu.LIBRARY} is installed; " + "; ".join(_open(runtime) for runtime in installed_runtimes())


def _open(runtime: str) -> str:
    try:
        edgetpu.delegate(find_runtime(runtime)[1])
    except CovidNetLiteError as error:
        return f"{runtime}: {error}"
    return f"{runtime}: opens it"


def _try(name: str, runtime: str) -> str:
    try:
        shipped = model.load(name)
        loaded = Interpreter(shipped, runtime, threads=1)
        load_finder(shipped.manifest.input, runtime, name)
    except CovidNetLiteError as error:
        return str(error)
    return f"runs it, input {loaded.input_dtype} {loaded.input_shape}"
