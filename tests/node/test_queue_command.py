"""``covidnet-lite node queue``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from covidnet_lite import cli, exit_codes
from covidnet_lite.node.layout import key_of
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits


@pytest.fixture
def folder(tmp_path: Path, as_bytes: Callable[..., bytes]) -> Path:
    """Of a queue with 1.4 and 1.5 quarantined."""
    queue = Queue(tmp_path / "queue", Limits(free_mb=0), ("pacs",))
    for uid in ("1.4", "1.5"):
        queue.add(uid, as_bytes(uid))
        arrival = queue.next()
        assert arrival
        queue.set_aside(arrival, f"{uid}: damaged")
    queue.close()
    return queue.folder


def uids(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert cli.main(["node", "queue", "list", "--json", "--queue", str(folder)]) == exit_codes.OK
    return [f"{one['uid']} {one['state']}" for one in json.loads(capsys.readouterr().out)]


def test_a_list_has_a_line_for_each_entry_and_their_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["node", "queue", "list", "--queue", str(folder)]) == exit_codes.OK
    first, second, count = capsys.readouterr().out.splitlines()
    assert "  1.4  1.4: damaged" in first
    assert second.startswith("quarantined  ")
    assert count == "2 entries"


def test_the_queue_may_be_named_before_the_word_or_by_the_settings(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "node.toml"
    file.write_text('queue = "queue"\n[pacs]\nae_title = "A"\nhost = "b"\nport = 1\n')
    for options in (
        ["--queue", str(folder), "queue", "list"],
        ["--settings", str(file), "queue", "list"],
        ["queue", "list", "--settings", str(file)],
    ):
        assert cli.main(["node", *options]) == exit_codes.OK
        assert "2 entries" in capsys.readouterr().out
    assert cli.main(["node", "queue", "list"]) == exit_codes.USAGE
    assert "which queue?" in capsys.readouterr().err


def test_one_is_retried_and_the_rest_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["node", "queue", "retry", "1.5", "--queue", str(folder)]) == exit_codes.OK
    assert capsys.readouterr().out == f"{key_of('1.5')}: again in the queue\n"
    assert uids(folder, capsys) == ["1.5 to classify", "1.4 quarantined"]
    assert cli.main(["node", "queue", "retry", "1.5", "1.4", "--queue", str(folder)]) == exit_codes.BAD_FILE
    said = capsys.readouterr()
    assert "is not quarantined" in said.err  # and the other has its turn
    assert said.out == f"{key_of('1.4')}: again in the queue\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("y", 1), ("n", 2), ("", 2)])
def test_nothing_is_removed_without_a_yes(
    folder: Path, answer: str, left: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    assert cli.main(["node", "queue", "drop", "1.4", "--queue", str(folder)]) == exit_codes.OK
    assert "1.4: damaged\nremove this for good?" in capsys.readouterr().out
    assert len(uids(folder, capsys)) == left


def test_where_nobody_can_be_asked_a_yes_has_to_be_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli.main(["node", "queue", "drop", "--all", "--queue", str(folder)]) == exit_codes.USAGE
    assert "give --yes" in capsys.readouterr().err
    assert cli.main(["node", "queue", "drop", "--all", "--yes", "--queue", str(folder)]) == exit_codes.OK
    assert uids(folder, capsys) == []
