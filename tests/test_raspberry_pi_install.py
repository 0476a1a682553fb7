"""``examples/raspberry_pi/install.sh`` on made-up boards: another /proc, another uname, another Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "examples/raspberry_pi"

# Tells what the script asks Python for; makes a virtual environment of itself; installs by writing down what was asked.
PYTHON = """#!/bin/sh
case $1 in
    -c) echo {version} {bits} {venv} {pictures} ;;
    -m)
        case $2 in
            venv)
                for prefix; do :; done
                mkdir -p "$prefix/bin"
                echo "version = {dotted}.2" >"$prefix/pyvenv.cfg"
                cp "$0" "$prefix/bin/python"
                printf '#!/bin/sh\\necho "{doctor}"\\n' >"$prefix/bin/covidnet-lite"
                chmod +x "$prefix/bin/covidnet-lite"
                ;;
            pip) echo "$@" >>{log}; exit {pip} ;;
        esac ;;
esac
"""


@dataclass(frozen=True)
class Board:
    """A board laid out in a folder."""

    folder: Path
    machine: str = "aarch64"
    version: tuple[int, int] = (3, 11)
    bits: int = 64
    venv: bool = True
    pictures: bool = True
    memory: int = 4_000_000  # kB
    pip: int = 0  # its exit code
    doctor: str = "ai-edge-litert 2.3.0 runs it"

    @property
    def prefix(self) -> Path:
        return self.folder / "home/covidnet"

    @property
    def asked_of_pip(self) -> str:
        log = self.folder / "pip.log"
        return log.read_text() if log.exists() else ""

    def install(self, *options: object, answer: str = "") -> subprocess.CompletedProcess[str]:
        tools, root = self.folder / "tools", self.folder / "root"
        for folder in (tools, root / "proc/device-tree", root / "etc", self.folder / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        (root / "proc/device-tree/model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
        (root / "proc/meminfo").write_text(f"MemTotal:        {self.memory} kB\n")
        (root / "etc/os-release").write_text('PRETTY_NAME="Raspberry Pi OS 12"\nID=raspbian\n')
        (tools / "uname").write_text(f"#!/bin/sh\necho {self.machine}\n")
        words = {True: "yes", False: "no"}
        (tools / "python3").write_text(
            PYTHON.format(
                version=" ".join(map(str, self.version)),
                dotted=".".join(map(str, self.version)),
                bits=self.bits,
                venv=words[self.venv],
                pictures=words[self.pictures],
                log=self.folder / "pip.log",
                pip=self.pip,
                doctor=self.doctor,
            )
        )
        for tool in tools.iterdir():
            tool.chmod(0o755)
        return subprocess.run(
            ["sh", SCRIPTS / "install.sh", "--prefix", self.prefix, *map(str, options)],
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "COVIDNET_LITE_ROOT": str(root)},
        )


def test_a_dry_run_tells_the_board_and_every_step_and_changes_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    process = board.install("--dry-run", "--dicom")
    assert process.returncode == 0, process.stderr
    for words in ("Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi OS 12", "3.11, 64 bits", "ai-edge-litert"):
        assert words in process.stdout
    assert f"python3 -m venv {board.prefix}" in process.stdout
    assert "[dicom,watch]" in process.stdout
    assert not board.prefix.exists()
    assert not board.asked_of_pip


@pytest.mark.parametrize("answer", ["", "n\n", "perhaps\n"])
def test_nothing_happens_without_a_yes(answer: str, tmp_path: Path) -> None:
    board = Board(tmp_path)
    process = board.install(answer=answer)
    assert process.returncode == 1
    assert "nothing was changed" in process.stderr
    assert not board.prefix.exists()


def test_what_was_said_is_done(tmp_path: Path) -> None:
    board = Board(tmp_path)
    dry_run = board.install("--dry-run").stdout
    process = board.install(answer="y\n")
    assert process.returncode == 0, process.stderr
    assert board.asked_of_pip.strip() in dry_run
    assert "runs it" in process.stdout
    assert not (board.prefix / "tmp").exists()


def test_it_may_be_run_again_to_renew(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.install("--yes").returncode == 0
    assert board.install("--yes").returncode == 0
    assert len(board.asked_of_pip.splitlines()) == 2


def test_a_32_bit_system_gets_tflite_runtime_whatever_its_kernel_is(tmp_path: Path) -> None:
    for number, machine in enumerate(("armv7l", "aarch64", "armv8l")):
        process = Board(tmp_path / str(number), machine=machine, bits=32).install("--dry-run", "--dicom")
        assert process.returncode == 0, process.stderr
        assert "tflite-runtime==2.14.0" in process.stdout
        assert "--system-site-packages" in process.stdout
        assert "--no-deps" in process.stdout
        assert "pydicom" in process.stdout
        assert "litert" not in process.stdout.replace("covidnet-lite", "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"machine": "armv6l", "bits": 32}, "ARMv6"),
        ({"machine": "riscv64"}, "riscv64"),
        ({"machine": "x86_64", "bits": 32}, "32-bit Python"),
        ({"version": (3, 9)}, "3.9 is too old"),
        ({"version": (3, 15)}, "3.15 is too new"),
        ({"machine": "armv7l", "bits": 32, "version": (3, 13)}, "64-bit Raspberry Pi OS"),
        ({"venv": False}, "python3-venv"),
        ({"machine": "armv7l", "bits": 32, "pictures": False}, "python3-numpy python3-pil"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(changes: dict[str, object], why: str, tmp_path: Path) -> None:
    board = Board(tmp_path, **changes)  # type: ignore[arg-type]
    process = board.install("--yes")
    assert process.returncode == 1
    assert why in process.stderr
    assert not board.prefix.exists()
    assert not board.asked_of_pip


def test_little_memory_is_a_warning_and_no_refusal(tmp_path: Path) -> None:
    assert "warning" not in Board(tmp_path / "a").install("--dry-run").stderr
    process = Board(tmp_path / "b", memory=380_000).install("--dry-run")
    assert process.returncode == 0
    assert "371 MB of memory is little" in process.stderr


def test_which_dicom_files_32_bits_cannot_read_is_told_to_who_asks_for_dicom(tmp_path: Path) -> None:
    board = Board(tmp_path / "a", machine="armv7l", bits=32)
    assert "DICOM" not in board.install("--dry-run").stderr
    output = board.install("--dry-run", "--dicom")
    assert output.returncode == 0
    for words in ("only those in RLE", "JPEG 2000", "64-bit", "gdcmconv --raw"):
        assert words in output.stderr
    assert not Board(tmp_path / "b").install("--dry-run", "--dicom").stderr


@pytest.mark.parametrize("changes", [{"pip": 1}, {"doctor": "ai-edge-litert 2.3.0 cannot be loaded"}])
def test_a_step_that_fails_leaves_nothing(changes: dict[str, object], tmp_path: Path) -> None:
    board = Board(tmp_path, **changes)  # type: ignore[arg-type]
    process = board.install("--yes")
    assert process.returncode == 1
    assert "nothing is left of it" in process.stderr
    assert not board.prefix.exists()


def test_a_renewal_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    assert Board(tmp_path).install("--yes").returncode == 0
    board = Board(tmp_path, pip=1)
    assert board.install("--yes").returncode == 1
    assert (board.prefix / "pyvenv.cfg").is_file()


def test_a_folder_that_holds_something_else_is_not_touched(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.prefix.mkdir(parents=True)
    (board.prefix / "thesis.txt").write_text("mine")
    process = board.install("--yes")
    assert process.returncode == 1
    assert "holds something else" in process.stderr
    assert [path.name for path in board.prefix.iterdir()] == ["thesis.txt"]


def test_an_environment_of_another_python_is_not_mixed_up(tmp_path: Path) -> None:
    assert Board(tmp_path).install("--yes").returncode == 0
    process = Board(tmp_path, version=(3, 13)).install("--yes")
    assert process.returncode == 1
    assert "was made for Python 3.11" in process.stderr


def wheelhouse(folder: Path, *names: str) -> Path:
    """Wheels by name only, and their hashes."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    lines = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


