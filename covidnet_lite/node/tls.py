"""TLS for both ends: TLS 1.2 or newer, certificates from PEM files."""

from __future__ import annotations

import ssl

from ..errors import SettingsError
from .settings import Tls


def receiving(tls: Tls) -> ssl.SSLContext:
    """What the receiver shows; with a ``ca``, clients must show a certificate too.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _loaded(context, tls)


def sending(tls: Tls) -> ssl.SSLContext:
    """What the sender demands of the PACS: a valid certificate for its host name.

    Raises:
        SettingsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is None:
        context.load_default_certs()
    return _loaded(context, tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = tls.certificate
    try:
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        if tls.ca:
            path = tls.ca
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        why = getattr(error, "reason", None) or error.strerror or error
        raise SettingsError(
            f"{path}: cannot be used for TLS ({why}); give a certificate and its own key in PEM"
        ) from error
    return context


def _no_password() -> str:
    raise SettingsError("tls: the key has a password, which nobody can type here; give a key without one")
