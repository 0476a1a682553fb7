"""One Python program in an emulated Pi, or on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import roots
from .systems import HERE, EmulationError, Processor, System

INSIDE = HERE / "inside.py"
LINKED = ("bin", "sbin", "lib", "usr")


@dataclass(frozen=True)
class Machine:
    """Where a program can run.

    Attributes:
        name: to tell people.
        command: runs Python there.
        path: folders for ``PYTHONPATH``.
    """

    name: str
    command: tuple[str, ...]
    path: tuple[Path, ...]


def here(package: Path) -> Machine:
    """This machine, with the packages of this Python."""
    return Machine("x86-64", (sys.executable,), (package,))


def emulated(system: System, processor: Processor, package: Path, plugin: Path | None = None) -> Machine:
    """A system on a processor, made by ``roots.prepare`` and :func:`view`; ``plugin`` watches what it executes."""
    root = system.folder / "root"
    libraries = root / "usr/lib/arm-linux-gnueabihf"
    numpys = ["-E", f"LD_LIBRARY_PATH={libraries}/blas:{libraries}/lapack"] if system.pinned else []
    watched = ["-plugin", str(plugin)] if plugin else []
    qemu = [*roots.emulator(system), "-cpu", processor.name, "-L", str(_root(system, processor)), *numpys, *watched]
    python = str(root / f"usr/bin/python{system.python}")
    return Machine(f"{system.name}, {processor.name}", (*qemu, python), (package, system.folder / "site"))


def run(machine: Machine, arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Runs ``inside.py`` there.

    Raises:
        EmulationError: it failed.
    """
    # Of this machine's settings none but these: hashes the same in each run, and no threads but those asked for.
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OPENBLAS", "LD_"))},
        "PYTHONPATH": os.pathsep.join(map(str, machine.path)),
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [*machine.command, str(INSIDE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise EmulationError(
            f"{machine.name}: the program failed with {done.returncode}\n{done.stderr.strip()[-2000:]}\n"
            f"to see it again: PYTHONPATH={env['PYTHONPATH']} {' '.join(command)}"
        )
    return done


def _root(system: System, processor: Processor) -> Path:
    return system.folder / processor.name


def view(system: System, processor: Processor) -> Path:
    """Makes the root as one processor sees it: the same but for what names the processor. What is not in it qemu takes
    from the host."""
    folder = _root(system, processor)
    for name, text in processor.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in LINKED:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"../root/{name}")
    return folder
