"""Radiographs read in processes of their own, and what becomes of those that break them."""

from __future__ import annotations

import ctypes
import errno
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import make_dicom, stored
from PIL import Image

from covidnet_lite import radiograph, resource_limits
from covidnet_lite.errors import InputError, NoProcessError, NotAChestRadiograph, UnforeseenError
from covidnet_lite.readers import pool as readers
from covidnet_lite.readers.pool import Readers
from covidnet_lite.readers.replies import ReaderDiedError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")


@pytest.fixture(scope="module")
def one() -> Iterator[Readers]:
    with Readers(1) as reader_pool:
        yield reader_pool


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a file's bytes say what its reader does."""
    monkeypatch.setattr(readers, "_serve", misbehaving)


def misbehaving(*how: Any) -> None:
    """A reader that does what its film tells it to."""
    radiograph.read = misread
    readers_serve(*how)


readers_serve, read_well = readers._serve, radiograph.read


def misread(source: Any, *how: Any) -> Any:
    with open(source, "rb") as file:
        data = file.read()
    if data == b"die":
        ctypes.string_at(0)
    if data == b"think":
        while True:
            pass
    if data.startswith(b"work"):
        until = time.thread_time() + 0.4
        while time.thread_time() < until:
            pass
        return read_well(io.BytesIO(data[4:]), *how)
    if data == b"sleep":
        time.sleep(60)
    if data == b"eat":
        np.ones(8 * resource_limits.memory(), np.uint8)
    if data.startswith(b"err"):
        raise KeyError(data)
    return read_well(source, *how)


def test_what_is_read_elsewhere_is_what_is_read_here(one: Readers, film: Path, film_png: Path) -> None:
    for source in (film, str(film_png), film_png.read_bytes()):
        there, here = one.read(source, (200, 200)), radiograph.read(source, (200, 200))
        assert np.array_equal(np.asarray(there.image), np.asarray(here.image))
        assert (there.width, there.height, there.examination) == (here.width, here.height, here.examination)
    with film_png.open("rb") as file:
        assert one.read(file).name == str(film_png)
    assert one.read(Image.open(film_png)).width == here.width


@pytest.mark.parametrize("shared", [True, False])
def test_the_image_for_a_screen_comes_along(film: Path, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "HAS_SHARED_MEMORY", shared and readers.HAS_SHARED_MEMORY)
    here = radiograph.read(film, (300, 300), display=(900, 900))
    with Readers(1) as elsewhere:
        there = elsewhere.read(film, (300, 300), display=(900, 900))
    assert here.display is not None
    assert there.display is not None
    assert there.display.size == here.display.size != here.image.size
    assert there.display.tobytes() == here.display.tobytes()
    assert there.image.tobytes() == here.image.tobytes()


def test_errors_come_back_as_they_are_with_their_causes(one: Readers, tmp_path: Path, film: Path) -> None:
    import pydicom

    with pytest.raises(InputError, match=r"x\.png: no such file"):
        one.read(tmp_path / "x.png", None, "x.png")
    data = pydicom.dcmread(film)
    data.Modality = "MR"
    data.save_as(tmp_path / "mr.dcm")
    with pytest.raises(NotAChestRadiograph):
        one.read(tmp_path / "mr.dcm")
    (tmp_path / "no.png").write_bytes(b"x")
    (tmp_path / "no.png").chmod(0)
    if os.geteuid():
        with pytest.raises(InputError) as caught:
            one.read(tmp_path / "no.png")
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno


def test_pixels_do_not_change_when_the_next_radiograph_is_read(one: Readers, film_png: Path) -> None:
    first = one.read(film_png)
    pixels = np.asarray(first.image).copy()
    other = io.BytesIO()
    first.image.point(lambda value: 255 - value).save(other, "PNG")
    assert np.array_equal(np.asarray(one.read(other.getvalue()).image), 255 - pixels)
    assert np.array_equal(np.asarray(first.image), pixels)


