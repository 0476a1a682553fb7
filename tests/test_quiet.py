"""Standard error without the runtime's chatter, and with everything else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from covidnet_lite import quiet


def stderr_of(program: str, *args: object) -> str:
    """What a program says on standard error."""
    process = subprocess.run(
        [sys.executable, "-c", program, *map(str, args)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return process.stderr


def test_a_call_from_python_says_nothing_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)).save(path)
    assert stderr_of("import sys, covidnet_lite; covidnet_lite.classify(sys.argv[1], model='nano')", path) == ""


def test_what_python_says_while_an_interpreter_is_made_is_heard_and_what_native_code_says_is_not() -> None:
    program = """
import os, sys, warnings
from covidnet_lite.quiet import silent_creation
with silent_creation():
    os.write(2, b"native\\n")
    warnings.warn("python's own")
    print("too", file=sys.stderr)
os.write(2, b"after\\n")
"""
    output = stderr_of(program)
    assert "native" not in output
    assert [word in output for word in ("python's own", "too", "after")] == [True] * 3


def test_importing_the_package_leads_nothing_elsewhere() -> None:
    program = "import os; before = os.fstat(2); import covidnet_lite, covidnet_lite.classifier; "
    assert stderr_of(program + "assert os.path.samestat(before, os.fstat(2)); os.write(2, b'heard')") == "heard"


def test_many_at_once_leave_standard_error_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)

    def many() -> None:
        for _ in range(50):
            with quiet.silent_creation():
                os.write(2, b"native")

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.samestat(before, os.fstat(2))
    assert "native" not in capfd.readouterr().err


def test_a_standard_error_that_is_closed_is_no_trouble() -> None:
    stderr_of("import os; os.close(2); from covidnet_lite.quiet import silent_creation\nwith silent_creation(): pass")
