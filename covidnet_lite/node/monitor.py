"""``/health`` and ``/metrics`` over HTTP, for this machine alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.exposition import ThreadingWSGIServer

from ..errors import AddressError, CovidNetLiteError
from ..metrics import TYPE
from ..unforeseen import unforeseen
from .health import Health

HOST = "127.0.0.1"
SILENT = 5.0  # seconds after which a client that asks for nothing is let go


class Monitor:
    """An HTTP server in a thread of its own."""

    def __init__(self, port: int, health: Callable[[], Health], metrics: Callable[[], bytes]) -> None:
        """Listens; nothing is answered before :meth:`start`.

        Args:
            port: of 127.0.0.1; 0 for any free one.
            health: gives the state of now.
            metrics: gives Prometheus's text.

        Raises:
            AddressError: the port is taken.
        """
        self._health, self._metrics = health, metrics
        try:
            self._server = make_server(HOST, port, self._answer, ThreadingWSGIServer, _Handler)
        except OSError as error:
            why = error.strerror or error
            raise AddressError(
                f"health.port: {HOST} port {port} cannot be listened on ({why}); name one that is free"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="covidnet-lite monitor", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def close(self) -> None:
        """Lets go of the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        try:
            status, kind, body = self._response(environ)
        except Exception as error:
            told = error if isinstance(error, CovidNetLiteError) else unforeseen("a question about health", error)
            status, kind, body = "500 Internal Server Error", "text/plain", f"{told}\n".encode()
        start_response(
            status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        )
        return [body] if environ["REQUEST_METHOD"] != "HEAD" else []

    def _response(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        if environ.get("HTTP_HOST", HOST).partition(":")[0] not in (HOST, "localhost"):
            return "421 Misdirected Request", "text/plain", b"ask 127.0.0.1\n"  # a page that has itself resolved to us
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", "text/plain", b"GET /health or /metrics\n"
        match environ["PATH_INFO"]:
            case "/health":
                health = self._health()
                status = "503 Service Unavailable" if health.problems else "200 OK"
                return status, "application/json", json.dumps(health.to_dict()).encode() + b"\n"
            case "/metrics":
                return "200 OK", TYPE, self._metrics()
            case _:
                return "404 Not Found", "text/plain", b"there are /health and /metrics\n"


class _Handler(WSGIRequestHandler):
    timeout = SILENT

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps what is asked out of the log."""
