"""Classifies the films of the queue, one after the other."""

from __future__ import annotations

import logging
import threading

from pydicom.filereader import read_file_meta_info

from .. import radiograph
from ..classifier import Classifier
from ..codes import Code
from ..dicom_in import dicom_file
from ..dicom_out import results as dicom_results
from ..dicom_out.origin import NAME
from ..errors import BackendError, CovidNetLiteError, InputError, OutputError
from ..percent import percent
from ..prediction import Prediction
from ..unforeseen import unforeseen
from .queue import Film, Queue, identifier

log = logging.getLogger(__name__)

TRIES = 5  # of a film with which the process dies
PAUSE = 10.0  # seconds, when results cannot be written


def work(queue: Queue, classifier: Classifier, stop: threading.Event) -> None:
    """Works until ``stop`` is set, and ``queue.arrived`` after it.

    A film that cannot be read is set aside, and so is one that fails in a way nobody foresaw. A network that cannot
    run ends the node, for that is no fault of the film, which is begun again by the next one; so is one with which the
    process dies: after so many tries it is set aside too.
    """
    while True:
        queue.arrived.clear()
        if stop.is_set():
            return
        film = queue.next()
        if film is None:
            queue.forget()
            queue.arrived.wait()
        elif film.begun >= TRIES:
            why = f"the node ended {TRIES} times while it worked on this film"
            _set_aside(queue, film, InputError(why, Code.PROCESS_DIED))
        else:
            film = queue.begin(film)
            try:
                _process(queue, film, classifier)
            except OutputError as error:
                log.error("%s; trying again in %.0f s", error, PAUSE)
                queue.put_back(film)
                stop.wait(PAUSE)
            except BackendError:
                raise
            except Exception as error:  # a film is lost to us, not to its sender: it is kept, with the reason
                reason = error if isinstance(error, CovidNetLiteError) else unforeseen(str(film.path), error)
                _set_aside(queue, film, reason)


def _process(queue: Queue, film: Film, classifier: Classifier) -> None:
    name = str(film.path)
    with radiograph.opened(film.path, name) as file:
        header = dicom_file.header(file, name)
    meta = header.file_meta
    uid = str(meta.MediaStorageSOPInstanceUID)
    story = {
        "film": identifier(uid, film.key),
        "from": str(meta.get("SourceApplicationEntityTitle", "")),
        "received": film.path.stat().st_mtime,
    }
    if str(header.get("Manufacturer")) == NAME:
        # A PACS that sends on whatever it gets would have us talk to ourselves for ever.
        queue.finish(film, {**story, "answer": "a result of ours, left alone"}, [])
        return
    if str(header.get("SOPInstanceUID")) != uid:
        raise InputError(
            f"its SOP Instance UID is {header.get('SOPInstanceUID')}, but it was sent as {uid}; have the sender mended",
            Code.CONTRADICTION,
        )
    prediction = classifier.classify(film.path, keep_image=True)
    shown = prediction.labels and prediction.evidence is not None
    image = classifier.image_of(prediction) if shown else None
    results = [dicom_results.encoded(result) for result in dicom_results.make(prediction, header, image)]
    queue.finish(film, {**story, "answer": _answer(prediction), "results": len(results)}, results)


def _answer(prediction: Prediction) -> str:
    if prediction.label:
        return f"resembles {prediction.label} ({percent(prediction.probabilities[prediction.label])})"
    return prediction.answer or f"no answer: {prediction.public_reason}"


def _set_aside(queue: Queue, film: Film, error: CovidNetLiteError) -> None:
    """Puts a film aside, with the reason in full; the log gets the words that quote nothing from it."""
    try:
        uid = str(read_file_meta_info(film.path).MediaStorageSOPInstanceUID)
    except Exception:  # not even this can be read
        uid = film.key
    queue.set_aside(film, f"{uid}: {str(error).removeprefix(f'{film.path}: ')}")
    log.warning("%s: set aside in failed/%s: %s", identifier(uid, film.key), film.key, error.public)
