"""The worker: what becomes of good films, bad ones, and those that are ours."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from disks import BROKEN, CHANGES, FULL, READ_ONLY, failing
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from covidnet_lite import Classifier, radiograph
from covidnet_lite.errors import NoProcessError, OutputError
from covidnet_lite.node import layout, worker
from covidnet_lite.node.events import discard
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Results, Rule, Settings
from covidnet_lite.troubles import Troubles


@pytest.fixture(scope="module")
def classifier(answering: Path) -> Classifier:
    return Classifier(answering)


ELSEWHERE = (Rule(stations=("SOMEWHERE ELSE",)),)
ALL = Results(unsure=("SR", "SC"), refused=("SR", "SC"))


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    opened = Queue(settings.queue, settings.limits, tuple(settings.everywhere))
    yield opened
    opened.close()


@pytest.fixture
def work(queue: Queue, classifier: Classifier, settings: Settings) -> Callable[[], None]:
    """Works until the queue holds no more films."""

    def run() -> None:
        stop = threading.Event()
        real = queue.forget

        def idle() -> None:
            real()
            stop.set()
            queue.arrived.set()

        queue.forget = idle  # type: ignore[method-assign]
        worker.work(queue, classifier, stop, settings)

    return run


@pytest.fixture
def work_with(queue: Queue, classifier: Classifier, settings: Settings) -> Callable[..., None]:
    """Works with settings changed until nothing is received any more."""

    def run(**changes: Any) -> None:
        stop = threading.Event()
        queue.forget = lambda: (stop.set(), queue.arrived.set())  # type: ignore[method-assign,assign,return-value]
        worker.work(queue, classifier, stop, replace(settings, **changes))

    return run


def objects(queue: Queue) -> list[Any]:
    (parcel,) = queue.outboxes["pacs"].parcels()
    return [pydicom.dcmread(path) for path in parcel.objects]


def reason(queue: Queue) -> str:
    (path,) = (queue.folder / "failed").glob("*/reason.txt")
    return path.read_text()


def test_a_film_becomes_a_report_and_a_picture_that_speak_of_it(queue: Queue, work: Any, as_bytes: Any) -> None:
    queue.add("1.2.3", as_bytes("1.2.3"))
    work()
    report, picture = objects(queue)
    assert (report.Modality, picture.Modality) == ("SR", "OT")
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    (parcel,) = queue.outboxes["pacs"].parcels()
    assert parcel.story["film"] == "1.2.3"
    assert parcel.story["results"] == 2
    assert parcel.story["answer"].startswith("resembles")


@pytest.mark.parametrize("allowed", [False, True])
def test_the_accession_number_is_noted_for_the_log_where_that_is_allowed(
    allowed: bool, queue: Queue, classifier: Classifier, settings: Settings, as_bytes: Any
) -> None:
    stop = threading.Event()
    queue.forget = lambda: (stop.set(), queue.arrived.set())  # type: ignore[assignment, method-assign]
    queue.add("1.2.3", as_bytes("1.2.3", AccessionNumber="A17"))
    worker.work(queue, classifier, stop, replace(settings, log_accession=allowed))
    story = queue.outboxes["pacs"].parcels()[0].story
    assert layout.fields(story)["accession"] == ("A17" if allowed else None)
    assert layout.described(story, "sent").startswith("1.2.3 (accession A17) from " if allowed else "1.2.3 from ")


def test_a_narrowed_answer_is_sent_with_its_picture_and_an_abstention_without(
    queue: Queue,
    work: Any,
    as_bytes: Any,
    classifier: Classifier,
    narrowing: Path,
    abstaining: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for network, results, words in (
        (narrowing, 2, "not normal; pneumonia or covid"),
        (abstaining, 1, "no answer: unsure"),
    ):
        monkeypatch.setattr(classifier, "classify", Classifier(network).classify)
        queue.add("1.2.3", as_bytes("1.2.3"))
        work()
        (parcel,) = queue.outboxes["pacs"].parcels()
        assert parcel.story["results"] == len(parcel.objects) == results
        assert parcel.story["answer"].startswith(words)
        queue.outboxes["pacs"].reject(parcel, "to have it made again")


def test_a_film_is_opened_twice_and_decoded_once(
    queue: Queue, work: Any, as_bytes: Any, decodings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its header, and for its pixels, of which both the network's image and that of the capture are made."""
    openings, opened = [], radiograph.open_binary
    monkeypatch.setattr(radiograph, "open_binary", lambda img, name: [openings.append(name), opened(img, name)][1])
    queue.add("1.2.3", as_bytes("1.2.3"))
    work()
    assert len(objects(queue)) == 2
    assert decodings == ["DICOM"]
    assert len(openings) == 2


