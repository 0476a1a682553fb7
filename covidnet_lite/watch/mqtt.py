"""Publishes results at an MQTT broker (extra: ``mqtt``).

A result waits as a file marked as not delivered. It is published with quality of service 1, and marked as delivered
when the broker has confirmed it: so an absent broker or a power cut loses nothing, and at most one result, confirmed
but not yet marked, is published twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..codes import Code, public
from ..errors import AddressError, MissingExtraError, OutputError, SettingsError
from ..prediction import ANSWERS
from .result_files import ResultFiles

PORT, TLS_PORT = 1883, 8883
USER, PASSWORD = (
    "COVIDNET_LITE_MQTT_USER",
    "COVIDNET_LITE_MQTT_PASSWORD",
)  # environment variables, since others can read command lines
TOPIC = "covidnet-lite"
PUBLISHED = (
    *("name", "status", "label", "labels", "code", "reason", "reference", "probabilities", "extent", "extent_error"),
    *("place", "track_record", "distance", "view", "timings_ms", "model", "sha256", "signed_by", "site", "notes"),
    *("note_codes", "note"),
)
NUMBERS = ("probabilities", "extent", "extent_error", "place")
ONLINE, OFFLINE = "online", "offline"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to reach the broker
HEARTBEAT = 30.0  # seconds after which the status is published again
FAREWELL_SECONDS = 5.0  # to publish the last status and disconnect


@dataclass(frozen=True)
class Broker:
    """A broker, and how to reach it.

    Attributes:
        topic: results go to ``TOPIC/result``; the watcher's status to ``TOPIC/status``, retained; with a site, the
            report on the last day to ``TOPIC/drift``, retained.
        tls: encrypt; the broker's certificate is checked against ``ca`` (PEM), or the CAs that the system trusts.
    """

    host: str
    port: int = PORT
    topic: str = TOPIC
    tls: bool = False
    ca: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_broker(address: str, topic: str = TOPIC, tls: bool = False, ca: Path | None = None) -> Broker:
    """A broker from the options of the command line, with user and password from the environment.

    Raises:
        AddressError: address or topic cannot be used.
        SettingsError: the certificate cannot be used.
    """
    host, port = _host_and_port(address)
    if not topic or not topic.isprintable() or any(c in topic for c in "+#") or topic[0] in "/$" or len(topic) > 1000:
        raise AddressError(
            f"{topic!r}: is no topic to publish to; write words and slashes, without +, # and a $ in front"
        )
    if ca is not None and not ca.is_file():
        raise SettingsError(f"{ca}: no such certificate; give a PEM file")
    return Broker(
        host,
        port or (TLS_PORT if tls or ca else PORT),
        topic.rstrip("/"),
        tls or ca is not None,
        ca,
        os.getenv(USER),
        os.getenv(PASSWORD),
    )


def _host_and_port(address: str) -> tuple[str, int]:
    """``[::1]:8883`` -> ``::1`` and 8883; the port is 0 where the address has none."""
    host, port = address, "0"
    if address.count(":") == 1 or "]:" in address:  # else a name, or an IPv6 address without a port
        host, _, port = address.rpartition(":")
        port = port.lstrip("0") or "none"
    host = host.removeprefix("[").removesuffix("]")
    try:
        idna = host.encode("idna")
    except UnicodeError:  # a label that is empty or too long
        idna = b""
    if not idna or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise AddressError(f"{address!r}: is no broker; write HOST or HOST:PORT")
    return host, int(port)


class Publisher:
    """Sends results to a broker, on a thread of its own; while the broker is absent they wait as files."""

    def __init__(self, broker: Broker, results: ResultFiles, log: Callable[[str], None]) -> None:
        """Raises:
        MissingExtraError: aiomqtt is not installed.
        SettingsError: the certificate cannot be read.
        """
        try:
            import aiomqtt  # noqa: F401
        except ImportError:
            raise MissingExtraError("MQTT needs the extra: pip install 'covidnet-lite[mqtt]'") from None
        self._broker, self._results, self._log = broker, results, log
        self._context = _context(broker)
        # Once the thread runs, only it uses these; other threads call its loop.
        self._waiting: dict[Path, None] = {}  # in order; a result written anew waits once
        self._drift: str | None = None  # of the last day that is over, until it is published
        self._end: float | None = None  # when to give up
        self._loop, self._wakeup, self._stopping = asyncio.new_event_loop(), asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="covidnet-lite-mqtt", daemon=True)

    def start(self) -> None:
        """Begins, with results that an earlier run left undelivered."""
        self._waiting = dict.fromkeys(self._results.undelivered())
        self._thread.start()

    def deliver(self, path: Path) -> None:
        """Queues the file of a result."""
        self._loop.call_soon_threadsafe(self._enqueue, path)

    def publish_drift(self, report: dict[str, Any]) -> None:
        """Queues the report on a day, compared with the site's fit; of several that wait, publishes the last."""
        self._loop.call_soon_threadsafe(self._set_drift, json.dumps(report, ensure_ascii=False))

    def close(self, timeout: float) -> int:
        """Ends when all is delivered or after ``timeout`` seconds; returns how many results still wait as files."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._finish, time.monotonic() + timeout)
            self._thread.join(timeout + FAREWELL_SECONDS)
        return len(self._waiting)

    def _enqueue(self, path: Path) -> None:
        self._waiting[path] = None
        self._wakeup.set()

    def _set_drift(self, report: str) -> None:
        self._drift = report
        self._wakeup.set()

    def _finish(self, end: float) -> None:
        self._end = end
        self._stopping.set()
        self._wakeup.set()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._stay_connected())
        finally:
            self._loop.close()

    def _is_over(self) -> bool:
        return self._end is not None and ((not self._waiting and self._drift is None) or time.monotonic() >= self._end)

    async def _stay_connected(self) -> None:
        import aiomqtt

        pause, is_reachable = FIRST_PAUSE, True
        while not self._is_over():
            try:
                async with self._client() as client, _connection(client) as connection:
                    await self._publish_status(connection, ONLINE)
                    self._log(f"connected to {self._broker}")
                    pause, is_reachable = FIRST_PAUSE, True
                    await self._send(connection)
                    await self._publish_status(connection, OFFLINE)
            except (aiomqtt.MqttError, OSError) as error:  # OSError: no such host, TLS
                if is_reachable:
                    self._log(f"{self._broker}: not reached ({error}); results wait, and it is tried again")
                    is_reachable = False
                await self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE if self._end is None else FIRST_PAUSE)

    def _client(self) -> Any:
        import aiomqtt

        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=self._broker.password,
            tls_context=self._context,
            will=aiomqtt.Will(f"{self._broker.topic}/status", OFFLINE, qos=1, retain=True),
            logger=logging.getLogger("covidnet_lite.watch.mqtt"),
        )

    async def _publish_status(self, connection: _Connection, status: str) -> None:
        await connection.publish(f"{self._broker.topic}/status", status, retain=True)

    async def _send(self, connection: _Connection) -> None:
        """Publishes until the end; raises if the connection breaks."""
        last_status = time.monotonic()
        while not self._is_over():
            if time.monotonic() - last_status >= HEARTBEAT:  # the will of an earlier connection may arrive late
                await self._publish_status(connection, ONLINE)
                last_status = time.monotonic()
            if drift := self._drift:
                await connection.publish(f"{self._broker.topic}/drift", drift, retain=True)
                self._drift = None if self._drift is drift else self._drift
            if path := next(iter(self._waiting), None):
                await self._deliver(connection, path)
            else:
                await connection.first(self._wakeup.wait(), last_status + HEARTBEAT - time.monotonic())
                self._wakeup.clear()

    async def _deliver(self, connection: _Connection, path: Path) -> None:
        message = b""
        try:
            data = path.read_bytes()
            message = payload(data)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._log(f"{path}: cannot be read ({error.strerror or error}); it waits")
            await self._pause(LONGEST_PAUSE)
            return
        if not message:  # removed, or replaced by another program: there is nothing to publish
            self._waiting.pop(path)
            return
        await connection.publish(f"{self._broker.topic}/result", message)
        await self._mark(path, data)

    async def _mark(self, path: Path, data: bytes) -> None:
        """Marks a result before the next is sent, so that a power cut repeats no more than this one."""
        was_logged = False
        while True:
            try:
                if self._results.mark_delivered(path, data):
                    self._waiting.pop(path)
                return  # else the result was written anew meanwhile, and waits
            except OutputError as error:
                if not was_logged:
                    self._log(f"a result was delivered but cannot be marked, so the next ones wait: {error}")
                    was_logged = True
            if self._end is not None and time.monotonic() >= self._end:
                return
            await self._pause(FIRST_PAUSE)

    async def _pause(self, seconds: float) -> None:
        """Sleeps; when the publisher ends, no longer than the remaining time."""
        if self._end is None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        else:
            await asyncio.sleep(min(seconds, max(0.0, self._end - time.monotonic())))


class _Connection:
    """A connected client; waiting for the broker ends as soon as the connection breaks."""

    def __init__(self, client: Any, disconnection: asyncio.Future[None]) -> None:
        self._client, self._disconnection = client, disconnection

    async def publish(self, topic: str, message: str | bytes, retain: bool = False) -> None:
        """Returns when the broker has confirmed it."""
        # aiomqtt itself would wait for a confirmation until its timeout, even after the connection has broken.
        await self.first(self._client.publish(topic, message, qos=1, retain=retain))

    async def first(self, action: Awaitable[Any], seconds: float | None = None) -> None:
        """Returns when the action is done or the time is over; raises when it fails or the connection breaks."""
        doing = asyncio.ensure_future(action)
        try:
            await asyncio.wait({doing, self._disconnection}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            elif self._disconnection.done():
                self._disconnection.result()
        finally:
            doing.cancel()


@asynccontextmanager
async def _connection(client: Any) -> AsyncIterator[_Connection]:
    disconnection = asyncio.ensure_future(_wait_for_disconnection(client))
    try:
        yield _Connection(client, disconnection)
    finally:
        disconnection.cancel()
        await asyncio.gather(
            disconnection, return_exceptions=True
        )  # or asyncio would log an error that was never retrieved


async def _wait_for_disconnection(client: Any) -> None:
    """Raises when the connection breaks; without a subscription, no message arrives."""
    import aiomqtt

    async for _ in client.messages:
        pass
    raise aiomqtt.MqttError("the connection has ended")


def payload(data: bytes) -> bytes:
    """The message for a result; empty where the file is no result.

    It leaves out what concerns the file, and what may quote a DICOM header, since people write names into any field.
    Reason and notes are the public words of their codes. For an abstention it also leaves out the numbers, which might
    be taken for a finding.
    """
    with suppress(ValueError, AttributeError):
        result = json.loads(data)
        private = () if result.get("status") in ANSWERS else NUMBERS
        fields = {key: result[key] for key in PUBLISHED if key in result and key not in private}
        codes = [code for code in fields.pop("note_codes", ()) if public(code)]
        if fields.get("reason") is not None:  # without a code: written by an earlier version
            fields["code"] = fields.get("code") if public(fields.get("code")) else Code.FAILED
            fields["reason"] = public(fields["code"])
        if fields.pop("notes", ()):
            fields |= {"notes": [public(code) for code in codes], "note_codes": codes}
        return json.dumps(fields, ensure_ascii=False).encode()
    return b""


def _context(broker: Broker) -> ssl.SSLContext | None:
    if not broker.tls:
        return None
    try:
        return ssl.create_default_context(cafile=broker.ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{broker.ca}: is no certificate ({error}); give a PEM file") from error