OURS, LITERT = "covidnet_lite-0.1.0-py3-none-any.whl", "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_27_aarch64.whl"


def test_a_wheelhouse_is_used_without_a_connection(tmp_path: Path) -> None:
    wheels = wheelhouse(tmp_path / "wheels", OURS, LITERT)
    board = Board(tmp_path / "board")
    process = board.install("--wheelhouse", wheels, "--yes")
    assert process.returncode == 0, process.stderr
    assert f"--no-index --find-links {wheels}" in board.asked_of_pip


@pytest.mark.parametrize(
    ("names", "missing"),
    [((LITERT,), "covidnet_lite-"), ((OURS,), "ai_edge_litert"), ((OURS, LITERT.replace("311", "313")), "cp311")],
)
def test_a_wheelhouse_for_another_board_is_refused(names: tuple[str, ...], missing: str, tmp_path: Path) -> None:
    process = Board(tmp_path / "board").install("--wheelhouse", wheelhouse(tmp_path / "wheels", *names), "--yes")
    assert process.returncode == 1
    assert "holds no" in process.stderr
    assert missing in process.stderr


def test_a_wheelhouse_with_one_byte_changed_is_refused(tmp_path: Path) -> None:
    wheels = wheelhouse(tmp_path / "wheels", OURS, LITERT)
    (wheels / OURS).write_text(OURS.replace("0", "1", 1))
    board = Board(tmp_path / "board")
    process = board.install("--wheelhouse", wheels, "--yes")
    assert process.returncode == 1
    assert "damaged" in process.stderr
    assert not board.asked_of_pip


@pytest.mark.parametrize("options", [["--wheelhouse"], ["--python", ""], ["--frobnicate"], ["stray"]])
def test_wrong_usage_is_told_apart(options: list[str], tmp_path: Path) -> None:
    process = Board(tmp_path).install(*options)
    assert process.returncode == 2
    assert "--help" in process.stderr


def test_every_option_has_help() -> None:
    output = subprocess.run(["sh", SCRIPTS / "install.sh", "--help"], capture_output=True, text=True, check=True).stdout
    cases = [
        line.strip() for line in (SCRIPTS / "install.sh").read_text().splitlines() if line.strip().startswith("--")
    ]
    options = {word for line in cases if ")" in line for word in line.split(")")[0].split(" | ")}
    assert {"--prefix", "--dry-run"} <= options
    for option in options:
        assert option in output


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs Debian's shellcheck")
    process = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert not process.stdout
