from __future__ import annotations

import errno

from covidnet_lite.errors import OutputError
from covidnet_lite.troubles import Troubles


def of(number: int, words: str = "no room") -> OutputError:
    error = OutputError(words)
    error.__cause__ = OSError(number, words)
    return error


def test_only_the_first_of_a_kind_is_news() -> None:
    troubles = Troubles()
    seen = [troubles.note("worker", error) for error in (of(errno.ENOSPC), of(errno.ENOSPC), of(errno.EROFS))]
    assert seen == [True, False, True]
    assert troubles.note("sender", of(errno.EROFS))


def test_when_it_is_over_the_attempts_are_counted_and_the_next_is_news_again() -> None:
    troubles = Troubles()
    assert troubles.over("worker") == 0
    for _ in range(3):
        troubles.note("worker", of(errno.ENOSPC))
    assert troubles.over("worker") == 3
    assert troubles.over("worker") == 0
    assert troubles.note("worker", of(errno.ENOSPC))


def test_the_last_of_each_part_is_there_as_long_as_it_lasts() -> None:
    troubles = Troubles()
    troubles.note("worker", of(errno.ENOSPC, "first"))
    troubles.note("worker", of(errno.ENOSPC, "second"))
    troubles.note("sender", of(errno.EROFS, "other"))
    assert sorted(map(str, troubles.errors)) == ["other", "second"]
    troubles.over("worker")
    assert list(map(str, troubles.errors)) == ["other"]
