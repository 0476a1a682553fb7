"""Wheels: those of others for a foreign processor, and this project's own, the same for all."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from covidnet_lite import files

from .roots import run
from .systems import CACHE, HERE, ROOT, EmulationError, System

REQUIREMENTS = HERE / "requirements.txt"
PLATFORMS = {
    "arm64": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    "armhf": ("manylinux_2_34_armv7l",),
}
PACKAGED = ("setup.py", "pyproject.toml", "README.md", "MODEL_CARD.md", "LICENSE", "convert", "covidnet_lite")


def pip(*arguments: object, what: str) -> None:
    """Runs this Python's pip.

    Raises:
        EmulationError: it failed, e.g. for want of a connection.
    """
    options = ("--quiet", "--disable-pip-version-check")
    run([sys.executable, "-m", "pip", *options, *arguments], what, {"PIP_ROOT_USER_ACTION": "ignore"})


def site(system: System) -> Path:
    """A folder of a system's packages from PyPI, filled if it is not there or holds others."""
    folder, stamp = system.folder / "site", system.folder / "site.txt"
    requirements = [*system.pinned] or [
        line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")
    ]
    if stamp.is_file() and stamp.read_text().splitlines() == requirements:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    abi = "cp" + system.python.replace(".", "")
    platforms = [word for name in PLATFORMS[system.architecture] for word in ("--platform", name)]
    python = ["--python-version", system.python, "--implementation", "cp"]
    abis = [word for name in (abi, "abi3", "none") for word in ("--abi", name)]
    pip(
        *("install", "--no-deps", "--only-binary=:all:", *platforms, *python, *abis, "--target", folder, *requirements),
        what=f"{system.name}: downloading wheels",
    )
    files.write(stamp, "\n".join(requirements) + "\n")
    return folder


def package() -> Path:
    """This project's wheel, built from the working tree and unpacked: pure Python, so one folder serves everywhere."""
    folder = CACHE / "package"
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"  # not in the tree, where setuptools would pack what an earlier build left
        source.mkdir()
        for name in PACKAGED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
        pip("wheel", "--no-deps", "--no-build-isolation", "-w", scratch, source, what="building this project's wheel")
        built = sorted(Path(scratch).glob("*-py3-none-any.whl"))
        if len(built) != 1:
            raise EmulationError("building this project's wheel: it is no longer pure Python, or has no wheel")
        with zipfile.ZipFile(built[0]) as wheel:
            wheel.extractall(folder)
    return folder
