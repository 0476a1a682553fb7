"""Health and metrics over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from covidnet_lite.errors import AddressError, OutputError
from covidnet_lite.node.health import Health
from covidnet_lite.node.monitor import Monitor

WELL = Health({"received": 1}, None, {"pacs": None})
ILL = Health({"received": 1}, None, {"pacs": "PACS A@h:1 cannot be reached"})


@pytest.fixture
def monitor() -> Iterator[Callable[..., Monitor]]:
    made: list[Monitor] = []

    def start(health: Callable[[], Health]) -> Monitor:
        made.append(Monitor(0, health, lambda: b"covidnet_lite_healthy 1.0\n"))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.close()


def ask(monitor: Monitor, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", monitor.port, timeout=10)) as connection:
        connection.request(method, path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read()


@pytest.mark.parametrize(("health", "status"), [(WELL, 200), (ILL, 503)])
def test_the_status_is_the_health(monitor: Callable[..., Monitor], health: Health, status: int) -> None:
    code, body = ask(monitor(lambda: health), "/health")
    assert (code, json.loads(body)) == (status, health.to_dict())


def test_metrics_are_those_of_prometheus(monitor: Callable[..., Monitor]) -> None:
    assert ask(monitor(lambda: WELL), "/metrics") == (200, b"covidnet_lite_healthy 1.0\n")


def test_only_this_machine_can_connect(monitor: Callable[..., Monitor]) -> None:
    assert monitor(lambda: WELL)._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/", "localhost", 404),
        ("POST", "/health", "localhost:80", 405),
        ("GET", "/health", "evil.example", 421),  # DNS rebinding
        ("GET", "/health", "[::1", 421),
    ],
)
def test_what_else_is_asked_is_refused(
    monitor: Callable[..., Monitor], method: str, path: str, host: str, status: int
) -> None:
    assert ask(monitor(lambda: WELL), path, method, host)[0] == status


def test_a_head_has_no_body(monitor: Callable[..., Monitor]) -> None:
    assert ask(monitor(lambda: ILL), "/health", "HEAD") == (503, b"")


def test_what_cannot_be_found_out_is_an_answer_of_500(monitor: Callable[..., Monitor], capfd: object) -> None:
    def broken() -> Health:
        raise OutputError("queue: cannot be read")

    assert ask(monitor(broken), "/health") == (500, b"queue: cannot be read\n")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"health.port: 127.0.0.1 port {port} cannot be listened on"):
            Monitor(port, lambda: WELL, bytes)


def test_a_client_that_asks_for_nothing_holds_up_nobody(monitor: Callable[..., Monitor]) -> None:
    running = monitor(lambda: WELL)
    with socket.create_connection(("127.0.0.1", running.port)):
        assert ask(running, "/health")[0] == 200
