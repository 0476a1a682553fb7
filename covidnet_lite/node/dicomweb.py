"""A client for a DICOMweb service, from ``dicomweb-client``."""

from __future__ import annotations

import logging
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient

from ..errors import SettingsError
from . import tls
from .settings import Service

ERRORS = (requests.RequestException, ValueError, KeyError)  # ValueError: what it answers is not understood
JSON = ("application/dicom+json", "application/json")

_log = logging.getLogger("dicomweb_client")  # it quotes what a server says
_log.addHandler(logging.NullHandler())
_log.propagate = False


def client(service: Service, timeout: float) -> DICOMwebClient:
    """A client, of which nothing is asked yet; the token is read anew for each.

    Args:
        service: whom to ask.
        timeout: seconds without an answer.

    Raises:
        SettingsError: a certificate or the token cannot be used.
    """
    session = requests.Session()
    session.trust_env = False  # a .netrc or a proxy of the surroundings would have a say in where patients' data go
    if service.tls:
        tls.sending(service.tls)  # says what is wrong with the files
        session.verify = str(service.tls.ca) if service.tls.ca else True
        if service.tls.certificate:
            session.cert = (str(service.tls.certificate), str(service.tls.key or service.tls.certificate))
    session.hooks["response"].append(_plain)
    headers = {"Accept": "application/dicom+json", "User-Agent": "covidnet-lite"}
    if service.token:
        headers["Authorization"] = f"Bearer {_token(service)}"
    result = DICOMwebClient(service.url, session=session, headers=headers, timeout=timeout)
    result.set_http_retry_params(retry=False)  # attempts are ours to count
    return result


def words(error: Exception) -> str:
    """What is wrong, to follow the name of the service; it quotes nothing that the service says."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return f"refuses us: HTTP {status}" if status in (401, 403) else f"answered HTTP {status}"
    if isinstance(error, requests.exceptions.SSLError):
        return "cannot be reached: its certificate is not the one to trust, or ours is not taken"
    if isinstance(error, requests.RequestException):
        return "cannot be reached"
    return "answered something else than DICOMweb"


def _plain(response: requests.Response, *_: Any, **__: Any) -> None:
    """Takes the parameters from a media type of JSON, with which the client does not know it."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in JSON:
        response.headers["Content-Type"] = kind


def _token(service: Service) -> str:
    assert service.token
    try:
        token = service.token.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no ASCII text"
        raise SettingsError(f"{service.token}: cannot be read as a token ({why}); put the token alone in it") from error
    if not token or any(char.isspace() for char in token):
        raise SettingsError(f"{service.token}: holds no token, or more than one; put the token alone in it")
    return token
