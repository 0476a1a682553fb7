"""``examples/raspberry_pi/classify_inbox.sh`` with a made-up command in the place of covidnet-lite."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "examples/raspberry_pi/classify_inbox.sh"

# One row a file; a file that says so kills the command, as a kernel short of memory does.
COMMAND = """#!/bin/sh
[ "$1" = classify ] || exit 2
shift
while [ "$1" != -- ]; do shift; done
shift
echo name,status
code=0
for file; do
    case $(cat "$file") in
        kill) kill -9 $$ ;;
        bad) echo "$file,failed"; code=1 ;;
        *) echo "$file,answered" ;;
    esac
done
exit $code
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("inbox", "working", "done", "failed"):
        (tmp_path / name).mkdir()
    (tmp_path / "command").write_text(COMMAND)
    (tmp_path / "command").chmod(0o755)
    return tmp_path


def put(path: Path, text: str = "film") -> None:
    path.write_text(text)


def run(folder: Path, settled: str = "0 seconds", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """As the service does: standard output goes to the end of results.csv."""
    with open(folder / "results.csv", "a") as results:
        return subprocess.run(
            ["sh", SCRIPT, folder, folder / "command"],
            stdout=results,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            env={**os.environ, "COVIDNET_LITE_SETTLED": settled},
        )


def rows(folder: Path) -> list[str]:
    return (folder / "results.csv").read_text().splitlines()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_lies_in_the_inbox_is_answered_and_moved(folder: Path) -> None:
    for name in ("a b.png", "-x.png", "c.dcm"):
        put(folder / "inbox" / name)
    assert run(folder).returncode == 0
    assert sorted(rows(folder)) == ["-x.png,answered", "a b.png,answered", "c.dcm,answered", "name,status"]
    assert names(folder / "done") == ["-x.png", "a b.png", "c.dcm"]
    assert not names(folder / "inbox")


def test_the_head_of_the_table_comes_once(folder: Path) -> None:
    for name in ("a.png", "b.png"):
        put(folder / "inbox" / name)
        assert run(folder).returncode == 0
    assert rows(folder) == ["name,status", "a.png,answered", "b.png,answered"]


def test_what_an_earlier_run_left_in_hand_is_taken_up(folder: Path) -> None:
    put(folder / "working/left.png")
    assert run(folder).returncode == 0
    assert rows(folder) == ["name,status", "left.png,answered"]
    assert names(folder / "done") == ["left.png"]


def test_a_file_that_kills_the_command_costs_only_itself(folder: Path) -> None:
    for name, text in (("a.png", "film"), ("huge.png", "kill"), ("z.png", "film")):
        put(folder / "inbox" / name, text)
    done = run(folder)
    assert done.returncode == 0
    assert "huge.png: killed" in done.stderr
    assert names(folder / "failed") == ["huge.png"]
    assert names(folder / "done") == ["a.png", "z.png"]
    assert sorted(rows(folder)) == ["a.png,answered", "name,status", "z.png,answered"]


def test_an_unreadable_file_has_its_row_too(folder: Path) -> None:
    put(folder / "inbox/bad.png", "bad")
    assert run(folder).returncode == 0
    assert rows(folder) == ["name,status", "bad.png,failed"]


def test_a_second_file_of_the_same_name_does_not_replace_the_first(folder: Path) -> None:
    for text in ("first", "second"):
        put(folder / "inbox/x.png", text)
        assert run(folder).returncode == 0
    assert sorted(path.read_text() for path in (folder / "done").iterdir()) == ["first", "second"]


def test_a_file_still_being_written_is_waited_for(folder: Path) -> None:
    put(folder / "inbox/growing.png")
    with pytest.raises(subprocess.TimeoutExpired):
        run(folder, settled="1 hour", timeout=3)
    assert names(folder / "inbox") == ["growing.png"]
    assert not rows(folder)


def test_a_missing_folder_is_told_with_what_to_do(folder: Path) -> None:
    (folder / "done").rmdir()
    done = run(folder)
    assert done.returncode != 0
    assert "docs/raspberry_pi.md" in done.stderr


def test_a_command_that_cannot_be_started_costs_no_film(folder: Path) -> None:
    put(folder / "inbox/a.png")
    (folder / "command").write_text("#!/nowhere/at/all\n")  # as where its environment was taken away
    done = run(folder)
    assert done.returncode == 2
    assert (folder / "working/a.png").is_file()
    (folder / "command").unlink()
    assert (run(folder).returncode, "missing" in run(folder).stderr) == (2, True)
    (folder / "command").write_text(COMMAND)
    (folder / "command").chmod(0o755)
    assert run(folder).returncode == 0
    assert rows(folder) == ["name,status", "a.png,answered"]


def test_a_command_is_found_from_where_one_stands(folder: Path) -> None:
    put(folder / "inbox/a.png")
    done = subprocess.run(
        ["sh", SCRIPT, folder, "./command"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COVIDNET_LITE_SETTLED": "0 seconds"},
    )
    assert (done.returncode, done.stdout) == (0, "name,status\na.png,answered\n"), done.stderr
