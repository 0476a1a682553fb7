"""examples/screen_archive.py: real Ray with two workers, real kills, and Parquet that is whole after each."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, drawn_chest

import covidnet_lite

pytestmark = pytest.mark.skipif(
    find_spec("pyarrow") is None or find_spec("ray") is None,
    reason="needs Ray and pyarrow: pip install 'covidnet-lite[ray]'",
)

PICTURES = 60

# Imported before all else: reading *once.png kills the process the first time, reading *fatal.png each time.
KILLER = """
import os, pathlib, signal
from covidnet_lite import radiograph
read = radiograph.read
def deadly(img, *args, **kwargs):
    name, log = pathlib.Path(str(img)).name, pathlib.Path(os.environ["KILLED"])
    if "fatal" in name or "once" in name and name not in log.read_text().split():
        with log.open("a") as file:
            print(name, file=file)
        os.kill(os.getpid(), signal.SIGKILL)
    return read(img, *args, **kwargs)
radiograph.read = deadly
"""


@pytest.fixture
def archive(film: Path, tmp_path: Path) -> Path:
    """Sixty drawn radiographs in two folders, a real one as DICOM, and what else lies about in archives."""
    folder = tmp_path / "archive"
    (folder / "ward").mkdir(parents=True)
    for i in range(PICTURES):
        picture = drawn_chest(i, opaque=bool(i % 2), side=256)
        picture.save(folder / ("ward" if i % 3 else ".") / f"{i:02}.{'png' if i % 2 else 'jpg'}")
    shutil.copy(film, folder / "film.dcm")
    whole = (folder / "ward/01.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment for Ray that keeps its token out of the home; nothing of Ray may be left running afterwards."""
    yield os.environ | {"HOME": str(tmp_path), "SCREENED_IN": str(tmp_path)}
    deadline = time.monotonic() + 60
    while remaining := processes(f"SCREENED_IN={tmp_path}"):
        if time.monotonic() > deadline:
            for pid in remaining:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"Ray left {len(remaining)} processes running")
        time.sleep(0.1)


def processes(variable: str) -> list[int]:
    """The processes that inherited an environment variable of this test, and so are its own."""
    results = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes().split(b"\0"):
                results.append(int(path.parent.name))
        except OSError:
            continue  # somebody else's, or gone
    return results


def command(*args: object) -> list[str]:
    return [sys.executable, str(ROOT / "examples/screen_archive.py"), *map(str, args)]