def test_where_no_memory_can_be_shared_pixels_come_through_the_pipe(
    film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "HAS_SHARED_MEMORY", False)
    with Readers(1) as reader_pool:
        for source in (film_png, film_png.read_bytes()):
            there, here = reader_pool.read(source), radiograph.read(source)
            assert np.array_equal(np.asarray(there.image), np.asarray(here.image))
        with pytest.raises(InputError, match="empty"):
            reader_pool.read(b"")


def test_a_large_radiograph_does_not_keep_its_memory(one: Readers, film_png: Path) -> None:
    large = io.BytesIO()
    Image.open(film_png).resize((4800, 4800)).save(large, "BMP")
    assert one.read(large.getvalue()).image.size == (4800, 4800)
    (reader,) = one._all
    assert os.fstat(reader._memory.fileno()).st_size == 0
    assert one.read(film_png).width > 0


@pytest.mark.parametrize(
    ("deed", "words"),
    [("die", "signal 11"), ("think", resource_limits.SECONDS), ("eat", "too much memory"), ("sleep", "within 3 s")],
)
def test_a_film_that_breaks_its_reader_costs_itself_alone(
    hostile: None, film_png: Path, monkeypatch: pytest.MonkeyPatch, deed: str, words: str
) -> None:
    monkeypatch.setenv(resource_limits.SECONDS, "1")
    monkeypatch.setenv(resource_limits.MEMORY, "128")
    with Readers(1, within=3 if deed == "sleep" else 60) as reader_pool:
        with pytest.raises(InputError, match=words):
            reader_pool.read(deed.encode(), None, "bad.png")
        reader_pool._within = 60  # however busy the machine is
        assert reader_pool.read(film_png.read_bytes()).width > 0


def test_the_seconds_of_each_radiograph_are_its_own(
    hostile: None, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resource_limits.SECONDS, "1")
    with Readers(1) as reader_pool:
        pids = set()
        for _ in range(4):
            assert reader_pool.read(b"work" + film_png.read_bytes()).width > 0
            pids |= set(reader_pool.processes)
    assert len(pids) == 1


def test_the_seconds_are_counted_also_where_whoever_started_the_service_ignores_and_blocks_their_signal(
    hostile: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resource_limits.SECONDS, "1")
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
    try:
        with Readers(1) as reader_pool, pytest.raises(InputError, match=resource_limits.SECONDS):
            reader_pool.read(b"think", None, "bad.png")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
        signal.signal(signal.SIGPROF, before)


def test_the_limit_of_seconds_is_lifted_before_the_reply_is_sent(
    film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    requests = [(str(film_png), None, "a.png", False, False, None)]

    class Pipe:
        def recv(self) -> Any:
            if not requests:
                raise EOFError
            return requests.pop()

        def send_bytes(self, data: bytes) -> None:
            events.append("sent")

    for name in (resource_limits.SECONDS, resource_limits.MEMORY):  # a reader sets both
        monkeypatch.setenv(name, "400")
    for limit in ("_limit_memory", "_prefer_for_oom_kill"):
        monkeypatch.setattr(readers, limit, lambda: None)
    for function in ("signal", "pthread_sigmask"):
        monkeypatch.setattr(signal, function, lambda *_: None)
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: events.append(seconds))
    with warnings.catch_warnings():
        readers._serve(Pipe(), 400, 7, False)
    assert events == [7, 0, "sent", "sent"]


