"""Where the things of a queue are, and what the log says of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from covidnet_lite.errors import OutputError
from covidnet_lite.node import layout

KEY = "c47f5b18b8a430e698b9fe15e51f6119"  # of 1.2.3


def test_a_uid_has_the_same_key_in_every_version() -> None:
    assert layout.key_of("1.2.3") == KEY


@pytest.mark.parametrize("uid", ["1.2.3", "9" * 64])
def test_a_uid_is_logged_as_it_is(uid: str) -> None:
    assert layout.identifier(uid, "abc") == uid


@pytest.mark.parametrize("uid", ["Doe^Jane", "1.2.3 Doe", "9" * 65, ""])
def test_what_is_no_uid_is_logged_as_its_key(uid: str) -> None:
    assert layout.identifier(uid, "abc") == "abc"
    assert layout.identifier(uid) == layout.key_of(uid)


def test_what_is_not_finished_is_not_there(tmp_path: Path) -> None:
    for name in ("a", ".b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.dcm").touch()
    assert sorted(layout.names(tmp_path)) == ["a", "a.dcm"]
    assert layout.folders(tmp_path) == ["a"]


def test_what_has_gone_is_the_youngest_and_of_the_same_age_the_name_decides(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("gone", "c", "b", "a")]
    for path, made in zip(paths[1:], (1, 2, 2)):
        path.touch()
        os.utime(path, ns=(0, made))
    assert [path.name for path in sorted(paths, key=layout.age)] == ["c", "a", "b", "gone"]
    assert layout.age(paths[0]) > (2**62, "")


STORY = '{"film": "1.2.3", "accession": "A17", "from": "CR1", "answer": "normal", "code": "blank", "results": 2}'


def test_the_log_has_what_a_story_says(tmp_path: Path) -> None:
    (tmp_path / "film.json").write_text(STORY)
    story = layout.story(tmp_path)
    assert layout.described(story, "sent") == "1.2.3 (accession A17) from CR1: normal; sent"
    assert layout.described({**story, "accession": "", "from": "CR\n1"}, "sent") == "1.2.3 from CR\\n1: normal; sent"
    assert layout.fields(story) == {
        "uid": "1.2.3",
        "accession": "A17",
        "sender": "CR1",
        "answer": "normal",
        "reason": "blank",
    }
    assert layout.fields({"film": "1.2.3"})["sender"] is None


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff", b"5", b"[5]", b"null"])
def test_a_story_that_cannot_be_read_says_nothing(data: bytes, tmp_path: Path) -> None:
    assert layout.story(tmp_path) == {}
    (tmp_path / "film.json").write_bytes(data)
    assert layout.story(tmp_path) == {}


def test_a_file_or_a_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "folder/below").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        layout.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "words"), [(OSError(28, "No space"), "No space"), (OSError("odd"), "odd")])
def test_a_change_of_the_disk_that_fails_says_where_and_why(error: OSError, words: str) -> None:
    def fail() -> None:
        raise error

    assert layout.on_disk(Path("/q"), lambda: 5) == 5
    with pytest.raises(OutputError, match=f"^/q: cannot be changed .{words}.; check disk and owner$"):
        layout.on_disk(Path("/q"), fail)


def test_the_folders_of_a_queue_are_those_of_its_destinations_and_those_left_over(tmp_path: Path) -> None:
    folders = layout.Folders(tmp_path, ("pacs", "alarm"))
    assert [str(part.relative_to(tmp_path)) for part in folders.all] == [
        "received", "outgoing", "to", "to/alarm", "to/pacs", "sent", "failed"
    ]  # fmt: skip
    (tmp_path / "to/before").mkdir(parents=True)
    assert tmp_path / "to/before" in folders.all


@pytest.mark.parametrize(
    ("path", "states"),
    [
        ("received/{}.0.dcm", (True, False, False)),
        ("outgoing/{}/pacs", (True, True, False)),
        ("to/pacs/{}", (True, True, True)),
        ("to/before/{}", (True, True, True)),  # which the settings do not name any more
        ("sent/{}.json", (True, True, False)),
        ("failed/{}", (False, False, False)),
        ("received/{}0.0.dcm", (False, False, False)),
    ],
)
def test_a_radiograph_is_known_and_answered_by_where_it_lies(
    path: str, states: tuple[bool, ...], tmp_path: Path
) -> None:
    folders = layout.Folders(tmp_path, ("pacs",))
    for part in folders.all:
        part.mkdir()
    (tmp_path / path.format("abc")).mkdir(parents=True)
    assert (folders.is_known("abc"), folders.is_answered("abc"), folders.is_waited_for("abc")) == states
