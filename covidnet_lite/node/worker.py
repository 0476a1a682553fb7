"""Classifies the radiographs of the queue, one after the other."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from pydicom.filereader import read_file_meta_info

from .. import radiograph
from ..classifier import Classifier
from ..codes import Code
from ..dicom_in import dicom_file
from ..dicom_out import results as dicom_results
from ..dicom_out.origin import NAME
from ..errors import BackendError, CovidNetLiteError, InputError, NoProcessError, OutputError
from ..logs import coded
from ..percent import percent
from ..prediction import Prediction
from ..troubles import Troubles
from ..unforeseen import unforeseen
from . import admission, routing
from .events import Answered, Instance, Record, discard
from .inbox import Arrival
from .layout import LOOK, described, fields, identifier
from .queue import Queue
from .settings import Kind, Settings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = logging.getLogger(__name__)

TRIES = 5  # of a radiograph with which the process dies
PAUSE = 10.0  # seconds, when the disk takes nothing
WORKER = "worker"  # in the troubles


def work(
    queue: Queue,
    classifier: Classifier,
    stop: threading.Event,
    settings: Settings,
    record: Record = discard,
    troubles: Troubles | None = None,
) -> None:
    """Works until ``stop`` is set, and ``queue.arrived`` after it.

    A radiograph that cannot be read is quarantined, and so is one that fails in a way nobody foresaw. A disk that takes
    nothing is waited for, and so is a machine that starts no process. A network that cannot run ends the node, for
    that is no fault of the radiograph, which is begun again by the next one; so is one with which the process dies:
    after so many tries it is quarantined too.

    Args:
        queue: what to work on.
        classifier: has the network.
        stop: ends it.
        settings: of the node.
        record: takes what goes into the audit trail.
        troubles: takes what keeps it from its work.
    """
    troubles = troubles or Troubles()
    while True:
        queue.arrived.clear()
        if stop.is_set():
            return
        try:
            arrival = queue.next()
            if arrival is None:
                queue.forget()
            else:
                _work_on(queue, arrival, classifier, stop, settings, record)
        except (OutputError, NoProcessError) as error:
            if troubles.note(WORKER, error):
                text = "%s; trying again every %.0f s"
                log.error(text, error, PAUSE, **coded("waiting-for-disk", reason=error.code))
            stop.wait(PAUSE)
        else:
            if troubles.over(WORKER):
                log.info("radiographs can be worked on again", **coded("disk-back"))
            if arrival is None:
                queue.arrived.wait(LOOK)


def _work_on(
    queue: Queue, arrival: Arrival, classifier: Classifier, stop: threading.Event, settings: Settings, record: Record
) -> None:
    if arrival.begun >= TRIES:
        why = f"the node ended {TRIES} times while it worked on this radiograph"
        return _quarantine(queue, arrival, InputError(why, Code.PROCESS_DIED), record)
    arrival = queue.begin(arrival)
    try:
        _process(queue, arrival, classifier, settings, record)
    except (OutputError, NoProcessError):
        _put_back(queue, arrival, stop)
        raise
    except BackendError:
        raise
    except Exception as error:  # a radiograph is lost to us, not to its sender: it is kept, with the reason
        reason = error if isinstance(error, CovidNetLiteError) else unforeseen(str(arrival.path), error)
        try:
            _quarantine(queue, arrival, reason, record)
        except OutputError:
            _put_back(queue, arrival, stop)
            raise


def _put_back(queue: Queue, arrival: Arrival, stop: threading.Event) -> None:
    """Takes an attempt back, as soon as the disk lets it: too many would count against the radiograph."""
    while True:
        try:
            queue.put_back(arrival)
            return
        except OutputError:
            if stop.wait(PAUSE):
                return


def _process(queue: Queue, arrival: Arrival, classifier: Classifier, settings: Settings, record: Record) -> None:
    name = str(arrival.path)
    with radiograph.open_binary(arrival.path, name) as file:
        header = dicom_file.header(file, name)
    meta = header.file_meta
    uid = str(meta.MediaStorageSOPInstanceUID)
    story: dict[str, Any] = {
        "film": identifier(uid, arrival.key),
        "class": identifier(str(meta.MediaStorageSOPClassUID)),
        "from": str(meta.get("SourceApplicationEntityTitle", "")),
        "received": arrival.path.stat().st_mtime,
    }
    if settings.log_accession:
        story["accession"] = str(header.get("AccessionNumber", ""))
    if str(header.get("Manufacturer")) == NAME:
        # A PACS that sends on whatever it gets would have us talk to ourselves for ever.
        return _finish(queue, arrival, {**story, "answer": "a result of ours, left alone"}, {}, record)
    if str(header.get("SOPInstanceUID")) != uid:
        raise InputError(
            f"its SOP Instance UID is {header.get('SOPInstanceUID')}, but it was sent as {uid}; have the sender mended",
            Code.CONTRADICTION,
        )
    if not admission.admits(settings.admit, header, story["from"]):
        return _leave(queue, arrival, story, settings, record)
    pictured = any("SC" in settings.results_for(name).kinds for name in settings.everywhere)
    prediction = classifier.classify(arrival.path, keep_image=pictured)
    answer = routing.answer_of(prediction)
    wanted = routing.kinds(settings, answer)
    results = _results(prediction, header, classifier, {kind for kinds in wanted.values() for kind in kinds})
    story |= {"answer": _answer(prediction), "urgent": answer == "positive"}
    _finish(queue, arrival, story, routing.parcels(wanted, results), record)


def _leave(queue: Queue, arrival: Arrival, story: dict[str, Any], settings: Settings, record: Record) -> None:
    """Does with a radiograph that no rule admits what the settings say."""
    code = Code.NOT_ADMITTED
    queue.not_admitted += 1
    if settings.not_admitted == "keep":
        return _quarantine(queue, arrival, InputError(f"{code.public}; see [[admit]] in the settings", code), record)
    takers = [name for name, one in settings.everywhere.items() if settings.not_admitted == "forward" and one.forward]
    data = arrival.path.read_bytes() if takers else b""
    story |= {"answer": code.public, "code": code.value}
    _finish(queue, arrival, story, {name: [data] for name in takers}, record)


def _results(prediction: Prediction, header: Dataset, classifier: Classifier, wanted: set[Kind]) -> dict[Kind, bytes]:
    """DICOM files: those of the results that are wanted."""
    if not wanted:
        return {}
    shown = "SC" in wanted and prediction.labels and prediction.evidence is not None
    image = classifier.image_of(prediction) if shown else None
    results = dicom_results.make(prediction, header, image, capture="SC" in wanted)
    kinds: tuple[Kind, ...] = ("SR", "SC")
    return {kind: dicom_results.encode(result) for kind, result in zip(kinds, results) if kind in wanted}


def _finish(
    queue: Queue, arrival: Arrival, story: dict[str, Any], results: dict[str, list[bytes]], record: Record
) -> None:
    queue.finish(arrival, story, results)
    record(Answered(Instance(story["class"], story["film"]), story["answer"]))
    if not any(results.values()):
        log.info("%s", described(story, "nothing to send"), **coded("nothing-to-send", **fields(story)))


def _answer(prediction: Prediction) -> str:
    if prediction.label:
        return f"resembles {prediction.label} ({percent(prediction.probabilities[prediction.label])})"
    return prediction.answer or f"no answer: {prediction.public_reason}"


def _quarantine(queue: Queue, arrival: Arrival, error: CovidNetLiteError, record: Record) -> None:
    """Puts a radiograph aside, with the reason in full; the log gets the words that quote nothing from it."""
    try:
        meta = read_file_meta_info(arrival.path)
        instance = Instance(str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID))
    except Exception:  # not even this can be read
        instance = Instance("", arrival.key)
    uid = identifier(instance.uid, arrival.key)
    queue.set_aside(arrival, f"{instance.uid}: {str(error).removeprefix(f'{arrival.path}: ')}")
    line = coded("quarantined", uid=uid, item=arrival.key, reason=error.code)
    log.warning("%s: quarantined in failed/%s: %s", uid, arrival.key, error.public, **line)
    record(Answered(instance, objection=error.public))
