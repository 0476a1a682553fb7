"""Whoever fills in a header may write a name into any field: what leaves the machine, and every log, holds none of it.

A marker stands in one text attribute of a made-up film after the other, and is looked for in what comes out.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicoms
import numpy as np
import pytest
from conftest import ROOT, drawn_chest, with_rules

from covidnet_lite import Classifier
from covidnet_lite.codes import Code
from covidnet_lite.dicom_out import origin as dicom_origin
from covidnet_lite.network.operating_point import OperatingPoint
from covidnet_lite.watch.mqtt import payload

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

MARKER = "ZQX^JANE"
# What is asked for by name, whatever its kind, and one attribute of each kind of text; none of them left out.
ASKED = sorted(
    {
        word
        for path in (ROOT / "covidnet_lite").rglob("*.py")
        for word in re.findall(r"\b[A-Z][A-Za-z]+\b", path.read_text())
        if word in pydicom.datadict.keyword_dict and pydicom.datadict.tag_for_keyword(word) >> 16 > 2
    }
    - {"PixelData"}
)
KINDS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
# Words before the marker by which an attribute gets further than the first look, or is understood as an objection.
BEFORE = {
    "BodyPartExamined": ("FOOT ", "CHEST "),
    "ViewPosition": ("LATERAL ", "PA "),
    "PresentationLUTShape": ("INVERSE ",),
    "PatientOrientation": ("A ",),
    "CodeMeaning": ("FOOT ", "LATERAL ", "CHEST ", "PA "),
}
# What a result takes over from its film, to be found beside it: its patient and its study, in elements of their own.
TAKEN_OVER = {*dicom_origin.EXPECTED, *dicom_origin.PEOPLE, *dicom_origin.OPTIONAL}


@dataclass(frozen=True)
class Filled:
    """A film with the marker in it: its file, and where the marker is."""

    path: Path
    keyword: str


def kinds() -> list[str]:
    """A keyword of each kind of text that nothing asks for."""
    known = pydicom.datadict.DicomDictionary.values()
    results = []
    for kind in KINDS:
        names = [name for vr, _, _, retired, name in known if vr == kind and not retired and name not in ASKED]
        results += [name for name in names if int(pydicom.datadict.tag_for_keyword(name)) >> 16 > 8][:1]
    return results


def plain(number: int) -> Any:
    """A made-up chest, as a dataset that is written with implicit VR: any text may then stand anywhere."""
    pixels = np.asarray(drawn_chest(number, opaque=True, side=160)).astype(np.uint16) * 16
    data = dicoms.dataset(pixels, **dicoms.IDENTITY)
    data.BitsStored, data.HighBit, data["PixelData"].VR = 12, 11, "OW"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    data.preamble, data.file_meta.TransferSyntaxUID = b"\0" * 128, "1.2.840.10008.1.2"
    return data


def element(keyword: str, text: str) -> Any:
    from pydicom.dataelem import DataElement

    return DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", text)


def item(**texts: str) -> Any:
    dataset = pydicom.Dataset()
    for keyword, text in texts.items():
        dataset.add(element(keyword, text))
    return dataset


def fillings() -> Iterator[tuple[str, Callable[[Any], None]]]:
    """What a film is called, and what fills the marker into it."""

    def sets(keyword: str, text: str) -> Callable[[Any], None]:
        return lambda data: data.__setitem__(pydicom.datadict.tag_for_keyword(keyword), element(keyword, text))

    def nests(sequence: str, **texts: str) -> Callable[[Any], None]:
        return lambda data: setattr(data, sequence, [item(**texts)])

    for keyword in (*ASKED, *kinds()):
        if pydicom.datadict.dictionary_VR(keyword) == "SQ":
            continue
        for i, before in enumerate(("", *BEFORE.get(keyword, ()))):
            yield f"{keyword}-{i}", sets(keyword, before + MARKER)
    for sequence in ("AnatomicRegionSequence", "ViewCodeSequence", "RequestAttributesSequence"):
        for i, before in enumerate(("", *BEFORE["CodeMeaning"])):
            words = dict.fromkeys(("CodeMeaning", "CodeValue", "CodingSchemeDesignator"), before + MARKER)
            yield f"{sequence}-{i}", nests(sequence, **words)
    for sequence in ("ModalityLUTSequence", "VOILUTSequence"):
        words = dict.fromkeys(("LUTDescriptor", "LUTExplanation", "ModalityLUTType", "LUTData"), MARKER)
        yield sequence, nests(sequence, **words)
    yield "private", lambda data: data.private_block(0x11, MARKER, create=True).add_new(1, "LO", MARKER)
    for keyword in ("MediaStorageSOPClassUID", "ImplementationVersionName", "ImplementationClassUID"):
        yield f"meta-{keyword}", lambda data, k=keyword: setattr(data.file_meta, k, MARKER)  # type: ignore[misc]
    yield "meta-TransferSyntaxUID", lambda data: setattr(data.file_meta, "TransferSyntaxUID", MARKER)
    yield (
        "comment-of-a-colour",
        lambda data: data.update({"PhotometricInterpretation": MARKER, "ImageComments": MARKER}),
    )


NAMES = [name for name, _ in fillings()]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filled]:
    """One file each, with nothing in its own name."""
    folder, items = tmp_path_factory.mktemp("films"), {}
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    reading = pydicom.config.settings.reading_validation_mode
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        for number, (name, fill) in enumerate(fillings(), 1):
            data, path = plain(number), folder / f"{number:03}.dcm"
            fill(data)
            syntax = data.file_meta.TransferSyntaxUID
            if syntax == MARKER:
                data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
            data.save_as(path, implicit_vr=True, little_endian=True)
            if syntax == MARKER:
                path.write_bytes(
                    path.read_bytes().replace(b"1.2.840.10008.1.2\0", b"1.2.840." + MARKER.encode() + b"\0\0")
                )
            assert MARKER.encode() in path.read_bytes()
            items[name] = Filled(path, name.split("-")[0])
    finally:
        pydicom.config.settings.writing_validation_mode = before
        pydicom.config.settings.reading_validation_mode = reading
    return items


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that answers whatever it sees."""
    always = {"pneumonia": 1e-6, "covid": 1e-6}
    point = OperatingPoint("normal", 1.01, 1e-6, always, inside_from=0.0)
    return with_rules(tmp_path_factory.mktemp("network"), guard=None, operating_point=point)


