"""Debian packages, unpacked into a folder that qemu-user takes for the root: no chroot, no container, no binfmt."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from covidnet_lite import files

from .systems import QEMU, EmulationError, System

TOOLS = {"cc": "gcc libc6-dev", "dpkg-deb": "dpkg"}
PYTHON = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
IMAGE_PACKAGES = ("python3-numpy", "python3-pil")  # where PyPI has no wheels of them
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"


def run(command: Sequence[object], what: str, env: dict[str, str] | None = None) -> str:
    """Runs a command; its standard output.

    Raises:
        EmulationError: it failed; the message says at what, and ends as the command did.
    """
    try:
        result = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(env or {})}
        )
    except OSError as error:
        raise EmulationError(f"{what}: {command[0]} cannot be run ({error})") from error
    if result.returncode:
        end = (result.stderr.strip() or result.stdout.strip())[-1500:]
        raise EmulationError(f"{what}: {command[0]} failed with {result.returncode}\n{end}")
    return result.stdout


def install_tools() -> None:
    """Installs a C compiler where it is missing.

    Raises:
        EmulationError: it is missing, and this is not root on a Debian with a connection; or this is no x86-64.
    """
    if platform.machine() != "x86_64":
        raise EmulationError(f"emulated Pis are compared with x86-64, so on an x86-64; this is {platform.machine()}")
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


def prepare(system: System) -> None:
    """Makes the root of a system.

    Raises:
        EmulationError: Debian's packages cannot be had.
    """
    packages = [*PYTHON, *(IMAGE_PACKAGES if system.pinned else ())]
    _unpack(system.folder, system.suite, system.architecture, packages)


def prepare_emulators() -> None:
    """Makes a root of qemu-user and its libraries.

    Raises:
        EmulationError: Debian's packages cannot be had.
    """
    _unpack(QEMU, "bookworm", "amd64", ["qemu-user"])


def emulator(system: System) -> list[str]:
    """The command of qemu for a system. It is bookworm's wherever this runs, for trixie's takes no plugin."""
    libraries = QEMU / "root/usr/lib/x86_64-linux-gnu"
    loader, program = libraries / "ld-linux-x86-64.so.2", QEMU / "root/usr/bin" / system.emulator
    return [str(loader), "--library-path", str(libraries), str(program)]


def _unpack(folder: Path, suite: str, architecture: str, packages: Sequence[str]) -> None:
    """Debian's packages and all they depend on in ``folder/root``, if it is not there or was made of others."""
    root, stamp, name = folder / "root", folder / "root.txt", folder.name
    description = f"{MIRROR} {' '.join(packages)}\n"
    if stamp.is_file() and stamp.read_text() == description:
        return
    shutil.rmtree(folder, ignore_errors=True)
    apt = _apt_of_its_own(folder / "apt", suite, architecture)
    env = {"APT_CONFIG": str(apt / "apt.conf")}
    run(["apt-get", "update", "-qq"], f"{name}: looking for packages", env)
    run(["apt-get", "install", "-y", "-qq", "--download-only", *packages], f"{name}: downloading", env)
    for merged in ("bin", "sbin", "lib"):  # /usr is merged, and packages count on the links being there
        (root / "usr" / merged).mkdir(parents=True)
        (root / merged).symlink_to(f"usr/{merged}")
    for package in sorted(apt.glob("archives/*.deb")):
        script = 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"'
        run(["bash", "-o", "pipefail", "-c", script, "_", package, root], f"{name}: unpacking {package.name}")
    shutil.rmtree(apt)
    files.write(stamp, description)


def _apt_of_its_own(apt: Path, suite: str, architecture: str) -> Path:
    """Makes a folder with a configuration of apt that knows nothing of this machine's packages."""
    if not Path(KEYRING).is_file():
        raise EmulationError(f"{KEYRING} is missing: run `apt-get install debian-archive-keyring` as root")
    for folder in ("lists/partial", "archives/partial", "sources"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources/debian.sources").write_text(
        f"Types: deb\nURIs: {MIRROR}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    options = {
        "APT::Architecture": architecture,
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
    lines.append(f'APT::Architectures {{ "{architecture}"; }};')
    (apt / "apt.conf").write_text("\n".join(lines) + "\n")
    return apt
