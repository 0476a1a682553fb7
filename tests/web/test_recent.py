from __future__ import annotations

import pytest

from covidnet_lite.web import recent
from covidnet_lite.web.recent import Recent


def test_what_was_asked_for_last_stays_and_the_oldest_makes_room() -> None:
    kept = Recent(10)
    kept.add("a", "a.png", b"1234")
    kept.add("b", "b.png", b"1234")
    assert kept.get("a") == ("a.png", b"1234")
    kept.add("c", "c.png", b"1234")
    assert kept.get("b") is None
    assert kept.get("a") == ("a.png", b"1234")
    assert kept.size == 8


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out() -> None:
    kept = Recent(10)
    kept.add("a", "a.png", b"1234")
    kept.add("b", "b.png", bytes(11))
    assert (kept.get("b"), kept.get("a"), kept.size) == (None, ("a.png", b"1234"), 4)


def test_the_same_image_again_takes_no_more_room() -> None:
    kept = Recent(10)
    for name in ("a.png", "b.png"):
        kept.add("a", name, b"1234")
    assert (kept.get("a"), kept.size) == (("b.png", b"1234"), 4)


def test_after_a_while_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Recent(10)
    kept.add("a", "a.png", b"1234")
    monkeypatch.setattr(recent, "MAX_AGE", -1.0)
    assert kept.get("a") is None
    assert kept.size == 0
