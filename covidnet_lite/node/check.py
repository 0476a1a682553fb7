"""``covidnet-lite node --check``: whether a node can run, and whether its destinations answer."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from .. import files
from ..dicom_out import results as dicom_results
from ..errors import AddressError, OutputError
from ..readers.pool import Readers
from . import reachable, tls
from .pipeline import classifier
from .service import Node, describe
from .settings import Settings


def check(settings: Settings) -> Iterator[str]:
    """Tests everything that a node needs; beside a node that works, its queue and ports are its own.

    Yields:
        What can be said, a line at a time.

    Raises:
        CovidNetLiteError: something cannot be used, or a destination does not answer; the message says which.
    """
    if _is_at_work(settings):
        yield f"can run: {_beside(settings)}; a node is at work with this queue"
    else:
        node = Node(settings)
        node.close()
        yield f"can run: {node.description}"
    away = [
        f"{name} ({settings.everywhere[name]}) {why}"
        for name, why in reachable.ask(settings).items()
        if why is not None
    ]
    if away:
        raise AddressError(
            f"{'; '.join(away)}: results wait until that is mended; see the address, and whether {settings.ae_title} "
            "may send there"
        )
    yield f"destinations that answer: {', '.join(settings.everywhere)}"


def _is_at_work(settings: Settings) -> bool:
    if not settings.queue.is_dir():
        return False
    try:
        files.claim(settings.queue, "").release()
    except OutputError:
        return True
    except OSError:  # opening the queue says more
        return False
    return False


def _beside(settings: Settings) -> str:
    """Tests what can be tested while another node has queue and ports."""
    dicom_results.require()
    files.check_folder(settings.queue)
    if settings.tls:
        tls.receiving(settings.tls)
    if settings.audit and settings.audit.file:
        files.check_folder(settings.audit.file.parent)
    try:
        socket.create_server((settings.host, settings.port), family=_family(settings.host)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # by the node at work
            raise AddressError(
                f"{settings.host} port {settings.port}: cannot be listened on ({error.strerror or error}); "
                "name an address of this machine"
            ) from error
    readers = Readers()
    try:
        return describe(settings, classifier(settings, readers), settings.port)
    finally:
        readers.close()


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
