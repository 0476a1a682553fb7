"""uvicorn, set up for one small machine."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEADERS_TIMEOUT = 10.0  # seconds from the start of a connection, or from the end of the previous request
CONNECTIONS = 300


def serve(
    app: ASGIApp,
    listener: socket.socket,
    certificate: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
) -> None:
    """Serves on an open socket until SIGINT or SIGTERM, then finishes the requests it has accepted.

    Args:
        app: what answers.
        listener: an open socket.
        certificate, key: for TLS, PEM files.
        client_ca: the CA that must have signed the certificate of each client, a PEM file.
    """
    config = uvicorn.Config(
        app,
        http=TimeoutProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,  # as this package's
        log_level="warning",
        access_log=False,  # names of files stay out of logs
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=16 << 10,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_ca_certs=None if client_ca is None else str(client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
    )
    uvicorn.Server(config).run([listener])


class TimeoutProtocol(H11Protocol):
    """Disconnects a client that sends no request in time; uvicorn would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_headers()

    def _expect_headers(self) -> None:
        self.loop.call_later(HEADERS_TIMEOUT, self._hang_up, self.cycle)

    def _hang_up(self, last: RequestResponseCycle | Any) -> None:
        idle = last is None or last.response_complete
        if self.cycle is last and idle and not self.transport.is_closing():
            self.transport.close()
