"""``covidnet-lite serve``: the page and the JSON API."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import logs, options

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from ..classifier import Classifier
    from .settings import Settings

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 8017
MIN_TOKEN = 16  # characters
MAKE_TOKEN = "(umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe())' > FILE)"


def add(commands: Any) -> None:
    """Adds the command to those of the command line."""
    serve = commands.add_parser(
        "serve",
        help="serve a web page and a JSON API on this machine",
        description="Serves a page for the browser and a JSON API. Only this machine can connect, unless --host names "
        "another address. The server stores nothing on disk without --reviews or --keep. Research use only; not a "
        "medical device.",
        examples=(
            "covidnet-lite serve",
            "covidnet-lite serve --reviews reviews.sqlite --keep reviewed/",
            "covidnet-lite serve --host 0.0.0.0 --token-file token --certificate tls.pem --key tls.key",
        ),
    )
    serve.add_argument("--host", default=HOST, help=f"address to listen on (default: {HOST}, this machine only)")
    serve.add_argument("--port", type=int, default=PORT, help=f"port to listen on; 0 for any (default: {PORT})")
    serve.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file with the token that clients must send; required with any other --host",
    )
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which clients reach this machine (repeatable)",
    )
    serve.add_argument("--certificate", type=Path, metavar="FILE", help="TLS certificate or chain of certificates, PEM")
    serve.add_argument("--key", type=Path, metavar="FILE", help="private key of the certificate, PEM")
    serve.add_argument(
        "--client-ca",
        type=Path,
        metavar="FILE",
        help="accept only clients with a certificate of this CA, PEM; they need the token, too",
    )
    serve.add_argument("--reviews", type=Path, metavar="FILE", help="store reviews in this SQLite file")
    serve.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="store the images of reviewed radiographs in this folder, without header",
    )
    serve.add_argument(
        "--source",
        default="reviewed",
        metavar="NAME",
        help="the source that the exported manifest names (default: reviewed)",
    )
    serve.add_argument("--max-upload", type=int, default=64, metavar="MB", help="largest upload (default: 64)")
    serve.add_argument("--max-files", type=int, default=16, metavar="N", help="most files in one upload (default: 16)")
    serve.add_argument("--waiting", type=int, default=100, metavar="N", help="uploads that may wait (default: 100)")
    serve.add_argument(
        "--timeout",
        type=float,
        default=60,
        metavar="SECONDS",
        help="longest time to wait for a turn, and then for an answer (default: 60)",
    )
    options.service(serve)
    options.log_format(serve)
    serve.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until it is stopped; returns the exit code.

    Raises:
        MissingExtraError: the extra ``web`` is not installed.
        SettingsError: address, token or certificate cannot be used.
        OutputError: reviews or images cannot be stored in the chosen place.
        ModelError, BackendError: the network cannot be used.
    """
    from ..errors import MissingExtraError

    try:
        from . import app
    except ImportError as error:
        raise MissingExtraError(f"serve needs the extra: pip install 'covidnet-lite[web]' ({error})") from None
    with logs.writing(args.log_format, "covidnet-lite: %(level)s: %(message)s", ["uvicorn"]):
        return _run(args, app.create)


def _run(args: argparse.Namespace, create: Callable[[Classifier, Settings], ASGIApp]) -> int:
    from .. import files
    from ..classifier import Classifier
    from ..quiet import silent_runtime
    from ..readers.pool import Readers

    settings = settings_of(args)
    if args.keep:
        files.check_folder(args.keep)
        files.make_private(args.keep)
    with Readers(within=settings.seconds) as readers:
        with silent_runtime():
            classifier = Classifier(
                args.model,
                args.runtime,
                args.threads,
                edgetpu=args.edgetpu,
                read=readers.read,
                site=args.site,
                unsigned=args.unsigned,
            )
            readers.start()
            _warm_up(classifier)
        return _serve(args, create(classifier, settings))


def _serve(args: argparse.Namespace, app: ASGIApp) -> int:
    from .server import serve

    listener = _listen(args.host, args.port)
    port = listener.getsockname()[1]
    host = f"[{args.host}]" if ":" in args.host else args.host
    if not is_local(args.host):
        log.warning("others can reach this server at %s; whoever has the token can use it", args.host)
        if not args.certificate:
            log.warning("without --certificate and --key, images and token cross the network for all to read")
    if args.keep and not args.reviews:
        log.warning("--keep stores the images of reviewed radiographs, but without --reviews there are no reviews")
    scheme = "https" if args.certificate else "http"
    url = f"{scheme}://{host}:{port}/"
    line = f"{url}  (Ctrl-C stops it)  Research use only; not a medical device."
    print(logs.line(line, "started", url=url) if args.log_format == "json" else line, flush=True)
    serve(app, listener, args.certificate, args.key, args.client_ca)
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings from the command line, checked.

    Raises:
        SettingsError: an option cannot be used.
    """
    from ..errors import SettingsError
    from .settings import MB, Settings

    for option in ("max_upload", "max_files", "waiting", "timeout"):
        if getattr(args, option) <= 0:
            raise SettingsError(f"--{option.replace('_', '-')} must be more than 0, not {getattr(args, option)}")
    _check_certificate(args.certificate, args.key, args.client_ca)
    token = _read_token(args.token_file) if args.token_file else None
    if token is None and not is_local(args.host):
        raise SettingsError(
            f"--host {args.host} accepts other machines, which needs --token-file FILE; make one: {MAKE_TOKEN}"
        )
    names = {name.lower() for name in args.allow_host} | {args.host.lower()}
    return Settings(
        token, frozenset(names), args.max_upload * MB, args.max_files, args.waiting, args.timeout,
        args.reviews, args.keep, args.source,
    )  # fmt: skip


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_token(path: Path) -> str:
    import stat

    from ..errors import SettingsError

    try:
        token = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: the token cannot be read ({cause}); make one: {MAKE_TOKEN}") from error
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(f"{path}: must hold one word of {MIN_TOKEN} or more letters, digits and signs")
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("%s: others on this machine can read the token; chmod 600 it", path)
    return token


def _check_certificate(certificate: Path | None, key: Path | None, client_ca: Path | None) -> None:
    import ssl

    from ..errors import SettingsError

    if certificate is None and key is None:
        if client_ca is not None:
            raise SettingsError("--client-ca needs TLS; give --certificate and --key, too")
        return
    if certificate is None or key is None:
        raise SettingsError("--certificate and --key go together; give both")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"{certificate}, {key}: are not a certificate and its key in PEM ({error})") from error
    try:
        if client_ca is not None:
            context.load_verify_locations(client_ca)
    except OSError as error:
        raise SettingsError(f"{client_ca}: is not the certificate of a CA in PEM ({error})") from error


def _listen(host: str, port: int) -> socket.socket:
    import socket

    from ..errors import AddressError

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise AddressError(
            f"cannot listen at {host}, port {port} ({error}); choose another --host or --port"
        ) from error


def _warm_up(classifier: Any) -> None:
    """Runs the network once, so that the first image does not wait for what the first run takes.

    Uses an array, which needs no reader, so that the limits of a request do not apply.
    """
    import numpy as np

    classifier.classify(np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8))
    try:
        import pydicom.pixels  # noqa: F401
    except ImportError:
        log.warning("DICOM files cannot be read; pip install 'covidnet-lite[dicom]' adds it")
