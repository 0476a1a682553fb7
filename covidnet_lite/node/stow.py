"""A destination that speaks DICOMweb: STOW-RS (PS3.18, 10.5), one request for each object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset

from ..errors import SettingsError
from . import dicomweb
from .reply import Reply, Verdict
from .settings import DicomWeb

AWAY = (401, 403, 404, 408, 429)  # of the service, and 5xx: it may take the same object at another time
UNPROCESSABLE = (400, 409, 413, 415, 422)  # of the object


class Stow:
    """Stores objects over HTTP."""

    def __init__(self, service: DicomWeb, timeout: float) -> None:
        """Asks nothing yet.

        Raises:
            SettingsError: a certificate or the token cannot be used.
        """
        self._service, self._timeout = service, timeout
        self._client: DICOMwebClient | None = None
        dicomweb.client(service, timeout)

    @property
    def is_connected(self) -> bool:
        """Whether the service has answered since the last failure."""
        return self._client is not None

    def connect(self) -> str | None:
        """Makes sure that the service answers; why it does not, or ``None``. What takes no queries may say so."""
        if self._client:
            return None
        try:
            client = dicomweb.client(self._service, self._timeout)
            client.search_for_studies(limit=1)
        except SettingsError as error:  # the token is gone
            return f"cannot be asked: {error}"
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code in (401, 403) or error.response.status_code >= 500:
                return dicomweb.words(error)
        except dicomweb.ERRORS as error:
            return dicomweb.words(error)
        self._client = client
        return None

    def check(self) -> str | None:
        """What keeps it from taking results now, or ``None``; nothing is sent."""
        self.close()
        try:
            return self.connect()
        finally:
            self.close()

    def store(self, path: Path) -> Reply:
        """Sends an object, and waits for the answer."""
        assert self._client
        try:
            answer = self._client.store_instances([pydicom.dcmread(path)])
        except requests.HTTPError as error:
            return self._refusal(error.response if error.response is not None else requests.Response())
        except dicomweb.ERRORS as error:
            self.close()
            return Reply.later(dicomweb.words(error))
        return _failure(answer) or Reply(Verdict.TAKEN, "has it")

    def close(self) -> None:
        """Has the next object wait until the service answers again."""
        self._client = None

    def _refusal(self, response: requests.Response) -> Reply:
        status, failure = response.status_code, _failure(_parsed(response))
        if failure:  # there already counts as taken
            return failure
        if status in UNPROCESSABLE:
            return Reply.never(f"answered HTTP {status}")
        if status in AWAY or status >= 500:
            self.close()
        return Reply.later(f"answered HTTP {status}")


def _failure(answer: Any) -> Reply | None:
    """The reason that a Store Instances Response gives for the one object not being stored (PS3.18, 10.5.3.2.2)."""
    for item in answer.get("FailedSOPSequence") or ():
        reason = item.get("FailureReason")
        return Reply.later("failed to store it") if reason is None else Reply.of_status(int(reason))
    return None


def _parsed(response: requests.Response) -> Dataset:
    try:
        return Dataset.from_json(json.loads(response.content))
    except (ValueError, KeyError, TypeError, AttributeError):  # no words of DICOM's
        return Dataset()
