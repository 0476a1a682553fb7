"""A network that nobody trusted has signed is run in a process of its own first.

TFLite trusts the flatbuffer that it is given: one flipped bit, sealed anew, may end the process that loads it. So a
child loads it and runs it once, within limits of memory and time; only what it can run is then loaded here. That
is remembered by the hash of all that matters, so the next start does not wait. It protects from accidents and from
crude attacks; a network made to wait for its moment needs a signature to be asked for.
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

CACHE = "COVIDNET_LITE_CACHE"  # environment variable that names another folder for what has been survived
CPU_SECONDS, SECONDS = 120, 300  # of processor, and on the clock: VGG16 on a Raspberry Pi takes half a minute
MEMORY, COPIES = 512 << 20, 4  # bytes beside so many times the file
_ADVICE = "it is not loaded; convert it again, or sign it if you know what it is (covidnet-lite models sign)"


def survive(model: Model, runtime: str | None = None, threads: int | None = None, edgetpu: str | None = None) -> None:
    """Returns if another process could load and run a network.

    Raises:
        ModelError: it ended the process, took too much memory or too long, or cannot be used.
        BackendError: there is no such runtime, or it does not take the network.
    """
    passed = _passed(model, find_runtime(runtime)[0])
    if passed.exists():
        return
    end = _run(pickle.dumps((model, runtime, threads, edgetpu)))
    if isinstance(end, CovidNetLiteError):
        raise end
    if end:
        raise ModelError(f"{model.path}: {end}; {_ADVICE}")
    with suppress(OutputError):  # a read-only disk: it is tried at every start
        files.write(passed, "")


def _passed(model: Model, runtime: str) -> Path:
    """The file that says that this network, in this runtime, has been survived."""
    package = RUNTIMES[runtime].package
    with suppress(PackageNotFoundError):
        package += version(package)
    key = f"{model.sha256} {hashlib.sha256(model.manifest.to_json().encode()).hexdigest()} {package}"
    folder = os.environ.get(CACHE)
    own = Path(folder) if folder else files.own("XDG_CACHE_HOME", ".cache")
    return own / "survived" / hashlib.sha256(key.encode()).hexdigest()


def _run(question: bytes) -> str | CovidNetLiteError:
    """What happened to the process, in words, or the error that it met; empty where it could run the network."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), *sys.path)))
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=question,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {SECONDS} s to load and run in a process of its own"
    except OSError as error:
        return f"could not be tried in a process of its own ({error.strerror or error})"
    ready, _, answer = done.stdout.partition(b"\n")
    if answer:
        kind, message = json.loads(answer)
        return (
            {"ModelError": ModelError, "BackendError": BackendError}.get(kind, CovidNetLiteError)(message)
            if kind
            else ""
        )
    if ready != b"ready":
        return "could not be tried in a process of its own (Python cannot be started anew here)"
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        return f"took more than {CPU_SECONDS} s of processor to load and run"
    if done.returncode < 0:
        return f"ended the process that tried it with signal {-done.returncode}"
    return "took too much memory to load and run, or failed in a way that was not foreseen"


def _try() -> None:
    """The child: reads a question from standard input, and writes that it lives to standard output."""
    from . import lungs
    from .preprocess import look_up

    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever native code prints is no answer
    model, runtime, threads, edgetpu = pickle.loads(sys.stdin.buffer.read())
    answer = ("", "")
    try:
        find_runtime(runtime)
        out.write(b"ready\n")
        _limit(MEMORY + COPIES * len(model.data))
        network, spec = Interpreter(model, runtime, threads, edgetpu), model.manifest.input
        grain = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width), np.uint8)
        network.run(look_up(network.tables, grain))
        if spec.lungs:
            from PIL import Image

            lungs.load_finder(spec, network.runtime, str(model.path))
            lungs.find(Image.fromarray(grain), spec.lungs, network.runtime)
    except CovidNetLiteError as error:
        answer = (type(error).__name__, str(error))
    out.write(json.dumps(answer).encode())


def _limit(memory: int) -> None:
    """Lets this process take so many bytes more, and so many seconds of processor."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    with suppress(OSError, ValueError):  # not Linux
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + memory, held + memory))


if __name__ == "__main__":
    _try()
