"""Fetching a day's radiographs, from a real Orthanc and from services that behave oddly."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage

from benchmarks import modality
from benchmarks.orthanc import DICOMWEB, Orthanc, missing
from covidnet_lite.errors import AddressError, QueueFullError, SettingsError
from covidnet_lite.node import dicomweb, fetch
from covidnet_lite.node.inbox import Priority
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Service, Settings

DAY = datetime.date(2026, 3, 1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def told(settings: Settings) -> Settings:
    return replace(settings, archive=Service("http://127.0.0.1:1/dicom-web"))


class Archive:
    """Holds one series of some instances; ``page`` matches come at a time, or all whatever is asked for."""

    def __init__(self, made: Callable[..., bytes], count: int, page: int | None = None, kind: str = "") -> None:
        self.page, self.asked, self.calls = page, [], 0
        self.broken: dict[str, Any] = {}
        self._made, self._uids, self._kind = made, [f"1.2.{i}" for i in range(count)], kind

    def search_for_series(self, search_filters: dict[str, str], **more: Any) -> list[Any]:
        self.calls += 1
        assert search_filters["StudyDate"] == "20260301"
        series = {"0020000D": {"Value": ["1.8"]}, "0020000E": {"Value": ["1.9"]}, "00080060": {"Value": ["CR"]}}
        return self._paged([series], **more)

    def search_for_instances(self, study: str, series: str, **more: Any) -> list[Any]:
        assert (study, series) == ("1.8", "1.9")
        matches = [{"00080018": {"Value": [uid]}, "00080016": {"Value": [self._kind or FILM]}} for uid in self._uids]
        return self._paged(matches, **more)

    def retrieve_instance(self, study: str, series: str, uid: str, media_types: Any) -> Any:
        self.asked.append(uid)
        if error := self.broken.get(uid):
            raise error
        return pydicom.dcmread(pydicom.filebase.DicomBytesIO(self._made(uid)))

    def _paged(self, matches: list[Any], limit: int, offset: int) -> list[Any]:
        return matches[offset : offset + min(limit, self.page)] if self.page else matches


FILM = str(ComputedRadiographyImageStorage)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, as_bytes: Callable[..., bytes]) -> Callable[..., Archive]:
    def make(*args: Any, **more: Any) -> Archive:
        made = Archive(as_bytes, *args, **more)
        monkeypatch.setattr(dicomweb, "client", lambda *_: made)
        return made

    return make


@pytest.mark.parametrize("page", [1, 2, 100, None])
def test_all_of_a_day_come_once_however_a_service_pages(told: Settings, archive: Any, page: int | None) -> None:
    there = archive(5, page)
    assert str(fetch.fetch(told, DAY)) == "5 fetched, 0 known already, 0 failed"
    assert there.asked == [f"1.2.{i}" for i in range(5)]
    assert str(fetch.fetch(told, DAY)) == "0 fetched, 5 known already, 0 failed"
    assert len(there.asked) == 5  # nothing is got twice


def test_the_most_are_new_ones_so_the_next_fetch_goes_on(told: Settings, archive: Any) -> None:
    archive(5)
    tallies = [str(fetch.fetch(told, DAY, most=2)) for _ in range(3)]
    assert tallies[0] == "2 fetched, 0 known already, 0 failed"
    assert tallies[1] == "2 fetched, 2 known already, 0 failed"
    assert tallies[2] == "1 fetched, 4 known already, 0 failed"


def test_what_was_fetched_waits_behind_what_modalities_send(
    told: Settings, archive: Any, as_bytes: Callable[..., bytes]
) -> None:
    archive(1)
    queue = Queue(told.queue, told.limits, tuple(told.everywhere))  # a node is at work
    fetch.fetch(told, DAY)
    (fetched,) = [queue.next()]
    assert fetched
    assert fetched.priority is Priority.LOW
    assert pydicom.dcmread(fetched.path).file_meta.SourceApplicationEntityTitle == "FETCH"
    queue.add("1.7", as_bytes("1.7"))
    arrival = queue.next()
    assert arrival
    assert arrival.priority is Priority.MEDIUM
    queue.close()


def test_what_is_no_radiograph_is_not_asked_for(told: Settings, archive: Any) -> None:
    there = archive(2, kind=str(CTImageStorage))
    assert fetch.fetch(told, DAY).fetched == 0
    assert there.asked == []


def test_one_that_fails_is_counted_and_the_others_come(
    told: Settings, archive: Any, caplog: pytest.LogCaptureFixture
) -> None:
    there = archive(4)
    there.broken = {"1.2.0": ValueError("DOE^JANE"), "1.2.2": pydicom.errors.InvalidDicomError("DOE^JANE")}
    assert str(fetch.fetch(told, DAY, ["CR"])) == "2 fetched, 0 known already, 2 failed"
    assert "1.2.0" in caplog.text
    assert "DOE" not in caplog.text


def test_an_archive_that_fails_again_and_again_is_away(told: Settings, archive: Any) -> None:
    there = archive(9)
    there.broken = {f"1.2.{i}": requests.ConnectionError() for i in range(1, 9)}
    with pytest.raises(AddressError, match="3 times in a row; 1 fetched, 0 known already, 3 failed"):
        fetch.fetch(told, DAY)


def test_a_full_queue_keeps_what_it_has_and_says_how_much(told: Settings, archive: Any) -> None:
    archive(5)
    full = replace(told, limits=replace(told.limits, films=3))
    with pytest.raises(QueueFullError, match="3 fetched, 0 known already, 0 failed; fetch the rest later"):
        fetch.fetch(full, DAY)
    assert fetch.fetch(told, DAY).fetched == 2


def test_no_archive_and_an_archive_that_is_away_are_told(settings: Settings, told: Settings) -> None:
    with pytest.raises(SettingsError, match="archive: is missing"):
        fetch.fetch(settings, DAY)
    with pytest.raises(AddressError, match="archive http://127.0.0.1:1/dicom-web cannot be reached"):
        fetch.fetch(told, DAY)


@pytest.mark.slow
@pytest.mark.skipif(missing() is not None or not DICOMWEB.exists(), reason="needs Debian's orthanc-dicomweb")
def test_the_command_fetches_a_day_from_a_real_archive(film: Path, tmp_path: Path) -> None:
    paths = modality.copies_of(film, tmp_path / "films", 3)
    day = pydicom.dcmread(next(iter(paths))).StudyDate
    with Orthanc(tmp_path / "pacs", Plugins=[str(DICOMWEB)]) as pacs:
        for path in paths:
            requests.post(f"{pacs.http}/instances", path.read_bytes(), timeout=30).raise_for_status()
        file = tmp_path / "node.toml"
        file.write_text(f"""
            queue = "queue"
            [pacs]
            ae_title = "PACS"
            host = "127.0.0.1"
            port = 1
            [archive]
            url = "{pacs.dicomweb}"
        """)

        def run(*options: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "covidnet_lite", "node", "fetch", "--settings", str(file), *options]
            return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)

        iso = re.sub(r"(....)(..)(..)", r"\1-\2-\3", day)
        assert run("--date", iso, "--most", "2").stdout == f"{iso}: 2 fetched, 0 known already, 0 failed\n"
        assert run("--date", iso, "--modality", "CR", "--modality", "DX").stdout.endswith(
            "1 fetched, 2 known already, 0 failed\n"
        )
        assert run("--date", "1999-12-31").stdout.endswith("0 fetched, 0 known already, 0 failed\n")
        assert run("--date", "31.12.1999").returncode == 2
    kept = {str(pydicom.dcmread(path).SOPInstanceUID) for path in (tmp_path / "queue/received").iterdir()}
    assert kept == set(paths.values())
