"""Instructions that a classification takes on an emulated processor: the same in each run, whatever else goes on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from covidnet_lite.errors import ModelError
from covidnet_lite.network import model as models

from . import emulate, roots
from .reference import DIGITS, Row
from .systems import CACHE, COUNTED, HERE, EmulationError, Processor

RUNS = 3  # the first is not counted: it makes what the others find; the others take the same to 0.01 %


def plugin() -> Path:
    """Compiles ``count.c``."""
    library = CACHE / "count.so"
    roots.run(["cc", "-O2", "-shared", "-fPIC", HERE / "count.c", "-o", library], "compiling the plugin that counts")
    return library


def count(processor: Processor, networks: Sequence[str], picture: Path, package: Path, plugin_: Path) -> list[Row]:
    """Instructions of each network's ``classify`` of an image and bare ``invoke``, one thread: the mean of all runs
    but the first.

    Args:
        networks: names of shipped networks, or paths; of a ``.tflite`` without manifest only ``invoke``.
        package: the installed wheel.
        plugin_: the compiled plugin.

    Raises:
        EmulationError: the program failed, or told no counts.
    """
    machine = emulate.emulated(COUNTED, processor, package, plugin_)
    result = emulate.run(machine, ["counts", "--networks", *networks, "--pictures", picture, "--runs", RUNS])
    stages = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("[")]
    marks = [int(found) for found in re.findall(r"^instructions (\d+)$", result.stderr, re.M)]
    if len(marks) != 2 * len(stages) or not stages:
        raise EmulationError(f"{machine.name}: {len(marks)} counts for {len(stages)} stages")
    per_run = [round((last - first) / (RUNS - 1)) for first, last in zip(marks[::2], marks[1::2])]
    return [Row(processor.name, *identity(network), stage, number) for (network, stage), number in zip(stages, per_run)]


def identity(network: str) -> tuple[str, str, str]:
    """Name, hash and the hash of the trained network it was made from, where that is known."""
    name = Path(network).stem
    try:
        loaded = models.load(network)
    except ModelError:
        return name, hashlib.sha256(Path(network).read_bytes()).hexdigest()[:DIGITS], ""
    checkpoint = str(loaded.manifest.provenance.get("network_sha256", ""))
    return name, loaded.sha256[:DIGITS], checkpoint[:DIGITS]