@pytest.fixture(scope="module")
def watched(films: dict[str, Filled], network: Path) -> tuple[Path, str]:
    """``covidnet-lite watch`` over all of them: where they are, and what it has said."""
    (folder,) = {film.path.parent for film in films.values()}
    command = [sys.executable, "-m", "covidnet_lite", "watch", folder, "--once", "--settle", "0.1", "--interval", "0.1"]
    process = subprocess.run([*command, "--model", network], capture_output=True, text=True, timeout=120, cwd=ROOT)
    return folder, process.stdout + process.stderr


def test_the_log_of_watch_quotes_no_header(films: dict[str, Filled], watched: tuple[Path, str]) -> None:
    assert MARKER not in watched[1]
    assert watched[1].count(".dcm: answered") > len(films) / 2  # it did get so far


@pytest.mark.parametrize("name", NAMES)
def test_what_is_published_quotes_no_header(name: str, films: dict[str, Filled], watched: tuple[Path, str]) -> None:
    path = films[name].path
    text = payload(path.with_name(f"{path.name}.json").read_bytes())
    assert b"status" in text
    assert b"ZQX" not in text


@dataclass(frozen=True)
class Worked:
    """What the node made of all of them.

    Attributes:
        results: by SOP Instance UID of the film.
        log: as text.
        records: the log as JSON, and the audit trail.
    """

    results: dict[str, list[Any]]
    log: str
    records: str


