"""A day's radiographs of an archive -> the queue, by DICOMweb: QIDO-RS to find them, WADO-RS to get them.

What the queue has, or has answered, is not asked for: a fetch that was stopped goes on where it was, and a later one
gets what is new.
"""

from __future__ import annotations

import datetime
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset

from ..dicom_in.elements import dicom_errors
from ..errors import AddressError, OutputError, QueueFullError, SettingsError
from . import dicomweb
from .inbox import Inbox, Priority
from .layout import Folders, identifier
from .settings import Settings
from .syntaxes import RADIOGRAPHS

log = logging.getLogger(__name__)

MODALITIES = ("CR", "DX")
AE_TITLE = "FETCH"  # of what comes this way, for rules
PAGE = 100  # matches asked for at a time
ORIGINAL = (("application/dicom", "*"),)  # in the transfer syntax in which it is stored
IN_A_ROW = 3  # failures after which an archive is taken for away

Match = dict[str, Any]


@dataclass
class Tally:
    """What became of the radiographs of a day.

    Attributes:
        fetched: put into the queue.
        known: there already, or answered.
        failed: could not be fetched.
    """

    fetched: int = 0
    known: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.fetched} fetched, {self.known} known already, {self.failed} failed"


def fetch(settings: Settings, day: datetime.date, modalities: Sequence[str] = MODALITIES, most: int = 1000) -> Tally:
    """Puts radiographs of a day into the queue, beside a running node or without one.

    Args:
        settings: of the node: its archive and its queue.
        day: StudyDate.
        modalities: of series.
        most: so many new ones at most.

    Raises:
        SettingsError: no archive is named, or its token or certificate cannot be used.
        AddressError: the archive is away, or does not answer as DICOMweb services do.
        QueueFullError: the queue is full; what is there is kept, and another fetch goes on.
        OutputError: the queue cannot be written.
    """
    if settings.archive is None:
        raise SettingsError("archive: is missing; name the DICOMweb service under [archive]")
    title = f"archive {settings.archive.url}"
    client = dicomweb.client(settings.archive, settings.limits.timeout)
    inbox, tally, failures = _inbox(settings), Tally(), 0
    unusable: tuple[type[Exception], ...] = (*dicomweb.ERRORS, *dicom_errors(), AttributeError, IndexError)
    matches = _radiographs(client, day, modalities)
    while tally.fetched < most:
        try:
            match = next(matches, None)
        except dicomweb.ERRORS as error:
            raise AddressError(f"{title} {dicomweb.words(error)}; {tally}") from error
        if match is None:
            break
        study, series, uid = match
        if inbox.knows(uid):
            tally.known += 1
            continue
        try:
            data = _encoded(client.retrieve_instance(study, series, uid, ORIGINAL), uid)
        except unusable as error:
            tally.failed, failures = tally.failed + 1, failures + 1
            log.warning("%s %s for %s", title, dicomweb.words(error), identifier(uid))
            if failures == IN_A_ROW:
                raise AddressError(f"{title} failed {IN_A_ROW} times in a row; {tally}") from error
            continue
        failures = 0
        if len(data) > settings.limits.object_mb * 10**6:
            tally.failed += 1
            log.warning("%s: is larger than limits.object_mb, and left where it is", identifier(uid))
            continue
        try:
            new = inbox.add(uid, data, Priority.LOW)
        except QueueFullError as error:
            raise QueueFullError(f"{error}; {tally}; fetch the rest later") from error
        tally.fetched += new
        tally.known += not new
    return tally


def _inbox(settings: Settings) -> Inbox:
    """The queue's, which a node may be at work on."""
    folders = Folders(settings.queue, tuple(settings.everywhere))
    try:
        settings.queue.mkdir(0o700, parents=True, exist_ok=True)
        for folder in folders.all:
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be made ({error.strerror}); name another queue") from error
    return Inbox(folders, settings.limits)


def _radiographs(
    client: DICOMwebClient, day: datetime.date, modalities: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Study, series and SOP Instance UID of each radiograph of a day."""
    classes = {str(kind) for kind in RADIOGRAPHS}
    for modality in modalities:
        filters = {"StudyDate": f"{day:%Y%m%d}", "Modality": modality}
        for series in _all(client.search_for_series, "0020000E", search_filters=filters):
            if _value(series, "00080060") not in ("", modality):  # it has not filtered
                continue
            uids = _value(series, "0020000D"), _value(series, "0020000E")
            for instance in _all(client.search_for_instances, "00080018", *uids):
                if _value(instance, "00080016") in ("", *classes):
                    yield *uids, _value(instance, "00080018")


def _all(search: Callable[..., list[Match]], tag: str, *where: str, **filters: Any) -> Iterator[Match]:
    """All matches, page by page, each once, even where a service has its own mind about pages."""
    yielded: set[str] = set()
    offset = 0
    while True:
        page = search(*where, limit=PAGE, offset=offset, **filters)
        new = {uid: match for match in page if (uid := _value(match, tag)) and uid not in yielded}
        if not new:
            return
        yield from new.values()
        yielded |= set(new)
        offset += len(page)


def _value(match: Match, tag: str) -> str:
    """The first value of an attribute in DICOM's JSON, or nothing."""
    values = match.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _encoded(data: Dataset, uid: str) -> bytes:
    """A retrieved instance as a DICOM file.

    Raises:
        ValueError: it is another instance.
    """
    if str(data.SOPInstanceUID) != uid:
        raise ValueError("another instance came than the one that was asked for")
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.SourceApplicationEntityTitle = AE_TITLE
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