def test_the_same_film_gives_the_same_instances_after_a_restart(queue: Queue, work: Any, as_bytes: Any) -> None:
    made = []
    for _ in range(2):
        queue.add("1.2.3", as_bytes("1.2.3"))
        work()
        made.append([data.SOPInstanceUID for data in objects(queue)])
        queue.outboxes["pacs"].reject(queue.outboxes["pacs"].parcels()[0], "to have it made again")
    assert made[0] == made[1]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_compressed_films_are_classified_too(queue: Queue, work: Any, as_bytes: Any, syntax: Any) -> None:
    data = pydicom.dcmread(BytesIO(as_bytes("1.2.3")))
    data.compress(syntax, generate_instance_uid=False)
    buffer = BytesIO()
    data.save_as(buffer)
    queue.add("1.2.3", buffer.getvalue())
    work()
    assert len(objects(queue)) == 2


def test_a_lateral_view_gets_a_report_without_a_picture(queue: Queue, work: Any, as_bytes: Any) -> None:
    queue.add("1.2.3", as_bytes("1.2.3", ViewPosition="LL"))
    work()
    (report,) = objects(queue)
    assert report.Modality == "SR"


def test_films_that_cannot_be_read_are_set_aside_and_hold_up_nothing(queue: Queue, work: Any, as_bytes: Any) -> None:
    whole = as_bytes("1.2.1")
    queue.add("1.2.1", whole[: len(whole) // 2])
    queue.add("1.2.2", as_bytes("1.2.2"))
    work()
    assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 1}
    assert reason(queue).startswith("1.2.1: ")
    assert str(queue.folder) not in reason(queue)
    (film,) = (queue.folder / "failed").glob("*/film.dcm")
    assert film.read_bytes() == whole[: len(whole) // 2]


def test_a_film_that_was_sent_under_another_uid_is_set_aside(queue: Queue, work: Any, as_bytes: Any) -> None:
    film = pydicom.dcmread(BytesIO(as_bytes("1.2.3")))
    film.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
    buffer = BytesIO()
    film.save_as(buffer)
    queue.add("1.2.4", buffer.getvalue())
    work()
    assert reason(queue).startswith("1.2.4: its SOP Instance UID is 1.2.3, but it was sent as 1.2.4")


def test_our_own_results_coming_back_end_there(queue: Queue, work: Any, as_bytes: Any) -> None:
    queue.add("1.2.3", as_bytes("1.2.3"))
    work()
    picture = queue.outboxes["pacs"].parcels()[0].objects[1]
    uid = str(pydicom.dcmread(picture).SOPInstanceUID)
    queue.add(uid, picture.read_bytes())
    work()
    (back,) = (json.loads(path.read_text()) for path in (queue.folder / "sent").iterdir())
    assert back["film"] == uid
    assert back["answer"] == "a result of ours, left alone"


def test_a_film_with_which_the_node_dies_again_and_again_is_set_aside(
    queue: Queue, as_bytes: Any, work: Any, settings: Settings
) -> None:
    class Deadly:
        def classify(self, path: Any, keep_image: bool = False) -> None:
            raise SystemExit("as a kill would")

    queue.add("1.2.1", as_bytes("1.2.1"))
    for _ in range(worker.TRIES):
        with pytest.raises(SystemExit):
            worker.work(queue, Deadly(), threading.Event(), settings)  # type: ignore[arg-type]
    queue.add("1.2.2", as_bytes("1.2.2"))
    work()
    assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 1}
    assert "ended 5 times" in reason(queue)


def test_a_full_disk_is_waited_for_and_is_no_fault_of_the_film(
    queue: Queue, work: Any, as_bytes: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "PAUSE", 0.01)
    finish, left = queue.finish, 2 * worker.TRIES

    def full(*args: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OutputError("no room")
        finish(*args)

    monkeypatch.setattr(queue, "finish", full)
    queue.add("1.2.3", as_bytes("1.2.3"))
    work()
    assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 0}
    assert caplog.text.count("no room; trying again") == 1


def test_what_no_rule_admits_is_kept_in_quarantine(
    queue: Queue, work_with: Any, as_bytes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queue.add("1.2.3", film := as_bytes("1.2.3", StationName="ROOM 1"))
    work_with(admit=ELSEWHERE)
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 0, "failed": 1}
    assert "no rule of the settings admits it" in reason(queue)
    (kept,) = (queue.folder / "failed").glob("*/film.dcm")
    assert kept.read_bytes() == film
    assert "1.2.3: quarantined" in caplog.text
    assert "no rule of the settings admits it" in caplog.text
    assert "ROOM" not in caplog.text
    assert queue.not_admitted == 1


def test_what_no_rule_admits_is_dropped_with_a_line_in_the_log_and_known_again(
    queue: Queue, work_with: Any, as_bytes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "covidnet_lite.node")
    queue.add("1.2.3", as_bytes("1.2.3"))
    work_with(admit=ELSEWHERE, not_admitted="drop")
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}
    assert "1.2.3 from CLUNIE1: no rule of the settings admits it: not classified; nothing to send" in caplog.text
    assert queue.not_admitted == 1
    assert not queue.add("1.2.3", as_bytes("1.2.3"))