@pytest.fixture(scope="module")
def worked(films: dict[str, Filled], network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    pytest.importorskip("pynetdicom")
    from covidnet_lite.logs import JsonFormatter
    from covidnet_lite.node import audit, sender, worker
    from covidnet_lite.node.events import Event, Instance, Peer, Received
    from covidnet_lite.node.queue import Queue
    from covidnet_lite.node.settings import Limits, Pacs, Settings

    settings = Settings(tmp_path_factory.mktemp("queue"), Pacs("PACS", "127.0.0.1", 1), limits=Limits(free_mb=0))
    queue, lines, records = Queue(settings.queue, settings.limits, ("pacs",)), [], []

    def take(record: logging.LogRecord) -> None:
        lines.append(record.getMessage())
        records.append(JsonFormatter().format(record))

    def record(event: Event) -> None:
        records.append(audit.message(event, Peer("COVIDNET", "here"), 0.0))

    handler = logging.Handler()
    handler.emit = take  # type: ignore[method-assign]
    log = logging.getLogger("covidnet_lite")  # as the command does
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    stop = threading.Event()

    def idle() -> None:
        stop.set()
        queue.arrived.set()

    queue.forget = idle  # type: ignore[method-assign]
    try:
        for number, film in enumerate(films.values(), 1):
            queue.add(f"1.2.3.{number}", film.path.read_bytes())
            meta = pydicom.filereader.read_file_meta_info(film.path)
            instance = Instance(str(meta.get("MediaStorageSOPClassUID")), str(meta.get("MediaStorageSOPInstanceUID")))
            record(Received(Peer("XRAY", "192.0.2.7"), instance))
        worker.work(queue, Classifier(network), stop, settings, record)
        results: dict[str, list[Any]] = {}
        for parcel in queue.outboxes["pacs"].parcels():
            sender._log_sent(parcel.story, "PACS", "pacs")
            results[parcel.story["film"]] = [pydicom.dcmread(path) for path in parcel.objects]
        yield Worked(results, "\n".join(lines), "\n".join(records))
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        queue.close()


def test_the_log_of_the_node_quotes_no_header(films: dict[str, Filled], worked: Worked) -> None:
    assert "ZQX" not in worked.log
    assert worked.log.count("quarantined") + len(worked.results) == len(films)
    assert "1.2.3.1 from" in worked.log
    assert worked.log.count("resembles") > len(films) / 2


def test_the_log_as_json_and_the_audit_trail_quote_no_header(films: dict[str, Filled], worked: Worked) -> None:
    assert "ZQX" not in worked.records
    assert worked.records.count('"code": "sent"') == len(worked.results)
    assert worked.records.count("<AuditMessage>") == 2 * len(films)


@pytest.mark.parametrize("name", NAMES)
def test_dicom_results_hold_no_header_but_patient_and_study(
    name: str, films: dict[str, Filled], worked: Worked
) -> None:
    for result in worked.results.get(f"1.2.3.{NAMES.index(name) + 1}", []):
        for element in result.iterall():
            if "ZQX" in str(element.value) and element.VR != "SQ":
                assert element.keyword == films[name].keyword
                assert element.keyword in TAKEN_OVER
                assert element.tag in result  # at the top, as the film has it


@pytest.fixture(scope="module")
def served(films: dict[str, Filled], network: Path) -> str:
    """All that ``covidnet-lite serve`` writes, and its figures, when it has answered for each of them."""
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("starlette")
    command = [sys.executable, "-m", "covidnet_lite", "serve", "--port", "0", "--model", str(network)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=-1, stderr=subprocess.STDOUT, env={**os.environ}) as it:
        try:
            assert it.stdout is not None
            url = it.stdout.readline().split()[0]
            with httpx.Client(base_url=url, timeout=60) as client:
                for film in films.values():
                    for route in ("classify", "picture"):
                        answer = client.post(f"/v1/{route}", files={"file": ("a.dcm", film.path.read_bytes())})
                        assert answer.status_code in (200, 422)
                        assert answer.status_code == 200 or answer.json()["code"] in list(Code)
                figures = client.get("/metrics").text
        finally:
            it.terminate()
        return figures + it.stdout.read()


def test_log_and_figures_of_the_page_quote_no_header(films: dict[str, Filled], served: str) -> None:
    assert "ZQX" not in served
    assert re.search(r'images_total{status="answered"} \d\d', served)
