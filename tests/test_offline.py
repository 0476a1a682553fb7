"""The package connects to nothing by itself. Every test but those of services runs without sockets (conftest.py)."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_socket import SocketBlockedError, SocketConnectBlockedError

from covidnet_lite import cli, exit_codes

SCRIPT = """
import sys, pytest_socket
pytest_socket.disable_socket()
from covidnet_lite.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_test_of_the_library_cannot_open_a_socket() -> None:
    with pytest.raises(SocketBlockedError):
        socket.create_connection(("127.0.0.1", 9), 1)
    with pytest.raises(SocketBlockedError):
        socket.getaddrinfo("localhost", 9)


@pytest.mark.local
def test_a_test_of_a_service_reaches_only_this_machine() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 9), 1)
    with pytest.raises(SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 9), 1)


def test_every_command_but_the_services_works_without_sockets(
    film: Path, film_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # `watch` would keep pytest from being stopped
    copied = shutil.copy(film, tmp_path)
    for command in (
        ["classify", film_png, copied, "--heatmap", tmp_path / "maps"],
        ["classify", copied, "--dicom-out", tmp_path / "results"],
        ["watch", tmp_path, "--once", "--settle", "0.05"],
        ["models"],
        ["models", "verify", "base", "nano"],
        ["models", "trust"],
        ["doctor"],
        ["benchmark", "--model", "nano", "--rounds", "1", "--threads", "1", "--images", film_png],
    ):
        assert cli.main([str(word) for word in command]) in (exit_codes.OK, exit_codes.NO_ANSWER), command


def test_a_process_of_its_own_needs_no_socket_from_its_start(film_png: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, "classify", film_png], capture_output=True, text=True, timeout=120
    )
    assert process.returncode in (exit_codes.OK, exit_codes.NO_ANSWER), process.stderr