def test_what_no_rule_admits_is_forwarded_as_it_came(
    queue: Queue, work_with: Any, as_bytes: Any, settings: Settings
) -> None:
    queue.add("1.2.3", film := as_bytes("1.2.3"))
    work_with(admit=ELSEWHERE, not_admitted="forward", pacs=replace(settings.pacs, forward=True))
    (parcel,) = queue.outboxes["pacs"].parcels()
    assert [path.read_bytes() for path in parcel.objects] == [film]
    assert not parcel.is_urgent


def test_what_a_rule_admits_is_classified(queue: Queue, work_with: Any, as_bytes: Any) -> None:
    queue.add("1.2.3", as_bytes("1.2.3", StationName="Somewhere else"))
    work_with(admit=ELSEWHERE, not_admitted="drop")
    assert len(objects(queue)) == 2
    assert queue.not_admitted == 0


@pytest.mark.parametrize("results", [ALL, Results(unsure=("SC",))])
def test_an_abstention_may_have_a_capture_without_a_map(
    queue: Queue,
    work_with: Any,
    as_bytes: Any,
    classifier: Classifier,
    abstaining: Path,
    monkeypatch: Any,
    results: Any,
) -> None:
    monkeypatch.setattr(classifier, "classify", Classifier(abstaining).classify)
    queue.add("1.2.3", as_bytes("1.2.3"))
    work_with(results=results)
    capture = objects(queue)[-1]
    assert [made.Modality for made in objects(queue)] == [{"SR": "SR", "SC": "OT"}[kind] for kind in results.unsure]
    assert "no answer" in capture.SeriesDescription
    pixels = capture.pixel_array.astype(int)
    middle = pixels[len(pixels) // 4 : len(pixels) // 2]
    assert (middle.max(axis=-1) == middle.min(axis=-1)).all()  # gray: no colour of a map


def test_a_lateral_view_has_no_capture_for_its_pixels_are_not_decoded(
    queue: Queue, work_with: Any, as_bytes: Any, decodings: list[str]
) -> None:
    queue.add("1.2.3", as_bytes("1.2.3", ViewPosition="LL"))
    work_with(results=ALL)
    assert [made.Modality for made in objects(queue)] == ["SR"]
    assert decodings == []


def test_nothing_is_made_that_nobody_wants(queue: Queue, work_with: Any, as_bytes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(worker.dicom_results, "make", None)
    queue.add("1.2.3", as_bytes("1.2.3"))
    work_with(results=Results((), (), (), ()))
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}


@pytest.mark.parametrize("number", [FULL, READ_ONLY, BROKEN])
@pytest.mark.parametrize("readable", [True, False])
def test_a_disk_that_takes_nothing_is_waited_for_whatever_is_to_be_written_there(
    number: int,
    readable: bool,
    queue: Queue,
    classifier: Classifier,
    settings: Settings,
    as_bytes: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "covidnet_lite.node")
    monkeypatch.setattr(worker, "PAUSE", 0.01)
    queue.add("1.2.3", as_bytes("1.2.3") if readable else b"no radiograph")
    stop, troubles = threading.Event(), Troubles()
    working = threading.Thread(target=worker.work, args=(queue, classifier, stop, settings, discard, troubles))
    for changes in (("fsync",), CHANGES):  # results cannot be written; nothing can be changed, not even a name
        with failing(monkeypatch, number, changes, below=settings.queue) as failed:
            if not working.is_alive():
                working.start()
            until(lambda: len(failed) > 2 * worker.TRIES)
            assert working.is_alive()
            assert next(str(error) for error in troubles.errors).startswith(str(settings.queue))
    until(lambda: not queue.counts["received"])
    stop.set()
    queue.wake()
    working.join()
    assert queue.counts == {"received": 0, "outgoing": int(readable), "sent": 0, "failed": int(not readable)}
    assert "ended 5 times" not in caplog.text
    assert 1 <= caplog.text.count("trying again every") <= 2
    assert caplog.text.count("can be worked on again") >= 1
    assert troubles.errors == ()


def test_a_machine_that_starts_no_process_costs_no_radiograph(
    queue: Queue, work: Any, as_bytes: Any, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSE", 0.01)
    left, classify = [True] * 2 * worker.TRIES, classifier.classify

    def starting(*args: Any, **more: Any) -> Any:
        if left:
            left.pop()
            raise NoProcessError("no process can be started")
        return classify(*args, **more)

    monkeypatch.setattr(classifier, "classify", starting)
    queue.add("1.2.3", as_bytes("1.2.3"))
    work()
    assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 0}


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
