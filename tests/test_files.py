"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import files
from covidnet_lite.errors import MissingExtraError, OutputError


def refuse(*_):
    raise OSError(28, "No space left on device")


def test_bytes_and_text_are_written_into_folders_that_did_not_exist(tmp_path):
    path = tmp_path / "new/deep/a.txt"
    assert files.write(path, "été\n") == path
    assert path.read_bytes() == "été\n".encode()
    assert files.write(str(path), b"\x00\r\n") == path
    assert path.read_bytes() == b"\x00\r\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    calls = []
    replace = os.replace

    def watch(source, target):
        calls.append((path.read_text(), os.path.dirname(source), Path(source).read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    files.write(path, "new")
    assert calls == [("old", str(tmp_path), "new")]
    assert path.read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(
        OutputError,
        match=r"a\.txt: cannot be written \(No space left on device\); make room on its disk, or choose another",
    ):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_that_fills_up_half_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        files.write(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_place_of_a_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written .*choose another folder"):
        files.write(tmp_path / "file/a.txt", "new")
    with pytest.raises(OutputError, match=r"file: cannot be written to .*choose another folder"):
        files.check_folder(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_in_the_place_of_the_file_is_an_output_error(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written"):
        files.write(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_file_gets_the_permissions_the_umask_allows(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        path = files.write(tmp_path / "a.txt", "new")
        assert os.umask(mask) == mask  # writing left it as it was
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        files.write(tmp_path / "a.txt", "new")
    with pytest.raises(OutputError, match="Permission denied"):
        files.check_folder(tmp_path)


def test_a_picture_is_written_as_png_whatever_its_suffix(tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    path = files.write_png(tmp_path / "new/map.jpg", Image.fromarray(pixels))
    with Image.open(path) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_checking_a_folder_makes_it_and_leaves_it_empty(tmp_path):
    files.check_folder(tmp_path / "new/deep")
    files.check_folder(tmp_path / "new/deep")
    assert os.listdir(tmp_path / "new/deep") == []


def test_several_files_are_written_or_none(tmp_path, monkeypatch):
    """Whichever of them the disk has no room for."""
    (tmp_path / "a.txt").write_text("old")
    expected = {tmp_path / "a.txt": "new", tmp_path / "sub/b.bin": b"new", tmp_path / "c.txt": "new"}
    sync = os.fsync
    for room in range(3):
        remaining = iter([True] * room)
        monkeypatch.setattr(
            os, "fsync", lambda handle, remaining=remaining: sync(handle) if next(remaining, False) else refuse()
        )
        with pytest.raises(OutputError, match=rf"{list(expected)[room].name}: cannot be written"):
            files.write_all(expected)
        paths = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
        assert paths == [Path("a.txt")]
        assert (tmp_path / "a.txt").read_text() == "old"
    monkeypatch.setattr(os, "fsync", sync)
    files.write_all(expected)
    assert [p.read_text() for p in expected] == ["new"] * 3


def test_none_is_renamed_before_all_are_written(tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def watch(source, target):
        calls.append(sorted(p.stat().st_size for p in tmp_path.iterdir()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    files.write_all({tmp_path / "a": "1", tmp_path / "b": "22"})
    assert calls[0] == [1, 2]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_all({tmp_path / "a": "1", tmp_path / "b": "22"})
    assert os.listdir(tmp_path) == []


def test_no_file_is_no_error(tmp_path):
    files.write_all({})


def test_a_folder_is_had_by_one_process_alone(tmp_path):
    claim = files.claim(tmp_path, "taken")
    with pytest.raises(OutputError, match="taken"):
        files.claim(tmp_path, "taken")
    claim.release()
    files.claim(tmp_path, "taken").release()
    assert os.listdir(tmp_path) == [files.LOCK]


def test_the_extra_that_locks_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'covidnet-lite\[watch\]'"):
        files.claim(tmp_path, "taken")


def test_a_share_that_knows_no_locks_is_told(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="No locks"):
        files.claim(tmp_path, "taken")


def halves(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(files.TEMPORARY))


def test_what_a_killed_run_left_half_written_is_removed_by_the_next_and_what_a_running_one_writes_is_not(tmp_path):
    slow = "from covidnet_lite import files; import os, time; "
    slow += "os.fsync = lambda _: (print('there', flush=True), time.sleep(60)); files.write('a', 'half')"
    command = [sys.executable, "-c", slow]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"there\n"
        files.check_folder(tmp_path)
        assert len(halves(tmp_path)) == 1
        process.kill()
        process.wait()
    files.check_folder(tmp_path)
    assert halves(tmp_path) == []


def test_what_another_machine_left_is_removed_after_an_hour(tmp_path):
    foreign = tmp_path / f"{files.TEMPORARY}00000000-1-aa"
    foreign.touch()
    files.tidy(tmp_path)
    assert foreign.exists()
    os.utime(foreign, (time.time() - files.LEFTOVER - 9,) * 2)
    files.tidy(tmp_path)
    assert not foreign.exists()


def test_a_folder_made_private_is_closed_with_all_that_is_in_it_and_links_are_not_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.touch(0o644)
    outside.chmod(0o644)
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "a").touch()
    (folder / "a").chmod(0o664)
    (folder / "link").symlink_to(outside)
    files.make_private(folder)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "a", outside)] == [0o700, 0o600, 0o644]


def test_a_private_file_is_never_open_to_others_and_others_keep_the_usual_rights(tmp_path):
    before = os.umask(0o022)
    try:
        for mode, rights in ((files.OWN_FILE, 0o600), (0o666, 0o644)):
            assert stat.S_IMODE(files.write(tmp_path / "a", "x", mode).stat().st_mode) == rights
    finally:
        os.umask(before)


def test_a_full_disk_keeps_no_work_from_beginning_but_is_noticed(tmp_path, monkeypatch):
    real = tempfile.TemporaryFile

    def full(**more):
        file = real(**more)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def write(self, data):
                if data:
                    raise OSError(errno.ENOSPC, "No space left on device")

        return Full()

    files.check_writable(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    files.check_folder(tmp_path)
    with pytest.raises(OutputError, match="cannot be written to .No space left on device.; check disk and owner"):
        files.check_writable(tmp_path)


def test_what_a_process_that_lives_is_writing_stays_whatever_the_clock_says(tmp_path, monkeypatch):
    ours = tmp_path / files._temporary().replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    ours.touch()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    files.tidy(tmp_path)
    assert ours.exists()
    before = tmp_path / files._temporary()  # of our own number, as in a container whose processes all have the same
    before.touch()
    files.tidy(tmp_path)
    assert not before.exists()
