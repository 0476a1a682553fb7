"""A report on the machine and the installation, to paste into a bug report."""

from __future__ import annotations

import platform
import sys
from typing import Any

from .. import __version__
from ..errors import CovidNetLiteError
from ..network import edgetpu, model
from ..network.interpreter import Interpreter, available_cores, find_runtime, installed_runtimes
from ..network.lungs import load_finder
from ..runtimes import RUNTIMES
from ..site import site as sites
from . import board
from .board import installed

PACKAGES = ("numpy", "Pillow", "pydicom", *(runtime.package for runtime in RUNTIMES.values()))


def facts(site: str | None = None) -> dict[str, Any]:
    """Board, processor and their state, Python, packages, whether each runtime runs each network, Edge TPU.

    Also the content of the file of a ``site``.
    """
    return {
        "covidnet-lite": __version__,
        "board": str(board.board()),
        "processor": f"{board.processor()}, {available_cores()} of its cores usable",
        "memory": str(board.memory()),
        "state": str(board.state()),
        "system": platform.platform(),
        "Python": f"{platform.python_version()} ({64 if sys.maxsize > 2**32 else 32} bit), {sys.executable}",
        "packages": {name: version for name in PACKAGES if (version := installed(name))},
        "models": [
            {
                "name": name,
                "sha256": digest,
                "signed": _signed(name),
                "runtimes": {runtime: _try(name, runtime) for runtime in installed_runtimes()},
            }
            for name, digest in model.shipped().items()
        ],
        "Edge TPU": _edge_tpu(),
        **({"site": _site(site)} if site is not None else {}),
    }


def report(site: str | None = None) -> str:
    """The same as text."""
    return text(facts(site))


def text(fields: dict[str, Any]) -> str:
    """The result of :func:`facts` as lines of text."""
    lines = []
    for name, value in fields.items():
        if name == "packages":
            value = ", ".join(f"{package} {version}" for package, version in value.items())
        if name != "models":
            lines.append(f"{name:<15}{value}")
            continue
        for network in value:
            lines.append(f"{'model':<15}{network['name']}  sha256 {network['sha256']}, {network['signed']}")
            lines += [f"{'':<15}{runtime}: {does}" for runtime, does in network["runtimes"].items()]
        if not installed_runtimes():
            lines.append(f"{'runtimes':<15}none; pip install ai-edge-litert")
    return "\n".join(lines)


def _site(path: str) -> str:
    try:
        site = sites.read(path)
    except CovidNetLiteError as error:
        return str(error)
    shipped = next((name for name, digest in model.shipped().items() if digest == site.sha256), None)
    return f"{site} for {site.network}" + (
        f", which is {shipped} of this package" if shipped else "; no network of this package"
    )


def _signed(name: str) -> str:
    try:
        signature = model.check_signature(model.load(name), anew=True)
    except CovidNetLiteError as error:
        return str(error)
    return f"signed by {signature.by}" if signature.by else signature.objection


def _edge_tpu() -> str:
    devices = ", ".join(board.edge_tpu()) or "none plugged in"
    reason = edgetpu.load_error()
    if reason is not None:
        return f"{devices}; {edgetpu.LIBRARY} cannot be loaded ({reason})"
    return f"{devices}; {edgetpu.LIBRARY} is installed; " + "; ".join(
        _open(runtime) for runtime in installed_runtimes()
    )


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
