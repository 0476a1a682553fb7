from __future__ import annotations

import pytest

from covidnet_lite.web import recent
from covidnet_lite.web.recent import Recent


def test_what_was_asked_for_last_stays_and_the_oldest_makes_room() -> None:
    uploads = Recent(10)
    uploads.add("a", "a.png", b"1234")
    uploads.add("b", "b.png", b"1234")
    assert uploads.get("a") == ("a.png", b"1234")
    uploads.add("c", "c.png", b"1234")
    assert uploads.get("b") is None
    assert uploads.get("a") == ("a.png", b"1234")
    assert uploads.size == 8


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out() -> None:
    uploads = Recent(10)
    uploads.add("a", "a.png", b"1234")
    uploads.add("b", "b.png", bytes(11))
    assert (uploads.get("b"), uploads.get("a"), uploads.size) == (None, ("a.png", b"1234"), 4)


def test_the_same_image_again_takes_no_more_room() -> None:
    uploads = Recent(10)
    for name in ("a.png", "b.png"):
        uploads.add("a", name, b"1234")
    assert (uploads.get("a"), uploads.size) == (("b.png", b"1234"), 4)


def test_after_a_while_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Recent(10)
    uploads.add("a", "a.png", b"1234")
    monkeypatch.setattr(recent, "MAX_AGE", -1.0)
    assert uploads.get("a") is None
    assert uploads.size == 0
