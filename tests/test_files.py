"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import files
from covidnet_lite.errors import OutputError


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
    seen = []
    replace = os.replace

    def watch(source, target):
        seen.append((path.read_text(), os.path.dirname(source), Path(source).read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    files.write(path, "new")
    assert seen == [("old", str(tmp_path), "new")]
    assert path.read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written \(No space left on device\); choose another"):
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
