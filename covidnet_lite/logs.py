"""The log of a service: lines of text for a person, or one JSON object a line for a program."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

FORMATS = ("text", "json")
PACKAGE = "covidnet_lite"
TEXT = "%(asctime)s %(levelname)s %(message)s"


class JsonFormatter(logging.Formatter):
    """A record as JSON: ``time`` (UTC, ISO 8601), ``level``, ``code``, ``message`` and ``fields``.

    Tracebacks are left out: the words of an exception may hold what a file holds.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(
            {
                "time": utc(record.created),
                "level": record.levelname.lower(),
                "code": getattr(record, "code", None),
                "message": record.getMessage(),
                "fields": getattr(record, "fields", {}),
            },
            default=str,
        )


def coded(code: str, **fields: Any) -> dict[str, Any]:
    """What a program reads of a line, as keywords of a logger's methods: ``log.info("stopped", **coded("stopped"))``.

    Args:
        code: the kind of the line, kebab-case and never changed; ``docs/codes.md`` lists them.
        fields: values that JSON knows; those that are ``None`` are left out.
    """
    return {"extra": {"code": code, "fields": {name: value for name, value in fields.items() if value is not None}}}


def line(message: str, code: str, **fields: Any) -> str:
    """A line of JSON, as :class:`JsonFormatter` has it, for a result that is no part of the log."""
    record = logging.LogRecord(PACKAGE, logging.INFO, "", 0, message, None, None)
    vars(record).update(coded(code, **fields)["extra"])
    return JsonFormatter().format(record)


@contextmanager
def writing(form: str, text: str = TEXT, others: Sequence[str] = ()) -> Iterator[None]:
    """Writes the log of this package, and of ``others``, to standard error.

    Args:
        form: one of :data:`FORMATS`.
        text: the format of lines of text, as :mod:`logging` has it; ``level`` is the level in small letters.
        others: names of loggers, of which warnings and errors are written.
    """
    handler = _StandardError()
    handler.addFilter(_with_level)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(text))
    loggers = [logging.getLogger(name) for name in (PACKAGE, *others)]
    before = [(log.handlers, log.propagate, log.level) for log in loggers]
    for log in loggers:
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if log.name == PACKAGE else logging.WARNING)
    try:
        yield
    finally:
        for log, (handlers, propagate, level) in zip(loggers, before):
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)


def drop_unwritten(stream: TextIO) -> None:
    """Drops what a full disk has not taken of a stream: as long as it waits there, Python starts no other process."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # ValueError: no stream of the system's
        number = stream.fileno()
        kept = os.dup(number)
        try:
            os.dup2(nowhere.fileno(), number)
            stream.flush()
        finally:
            os.dup2(kept, number)
            os.close(kept)


if TYPE_CHECKING:
    _Handler = logging.StreamHandler[TextIO]
else:
    _Handler = logging.StreamHandler  # takes no type before Python 3.11


class _StandardError(_Handler):
    """Writes to what is standard error now, which is led elsewhere while native code is kept silent."""

    def handleError(self, record: logging.LogRecord) -> None:
        """A line that a full disk does not take is lost, without a traceback."""
        drop_unwritten(self.stream)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """The base class sets it once."""


def _with_level(record: logging.LogRecord) -> bool:
    record.level = record.levelname.lower()
    return True


def utc(seconds: float) -> str:
    """Unix time as ISO 8601 with milliseconds: ``2026-03-01T09:14:35.216Z``."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
