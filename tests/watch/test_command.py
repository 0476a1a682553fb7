from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from watchers import ROOT, line_of, results, until, watching

from covidnet_lite import files


def test_once_does_what_is_there_and_ends(film_png: Path, tmp_path: Path) -> None:
    with watching(film_png.parent, "--once", "--settle", "0.1", "--out", tmp_path / "out") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "film.png: " in out
    assert "Research use only" in err
    assert sorted(results(tmp_path / "out")) == ["film.png.json"]


def test_the_log_may_be_json(film_png: Path, tmp_path: Path) -> None:
    with watching(film_png.parent, "--once", "--settle", "0.1", "--log-format", "json") as process:
        out, err = process.communicate(timeout=60)
    (result,), (start,) = [[json.loads(line) for line in text.splitlines()] for text in (out, err)]
    assert (start["level"], start["code"]) == ("info", "started")
    assert result["code"] == "classified"
    assert result["fields"]["name"] == "film.png"
    assert result["message"].startswith(f"film.png: {result['fields']['status']}")


def test_a_file_is_answered_as_it_arrives_and_sigterm_ends_it_well(film_png: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with watching(root, "--settle", "0.3") as process:
        line_of(process.stderr, "watching")
        whole = film_png.read_bytes()
        with open(root / "late.png", "wb") as file:  # as a modality writes over a slow network
            for start in range(0, len(whole), len(whole) // 5):
                file.write(whole[start : start + len(whole) // 5])
                file.flush()
                time.sleep(0.15)
                assert not results(root)
        until(lambda: results(root))
        assert results(root)["late.png.json"]["status"] != "failed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_done_twice(film_png: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for number in range(30):
        shutil.copy(film_png, root / f"{number:02}.png")
    messages = []
    with watching(root, "--settle", "0.1") as process:
        messages.append(line_of(process.stdout, ".png: "))
        process.send_signal(signal.SIGKILL)
        messages += process.communicate()[0].splitlines()
    count = len(results(root))
    assert 1 <= count < 30
    with watching(root, "--settle", "0.1", "--once") as process:
        out, _ = process.communicate(timeout=120)
    again = [line for line in out.splitlines() if ".png: " in line]
    assert len(again) == 30 - count
    assert len(results(root)) == 30
    assert (
        len([p for p in root.iterdir() if p.name.startswith(files.TEMPORARY)]) <= 1
    )  # what was being written; tidied later


def test_two_watchers_cannot_have_one_folder_and_a_kill_lets_the_next_have_it(film_png: Path, tmp_path: Path) -> None:
    root = film_png.parent
    with watching(root) as first:
        line_of(first.stderr, "watching")
        with watching(root, "--once") as second:
            _, err = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"another watcher is at work in {root}" in err.splitlines()[-1]
        with watching(root, "--once", "--out", tmp_path / "out") as elsewhere:
            elsewhere.communicate(timeout=60)
        assert elsewhere.returncode == 0
        first.kill()
    with watching(root, "--once") as third:
        _, err = third.communicate(timeout=60)
    assert third.returncode == 0, err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["/nowhere/at/all"], "no such folder"),
        ([".", "--mqtt", "host:port"], "HOST:PORT"),
        ([".", "--mqtt", "host", "--topic", "a/#"], "topic"),
        ([".", "--mqtt", "host", "--ca", "/nowhere.pem"], "PEM"),
        ([".", "--topic", "a"], "--mqtt HOST"),
        ([".", "--ca", "/nowhere.pem"], "--mqtt HOST"),
        (["a.txt"], "is a file"),
        ([".", "--interval", "0"], "seconds"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(options: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    command = [sys.executable, "-m", "covidnet_lite", "watch", *options]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert process.returncode == 2
    assert words in process.stderr.splitlines()[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_on_a_full_disk_costs_no_answer(film_png: Path, tmp_path: Path, form: str) -> None:
    command = [sys.executable, "-m", "covidnet_lite", "watch", film_png.parent, "--once", "--settle", "0.1"]
    command += ["--log-format", form, "--model", "nano"]
    with open("/dev/full", "w") as full:
        subprocess.run(command, cwd=ROOT, stdout=full, stderr=full, timeout=60)
    assert results(film_png.parent)["film.png.json"]["status"] != "failed"
