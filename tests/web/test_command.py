"""``covidnet-lite serve``: what it says when it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("starlette")


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_address_is_on_standard_output_and_a_warning_in_the_log(form: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covidnet_lite", "serve", "--port", "0", "--model", "nano", "--log-format", form]
    process = subprocess.Popen(
        [*command, "--keep", str(tmp_path)], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    line = process.stdout.readline()
    process.terminate()
    _, log = process.communicate(timeout=60)
    if form == "text":
        assert line.startswith("http://127.0.0.1:")
        assert log.startswith("covidnet-lite: warning: --keep stores the images")
    else:
        assert json.loads(line)["fields"]["url"].startswith("http://127.0.0.1:")
        assert [json.loads(one)["level"] for one in log.splitlines()] == ["warning"]