def screen(*args: object, env: dict[str, str]) -> str:
    """Runs the program; returns what it says it did, among all that Ray prints."""
    process = subprocess.run(command(*args), capture_output=True, text=True, timeout=400, env=env)
    assert process.returncode == 0, process.stderr
    (text,) = re.findall(r"\d+ classified.*", process.stdout)
    return text


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The program without Ray, in this process; returns what it prints."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import screen_archive

    def run(*args: object, code: int = 0) -> str:
        assert screen_archive.main(["--local", *map(str, args)]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def table(out: Path) -> dict[str, dict[str, Any]]:
    """The rows by name, of which each must be there once."""
    from pyarrow import parquet

    rows = [row for part in out.glob("*") for row in parquet.ParquetFile(part).read().to_pylist()]
    assert len({row["name"] for row in rows}) == len(rows)
    assert list(out.glob(".*")) == []
    return {row["name"]: row for row in rows}


def alone(folder: Path) -> dict[str, dict[str, Any]]:
    """What the rows must be: every file below a folder, in one process."""
    paths = sorted(str(p) for p in folder.resolve().rglob("*") if p.is_file())
    rows = {}
    for path, result in zip(paths, covidnet_lite.Classifier().classify_many(paths)):
        place = getattr(result, "place", None)
        shares = {f"probability_{k}": v for k, v in getattr(result, "probabilities", {}).items()}
        rows[path] = {
            "name": path,
            "status": result.status,
            "label": result.label,
            "labels": "|".join(result.labels),
            "reason": result.reason,
            "place": place.main if place else None,
            **{
                f"probability_{label}": shares.get(f"probability_{label}") for label in ("normal", "pneumonia", "covid")
            },
            "confidence": getattr(result, "confidence", None),
            "distance": getattr(result, "distance", None),
            "extent": getattr(result, "extent", None),
            "size": Path(path).stat().st_size,
            "mtime_ns": Path(path).stat().st_mtime_ns,
        }
    return rows


def assert_same(rows: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    model = covidnet_lite.Classifier().model
    assert rows.keys() == expected.keys()
    for name, row in rows.items():
        assert row.pop("model") == model.name
        assert row.pop("sha256") == model.sha256
        for column, value in expected[name].items():
            if isinstance(value, float):
                assert math.isclose(row[column], value, rel_tol=1e-6), (name, column)
            else:
                assert row[column] == value, (name, column)
        assert row.keys() == expected[name].keys()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its own processes in /proc")
def test_neither_a_killed_driver_nor_killed_workers_lose_or_double_a_file(
    archive: Path, home: dict[str, str], tmp_path: Path
) -> None:
    for name in ("ward/30-once.png", "zz-fatal.png"):
        drawn_chest(99, opaque=True, side=256).save(archive / name)
    expected, out = alone(archive), tmp_path / "out"
    args = ("--workers", 2, "--batch", 4, archive, out)

    driver = subprocess.Popen(command(*args), env=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not list(out.glob("part-*")):
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.01)
    driver.kill()
    driver.communicate()
    assert 0 < len(list(out.glob("part-*"))) < 17

    (tmp_path / "killer").mkdir()
    (tmp_path / "killer/sitecustomize.py").write_text(KILLER)
    (tmp_path / "killed").touch()
    path = os.pathsep.join(filter(None, [str(tmp_path / "killer"), str(ROOT), os.environ.get("PYTHONPATH")]))
    output = screen(*args, env=home | {"PYTHONPATH": path, "KILLED": str(tmp_path / "killed")})
    assert 0 < int(output.split()[0]) < len(expected)  # the whole parts of the killed run were not done again
    deaths = (tmp_path / "killed").read_text().split()
    assert sorted(deaths) == ["30-once.png", "zz-fatal.png", "zz-fatal.png", "zz-fatal.png"]
    rows = table(out)
    fatal = rows.pop(str(archive / "zz-fatal.png"))
    assert (fatal["status"], fatal["label"]) == ("failed", None)
    assert "three workers died" in fatal["reason"]
    del expected[fatal["name"]]
    assert_same(rows, expected)
    statuses = [row["status"] for row in expected.values()]
    assert statuses.count("failed") == 3
    assert {"refused", "failed"} < set(statuses)  # and the film has probabilities

    assert screen(*args, env=home).startswith("0 classified ->")
    assert len(table(out)) == PICTURES + 4 + 2


def test_one_process_gives_the_same_rows_and_says_what_they_are(
    archive: Path, tmp_path: Path, local: Callable[..., str]
) -> None:
    from pyarrow import parquet

    assert local(archive, tmp_path / "out").startswith(f"{PICTURES + 4} classified, 3 failed")
    assert_same(table(tmp_path / "out"), alone(archive))
    (part,) = (tmp_path / "out").glob("*")
    metadata = parquet.ParquetFile(part).schema_arrow.metadata
    assert b"not a medical device" in metadata[b"note"]


def test_only_new_and_changed_files_are_done(chests: Path, tmp_path: Path, local: Callable[..., str]) -> None:
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for i in range(6):
        (chests / f"{i}.png").rename(films / f"{i}.png")
    (films / "broken.png").write_bytes(b"broken")
    assert local("--batch", 3, films, out).startswith("7 classified")
    drawn_chest(7, opaque=True).save(films / "0.png")
    drawn_chest(8, opaque=True).save(films / "new.png")
    (films / "5.png").unlink()
    assert local(films, out).startswith("2 classified")
    rows = table(out)
    assert str(films / "5.png") in rows  # its answer stays
    assert rows.keys() == {
        str(films / name) for name in ("5.png", "broken.png", "new.png", *(f"{i}.png" for i in range(5)))
    }
    assert rows[str(films / "0.png")]["mtime_ns"] == (films / "0.png").stat().st_mtime_ns

    assert local(films, out).startswith("0 classified")
    assert local("--retry", films, out).startswith("1 classified, 1 failed")
    assert table(out).keys() == rows.keys()


def test_it_reads_nothing_outside_the_folders_it_is_given(
    chests: Path, tmp_path: Path, local: Callable[..., str]
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (chests / "0.png").rename(folder / "0.png")
    (folder / "file.png").symlink_to(chests / "1.png")
    (folder / "folder").symlink_to(chests)
    (folder / "circle").symlink_to(folder)
    (folder / "nowhere").symlink_to("nothing")
    local(folder, folder / "out")  # and not its own answers
    rows = table(folder / "out")
    assert {Path(name).name for name in rows} == {"0.png", "file.png", "folder", "circle", "nowhere"}
    links = [row for row in rows.values() if Path(row["name"]).name != "0.png"]
    assert all(row["status"] == "failed" and "is a link" in row["reason"] for row in links)
    assert local(folder, folder / "out").startswith("0 classified")


def test_a_bucket_gives_the_same_answers(chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import screen_archive
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    from covidnet_lite.network import model

    films, base = tmp_path / "films", model.load("base")
    films.mkdir()
    for i in range(3):
        (chests / f"{i}.png").rename(films / f"{i}.png")
    (films / "empty.png").write_bytes(b"")
    bucket = SubTreeFileSystem(str(tmp_path), LocalFileSystem())  # knows its files by path alone, as a bucket does
    source, out = (screen_archive.Folder(bucket, "bucket://", path) for path in ("films", "out"))
    files = dict(source.files())
    work = screen_archive.Worker([source], out, "base", base.sha256)
    answers = screen_archive.Table(out, base)
    assert answers.complete(files, retry=False) == set()
    for batch in screen_archive.batches(sorted(files), files, 2):
        work(batch)
    assert answers.complete(files, retry=False) == files.keys()
    rows, expected = table(tmp_path / "out"), alone(films)
    renamed = {name.replace(str(tmp_path) + "/", "bucket://"): row for name, row in expected.items()}
    for name, row in renamed.items():
        row["name"], row["reason"] = name, row["reason"] and row["reason"].replace(str(tmp_path) + "/", "bucket://")
    assert_same(rows, renamed)


def test_what_it_cannot_do_is_told(chests: Path, tmp_path: Path, local: Callable[..., str]) -> None:
    out = tmp_path / "out"
    assert "error" in local(tmp_path / "absent", out, code=2)
    (tmp_path / "none").mkdir()
    assert "holds no file" in local(tmp_path / "none", out, code=2)
    assert "Unrecognized filesystem" in local("nonsense://x", out, code=2)
    films = tmp_path / "films"
    films.mkdir()
    (chests / "0.png").rename(films / "0.png")
    local(films, out)
    assert "another network" in local("--model", "nano", films, out, code=2)
