"""Debian packages, unpacked into a folder that qemu-user takes for the root: no chroot, no container, no binfmt."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from covidnet_lite import files

from .systems import EmulationError, System

TOOLS = {"qemu-aarch64": "qemu-user", "qemu-arm": "qemu-user", "cc": "gcc libc6-dev", "dpkg-deb": "dpkg"}
PYTHON = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
PICTURES = ("python3-numpy", "python3-pil")  # where PyPI has no wheels of them
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"


def run(command: Sequence[object], what: str, env: dict[str, str] | None = None) -> str:
    """Runs a command; its standard output.

    Raises:
        EmulationError: it failed; the message says at what, and ends as the command did.
    """
    try:
        done = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(env or {})}
        )
    except OSError as error:
        raise EmulationError(f"{what}: {command[0]} cannot be run ({error})") from error
    if done.returncode:
        end = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise EmulationError(f"{what}: {command[0]} failed with {done.returncode}\n{end}")
    return done.stdout


def install_tools() -> None:
    """Installs qemu-user and a C compiler where they are missing.

    Raises:
        EmulationError: they are missing, and this is not root on a Debian with a connection.
    """
    missing = sorted({word for tool, p in TOOLS.items() if shutil.which(tool) is None for word in p.split()})
    if missing:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise EmulationError(
                f"an emulated Pi needs {', '.join(missing)}: as root, on Debian, run "
                f"`apt-get install {' '.join(missing)}`"
            )
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], "looking for packages", env)
        run(install, f"installing {', '.join(missing)}", env)
    if shutil.which("apt-get") is None:
        raise EmulationError("an emulated Pi is unpacked from Debian's packages by apt-get, which is not here")


def prepare(system: System) -> Path:
    """The root of a system, made if it is not there or was made of other packages.

    Raises:
        EmulationError: Debian's packages cannot be had.
    """
    packages = [*PYTHON, *(PICTURES if system.pinned else ())]
    root, stamp = system.folder / "root", system.folder / "root.txt"
    made_of = f"{MIRROR} {' '.join(packages)}\n"
    if stamp.is_file() and stamp.read_text() == made_of:
        return root
    shutil.rmtree(system.folder, ignore_errors=True)
    apt = _apt_of_its_own(system)
    env = {"APT_CONFIG": str(apt / "apt.conf")}
    run(["apt-get", "update", "-qq"], f"{system.name}: looking for packages", env)
    run(["apt-get", "install", "-y", "-qq", "--download-only", *packages], f"{system.name}: downloading Python", env)
    for folder in ("bin", "sbin", "lib"):  # /usr is merged, and packages count on the links being there
        (root / "usr" / folder).mkdir(parents=True)
        (root / folder).symlink_to(f"usr/{folder}")
    for package in sorted(apt.glob("archives/*.deb")):
        script = 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"'
        run(["bash", "-o", "pipefail", "-c", script, "_", package, root], f"{system.name}: unpacking {package.name}")
    shutil.rmtree(apt)
    files.write(stamp, made_of)
    return root


def _apt_of_its_own(system: System) -> Path:
    """A folder with a configuration of apt that knows nothing of this machine's packages."""
    if not Path(KEYRING).is_file():
        raise EmulationError(f"{KEYRING} is missing: run `apt-get install debian-archive-keyring` as root")
    apt = system.folder / "apt"
    for folder in ("lists/partial", "archives/partial", "sources"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources/debian.sources").write_text(
        f"Types: deb\nURIs: {MIRROR}\nSuites: {system.suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    options = {
        "APT::Architecture": system.architecture,
        "APT::Sandbox::User": "root",  # which may read this folder, wherever it lies
        "APT::Install-Recommends": "false",
        "Acquire::Retries": "3",
        "Dir::State": apt,
        "Dir::State::status": apt / "status",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt,
        "Dir::Cache::archives": apt / "archives",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": apt / "sources",
    }
    lines = [f'{key} "{value}";' for key, value in options.items()]
    lines.append(f'APT::Architectures {{ "{system.architecture}"; }};')
    (apt / "apt.conf").write_text("\n".join(lines) + "\n")
    return apt