def test_a_sandbox_without_timers_costs_no_radiograph(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(signal, "setitimer", forbidden)
    readers._limit_seconds(3)


def test_a_service_without_memory_for_a_file_says_so_and_blames_no_radiograph(
    film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Readers(1) as reader_pool:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(NoProcessError, match="no memory is left .*No space left"):
                reader_pool.read(film_png.read_bytes())
        assert reader_pool.read(film_png.read_bytes()).width > 0


def test_what_nobody_foresaw_in_a_reader_is_logged_here(hostile: None, caplog: pytest.LogCaptureFixture) -> None:
    with Readers(1) as reader_pool, caplog.at_level(logging.ERROR), pytest.raises(UnforeseenError) as caught:
        reader_pool.read(b"err DOE JANE", None, "odd.png")
    assert caught.value.reference in caplog.text
    assert "misread" in caplog.text
    assert "DOE" not in caplog.text


@pytest.mark.parametrize("shared", [True, False])
def test_a_reader_that_was_killed_between_two_films_is_replaced(
    film_png: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "HAS_SHARED_MEMORY", shared and readers.HAS_SHARED_MEMORY)
    with Readers(1) as reader_pool:
        reader_pool.read(film_png)
        (pid,) = reader_pool.processes
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.01)
        (reader,) = reader_pool._all
        monkeypatch.setattr(reader.process, "is_alive", lambda: True)  # the fork server has not said yet that it ended
        assert reader_pool.read(film_png).width > 0
        assert reader_pool.processes != [pid]


def test_a_service_that_is_told_to_end_can_still_read(film_png: Path) -> None:
    with Readers(1) as reader_pool:
        reader_pool.read(film_png)
        (pid,) = reader_pool.processes
        os.kill(pid, signal.SIGTERM)  # systemd sends it to all processes of a service
        assert reader_pool.read(film_png).width > 0
        assert reader_pool.processes == [pid]


def test_they_end_with_the_service() -> None:
    with Readers(2) as reader_pool:
        with ThreadPoolExecutor(2) as pool:
            for failed in [pool.submit(reader_pool.read, b"no picture") for _ in "ab"]:
                assert isinstance(failed.exception(), InputError)
        pids = reader_pool.processes
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_time_in_which_a_reader_starts_is_not_the_radiograph_s(
    film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(readers._Reader):
        def __init__(self, context: Any) -> None:
            time.sleep(2.2)
            super().__init__(context)

    monkeypatch.setattr(readers, "_Reader", Slow)
    with Readers(1, within=2) as reader_pool:
        assert reader_pool.read(film_png).width > 0


def test_what_a_reader_would_have_to_load_is_there_before_it_starts() -> None:
    loaded = ("PIL.WebPImagePlugin", "PIL.ImageOps", "pydicom.pixels", "covidnet_lite.dicom_in.dicom_file")
    program = f"import sys, covidnet_lite.readers.host; sys.exit(not {set(loaded)} <= set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_what_pydicom_warns_of_does_not_reach_standard_error(tmp_path: Path) -> None:
    (tmp_path / "odd.dcm").write_bytes(make_dicom(stored(), SpecificCharacterSet="DOE JANE"))
    program = tmp_path / "service.py"
    program.write_text(
        "import sys\n"
        "from covidnet_lite.readers.pool import Readers\n"
        "if __name__ == '__main__':\n"
        "    with Readers(1) as readers:\n"
        "        print(readers.read(sys.argv[1]).width)\n"
    )
    command = [sys.executable, program, tmp_path / "odd.dcm"]
    process = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert process.stdout == "100\n"
    assert process.stderr == ""


def test_nobody_waits_for_ever_for_a_free_reader(film_png: Path) -> None:
    with Readers(1, within=0.2) as reader_pool:
        held = reader_pool._free.get()
        with pytest.raises(ReaderDiedError, match="within"):
            reader_pool.read(film_png)
        reader_pool._free.put(held)


def test_without_a_folder_for_temporary_files_no_service_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(NoProcessError, match="No usable temporary directory.*have TMPDIR name a folder"):
        Readers(1)


def test_where_no_process_can_be_started_nothing_is_said_of_the_radiograph(
    film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with Readers(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(readers, "_Reader", none)
            for action in (lambda: pool.read(film_png), pool.start):
                with pytest.raises(NoProcessError, match="Resource temporarily unavailable"):
                    action()
        assert pool.read(film_png).image.size
