"""A zip of radiographs, opened within limits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import archive, inputs
from covidnet_lite.errors import InputError


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(6400).reshape(80, 80).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


MIXED = packed(
    **{
        "a.png": png(),
        "__MACOSX/._a.png": b"x",
        "._b.png": b"x",
        "sub/b.png": png(),
        "readme.txt": b"x",
        "IM1": b"no DICOM",
        "IM2": bytes(128) + b"DICM",
        "a.evidence.png": b"x",
    }
)


def test_each_film_is_a_member_and_all_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ward.zip"
    path.write_bytes(MIXED)
    for members in (list(archive.members(path)), list(archive.members(MIXED, str(path)))):
        assert [m.name for m in members] == [f"{path}/{n}" for n in ("a.png", "sub/b.png", "IM2")]
        assert members[0].read() == members[1].read() == png()


@pytest.mark.parametrize(
    ("member", "data", "words"),
    [("in.zip", b"PK\3\4", "archive within an archive"), ("bomb.png", bytes(50_000_000), "claims to be 47 MB")],
)
def test_what_is_refused_costs_only_itself(member: str, data: bytes, words: str) -> None:
    members = list(archive.members(packed(**{member: data, "a.png": png()}), "x.zip"))
    with pytest.raises(InputError, match=rf"^x\.zip/{member}: .*{words}"):
        members[0].read()
    assert members[1].read() == png()


def test_a_member_that_is_damaged_costs_only_itself() -> None:
    data = packed(**{"a.png": png(), "b.png": png()})
    at = data.index(b"b.png") + 30
    broken = data[:at] + bytes(20) + data[at + 20 :]
    first, second = archive.members(broken, "x.zip")
    assert first.read() == png()
    with pytest.raises(InputError, match="cannot be unpacked"):
        second.read()


@pytest.mark.parametrize("data", [b"PK\3\4 no more", MIXED[:-30], packed(), packed(**{"readme.txt": b"x"})])
def test_an_archive_without_films_is_one_film_that_cannot_be_read(data: bytes) -> None:
    (only,) = archive.members(data, "x.zip")
    with pytest.raises(InputError, match=r"^x\.zip: .*zip archive"):
        only.read()


def test_many_members_are_not_even_listed() -> None:
    (only,) = archive.members(packed(**{f"{i}.png": b"" for i in range(archive.MAX_MEMBERS + 1)}), "x.zip")
    assert "more than 5000 members" in only.fault


def test_the_command_takes_archives_apart_given_by_name_or_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ward.zip").write_bytes(MIXED)
    (tmp_path / "._ward.zip").write_bytes(MIXED)
    (tmp_path / "c.png").write_bytes(png())
    (tmp_path / "._c.png").write_bytes(b"\0\5\x16\7")
    names = [getattr(f, "name", f) for f in inputs.find([str(tmp_path)])]
    assert names == [str(tmp_path / n) for n in ("c.png", "ward.zip/a.png", "ward.zip/sub/b.png", "ward.zip/IM2")]
    assert len(list(inputs.find([str(tmp_path / "ward.zip")]))) == 3
