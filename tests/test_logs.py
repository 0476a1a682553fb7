"""The log as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from conftest import ROOT

from covidnet_lite import logs
from covidnet_lite.codes import Code
from covidnet_lite.unforeseen import unforeseen


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """The package's logger, as it was before."""
    log = logging.getLogger(logs.PACKAGE)
    before = log.handlers, log.propagate, log.level
    yield
    (log.handlers, log.propagate), level = before[:2], before[2]
    log.setLevel(level)


def written(form: str) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    logs.start(form, stream)
    return logging.getLogger(f"{logs.PACKAGE}.node"), stream


def test_a_line_of_json_has_time_level_code_message_and_fields() -> None:
    log, stream = written("json")
    log.warning("set aside: %s\nand %s", "a", "b", **logs.coded("set-aside", uid="1.2.3", sender=None))
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    when = datetime.fromisoformat(record.pop("time").replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - when).total_seconds()) < 60
    assert record == {
        "level": "warning",
        "code": "set-aside",
        "message": "set aside: a\nand b",
        "fields": {"uid": "1.2.3"},
    }


def test_a_line_without_a_code_has_the_same_keys() -> None:
    log, stream = written("json")
    log.info("hello")
    record = json.loads(stream.getvalue())
    assert list(record) == ["time", "level", "code", "message", "fields"]
    assert (record["code"], record["fields"]) == (None, {})


def test_text_is_a_line_of_time_level_and_message() -> None:
    log, stream = written("text")
    log.info("hello", **logs.coded("hello", uid="1.2.3"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO hello\n", stream.getvalue())


@pytest.mark.parametrize("form", logs.FORMATS)
def test_the_words_of_an_exception_are_in_no_log(form: str) -> None:
    log, stream = written(form)
    words = "JANE" + " DOE"
    try:
        raise ValueError(words)
    except ValueError as error:
        unforeseen("1.2.3", error)
        if form == "json":
            log.error("failed", exc_info=True)
    assert words not in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()  # where it was raised


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
