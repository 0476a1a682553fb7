"""The log as text and as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import pytest
from conftest import ROOT

from covidnet_lite import logs
from covidnet_lite.codes import Code
from covidnet_lite.unforeseen import unforeseen

Started = Callable[..., logging.Logger]


@pytest.fixture
def started() -> Iterator[Callable[..., logging.Logger]]:
    """Has the log written until the end of the test; a logger of the package."""
    with ExitStack() as stack:

        def start(*how: str) -> logging.Logger:
            stack.enter_context(logs.writing(*how))
            return logging.getLogger(f"{logs.PACKAGE}.node")

        yield start


def test_a_line_of_json_has_time_level_code_message_and_fields(
    started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    log = started("json")
    log.warning("set aside: %s\nand %s", "a", "b", **logs.coded("quarantined", uid="1.2.3", sender=None))
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    when = datetime.fromisoformat(record.pop("time").replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - when).total_seconds()) < 60
    assert record == {
        "level": "warning",
        "code": "quarantined",
        "message": "set aside: a\nand b",
        "fields": {"uid": "1.2.3"},
    }


def test_a_line_without_a_code_has_the_same_keys(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    log = started("json")
    log.info("hello")
    record = json.loads(capsys.readouterr().err)
    assert list(record) == ["time", "level", "code", "message", "fields"]
    assert (record["code"], record["fields"]) == (None, {})


def test_text_is_a_line_of_time_level_and_message(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    log = started("text")
    log.info("hello", **logs.coded("hello", uid="1.2.3"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO hello\n", capsys.readouterr().err)


def test_standard_error_is_what_it_is_when_a_line_is_written(
    started: Started,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log, other = started("text", "covidnet-lite: %(level)s: %(message)s"), io.StringIO()
    with contextlib.redirect_stderr(other):  # as while native code is kept silent
        log.warning("meanwhile")
    log.error("after")
    assert (other.getvalue(), capsys.readouterr().err) == (
        "covidnet-lite: warning: meanwhile\n",
        "covidnet-lite: error: after\n",
    )


@pytest.mark.parametrize("form", logs.FORMATS)
def test_the_words_of_an_exception_are_in_no_log(
    form: str, started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    log = started(form)
    words = "JANE" + " DOE"
    try:
        raise ValueError(words)
    except ValueError as error:
        unforeseen("1.2.3", error)
        if form == "json":
            log.error("failed", exc_info=True)
    written = capsys.readouterr().err
    assert words not in written
    assert "test_logs.py" in written  # where it was raised


def test_the_loggers_are_as_before_afterwards() -> None:
    log = logging.getLogger(logs.PACKAGE)
    before = log.handlers, log.propagate, log.level
    with logs.writing("json"):
        assert (log.handlers, log.propagate) != before[:2]
    assert (log.handlers, log.propagate, log.level) == before


def test_time_is_utc() -> None:
    assert logs.utc(0.25) == "1970-01-01T00:00:00.250Z"


def test_every_code_of_a_line_is_documented() -> None:
    sources = [path.read_text() for path in (ROOT / "covidnet_lite").rglob("*.py")]
    codes = {code for text in sources for code in re.findall(r'coded\(\s*"([^"]+)"', text)}
    listed = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/codes.md").read_text(), re.M)
    assert "started" in codes
    assert sorted(codes - set(listed)) == []
    assert not codes & set(Code)  # a code means one thing
    assert len(listed) == len(set(listed))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_line_that_a_full_disk_does_not_take_is_lost_and_holds_up_nothing(tmp_path: Path) -> None:
    """Python flushes its streams before it starts a process, and would start none."""
    script = (
        "import logging, multiprocessing, sys; from covidnet_lite import logs\n"
        "if __name__ == '__main__':\n"
        "  with logs.writing('text'):\n"
        "    logging.getLogger('covidnet_lite').warning('lost')\n"
        "  child = multiprocessing.get_context('spawn').Process(target=print, args=('started',))\n"
        "  child.start(); child.join()\n"
    )
    (tmp_path / "script.py").write_text(script)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, stderr=full, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
        )  # fmt: skip
    assert (done.stdout, done.returncode) == ("started\n", 0)
