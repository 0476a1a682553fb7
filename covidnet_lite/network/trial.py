"""Runs a network that no trusted key has signed in a process of its own first.

TFLite trusts its flatbuffer: one flipped bit, sealed anew, may end the process that loads it. So a child process loads
the network and runs it once, within limits of memory and time; only a network that it can run is then loaded here. A
file remembers each success, by the hash of all that matters, so that the next start does not wait. This protects from
accidents and crude attacks; against a network that misbehaves later, require a signature.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from .. import files
from ..errors import BackendError, CovidNetLiteError, ModelError, OutputError
from ..runtimes import RUNTIMES
from .interpreter import Interpreter, find_runtime
from .model import Model

CACHE = "COVIDNET_LITE_CACHE"  # environment variable that names another folder for the markers
CPU_SECONDS, SECONDS = 120, 300  # of processor, and on the clock: VGG16 on a Raspberry Pi takes half a minute
MEMORY, COPIES = 512 << 20, 4  # bytes beside so many times the file
_ADVICE = "it is not loaded; convert it again, or sign it if you know what it is (covidnet-lite models sign)"


def try_in_child(
    model: Model, runtime: str | None = None, threads: int | None = None, edgetpu: str | None = None
) -> None:
    """Returns if a child process could load and run a network.

    Raises:
        ModelError: the network ended the process, took too much memory or too long, or cannot be used.
        BackendError: there is no such runtime, or it does not take the network.
    """
    marker = _marker(model, find_runtime(runtime)[0])
    if marker.exists():
        return
    outcome = _run(pickle.dumps((model, runtime, threads, edgetpu)))
    if isinstance(outcome, CovidNetLiteError):
        raise outcome
    if outcome:
        raise ModelError(f"{model.path}: {outcome}; {_ADVICE}")
    with suppress(OutputError):  # on a read-only disk, the network is tried at every start
        files.write(marker, "")


def _marker(model: Model, runtime: str) -> Path:
    """The file that exists once this network has run in this runtime."""
    package = RUNTIMES[runtime].package
    with suppress(PackageNotFoundError):
        package += version(package)
    key = f"{model.sha256} {hashlib.sha256(model.manifest.to_json().encode()).hexdigest()} {package}"
    folder = os.environ.get(CACHE)
    own = Path(folder) if folder else files.own("XDG_CACHE_HOME", ".cache")
    return own / "survived" / hashlib.sha256(key.encode()).hexdigest()


def _run(request: bytes) -> str | CovidNetLiteError:
    """What went wrong with the process, in words, or the error that it reported; empty where it ran the network."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), *sys.path)))
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__],
            input=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {SECONDS} s to load and run in a process of its own"
    except OSError as error:
        return f"could not be tried in a process of its own ({error.strerror or error})"
    ready, _, response = process.stdout.partition(b"\n")
    if response:
        kind, message = json.loads(response)
        return (
            {"ModelError": ModelError, "BackendError": BackendError}.get(kind, CovidNetLiteError)(message)
            if kind
            else ""
        )
    if ready != b"ready":
        return "could not be tried in a process of its own (Python cannot be started anew here)"
    if process.returncode == -getattr(signal, "SIGXCPU", 0):
        return f"took more than {CPU_SECONDS} s of processor to load and run"
    if process.returncode < 0:
        return f"ended the process that tried it with signal {-process.returncode}"
    return "took too much memory to load and run, or failed in a way that was not foreseen"


def _try() -> None:
    """The child: reads a request from standard input, and writes ``ready`` and its result to standard output."""
    from . import lungs
    from .preprocess import look_up

    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # keeps what native code prints out of the response
    model, runtime, threads, edgetpu = pickle.loads(sys.stdin.buffer.read())
    response = ("", "")
    try:
        find_runtime(runtime)
        out.write(b"ready\n")
        _limit(MEMORY + COPIES * len(model.data))
        network, spec = Interpreter(model, runtime, threads, edgetpu), model.manifest.input
        noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width), np.uint8)
        network.run(look_up(network.tables, noise))
        if spec.lungs:
            from PIL import Image

            lungs.load_finder(spec, network.runtime, str(model.path))
            lungs.find(Image.fromarray(noise), spec.lungs, network.runtime)
    except CovidNetLiteError as error:
        response = (type(error).__name__, str(error))
    out.write(json.dumps(response).encode())


def _limit(memory: int) -> None:
    """Limits what this process may take from now on, in bytes of memory and seconds of processor."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    with suppress(OSError, ValueError):  # not Linux
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))


if __name__ == "__main__":
    _try()
