from __future__ import annotations

import io
import sys

import pytest

from convert import progress
from convert.progress import CLEAR, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_sees_how_far_it_is_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(track(iter("abcd"), 4, "reading")) == ["a", "b", "c", "d"]
    assert f"reading [{'#' * 12:<24}] 2 of 4" in terminal.getvalue()
    assert terminal.getvalue().endswith(CLEAR)


def test_the_line_goes_when_the_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    shown = track([1, 2], 2, "reading")
    next(shown)
    shown.close()  # type: ignore[attr-defined]
    assert terminal.getvalue().endswith(CLEAR)


def test_a_log_gets_nothing_nor_does_a_short_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(track("ab", 2, "reading")) == ["a", "b"]
    assert " of " not in terminal.getvalue()
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    assert list(track("ab", 2, "reading")) == ["a", "b"]
    assert log.getvalue() == ""
