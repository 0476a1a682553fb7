"""Results on their way to an MQTT broker (extra: ``mqtt``).

A result waits as a file that says it has not been delivered. It is published with quality of service 1, and marked when
the broker has confirmed it: so a broker that is away, or a power cut, loses nothing, and what is published twice is at
most the one result that was confirmed but not yet marked.
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
USER, PASSWORD = "COVIDNET_LITE_MQTT_USER", "COVIDNET_LITE_MQTT_PASSWORD"  # environment: command lines can be read
TOPIC = "covidnet-lite"
PUBLISHED = (
    *("name", "status", "label", "labels", "code", "reason", "reference", "probabilities", "extent", "extent_error"),
    *("place", "track_record", "distance", "view", "timings_ms", "model", "sha256", "signed_by", "site", "notes"),
    *("note_codes", "note"),
)
NUMBERS = ("probabilities", "extent", "extent_error", "place")
ONLINE, OFFLINE = "online", "offline"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to reach the broker
HEARTBEAT = 30.0  # seconds after which the status is told again
GRACE = 5.0  # seconds for a farewell


@dataclass(frozen=True)
class Broker:
    """Where results go.

    Attributes:
        topic: results go to ``TOPIC/result``; whether somebody is watching, to ``TOPIC/status``, retained; with a site,
            what the last day was like, to ``TOPIC/drift``, retained.
        tls: encrypt; the broker's certificate is checked against ``ca`` (PEM), or what the system trusts.
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


def broker(address: str, topic: str = TOPIC, tls: bool = False, ca: Path | None = None) -> Broker:
    """From what is written on the command line, and the user's name and password from the environment.

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
    """``[::1]:8883`` -> ``::1`` and 8883; the port is 0 where none is given."""
    host, port = address, "0"
    if address.count(":") == 1 or "]:" in address:  # else a name, or an IPv6 address without a port
        host, _, port = address.rpartition(":")
        port = port.lstrip("0") or "none"
    host = host.removeprefix("[").removesuffix("]")
    try:
        known = host.encode("idna")
    except UnicodeError:  # a label that is empty or too long
        known = b""
    if not known or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise AddressError(f"{address!r}: is no broker; write HOST or HOST:PORT")
    return host, int(port)


class Publisher:
    """Sends results to a broker, on a thread of its own; while the broker is away they wait as files."""

    def __init__(self, to: Broker, results: ResultFiles, say: Callable[[str], None]) -> None:
        """Raises:
        MissingExtraError: aiomqtt is not installed.
        SettingsError: the certificate cannot be read.
        """
        try:
            import aiomqtt  # noqa: F401
        except ImportError:
            raise MissingExtraError("MQTT needs the extra: pip install 'covidnet-lite[mqtt]'") from None
        self._broker, self._results, self._say = to, results, say
        self._context = _context(to)
        # Only the thread looks at these, once it runs; others hand things to its loop.
        self._waiting: dict[Path, None] = {}  # in order; a result written anew waits once
        self._drift: str | None = None  # of the last day that is over, until it is told
        self._end: float | None = None  # when to give up
        self._loop, self._news, self._ending = asyncio.new_event_loop(), asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="covidnet-lite-mqtt", daemon=True)

    def start(self) -> None:
        """Begins, with results that an earlier run left undelivered."""
        self._waiting = dict.fromkeys(self._results.undelivered())
        self._thread.start()

    def deliver(self, path: Path) -> None:
        """Takes the file of a result."""
        self._loop.call_soon_threadsafe(self._take, path)

    def tell_drift(self, report: dict[str, Any]) -> None:
        """Takes what a day was like, compared with the site's fit; of several that wait, the last is told."""
        self._loop.call_soon_threadsafe(self._take_drift, json.dumps(report, ensure_ascii=False))

    def close(self, patience: float) -> int:
        """Ends, when all is delivered or after so many seconds; how many results still wait, as files."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._finish, time.monotonic() + patience)
            self._thread.join(patience + GRACE)
        return len(self._waiting)

    def _take(self, path: Path) -> None:
        self._waiting[path] = None
        self._news.set()

    def _take_drift(self, told: str) -> None:
        self._drift = told
        self._news.set()

    def _finish(self, end: float) -> None:
        self._end = end
        self._ending.set()
        self._news.set()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._stay_connected())
        finally:
            self._loop.close()

    def _is_over(self) -> bool:
        return self._end is not None and ((not self._waiting and self._drift is None) or time.monotonic() >= self._end)

    async def _stay_connected(self) -> None:
        import aiomqtt

        pause, reached = FIRST_PAUSE, True
        while not self._is_over():
            try:
                async with self._client() as client, _connection(client) as connection:
                    await self._tell(connection, ONLINE)
                    self._say(f"connected to {self._broker}")
                    pause, reached = FIRST_PAUSE, True
                    await self._send(connection)
                    await self._tell(connection, OFFLINE)
            except (aiomqtt.MqttError, OSError) as error:  # OSError: no such host, TLS
                if reached:
                    self._say(f"{self._broker}: not reached ({error}); results wait, and it is tried again")
                    reached = False
                await self._rest(pause)
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

    async def _tell(self, connection: _Connection, status: str) -> None:
        await connection.publish(f"{self._broker.topic}/status", status, retain=True)

    async def _send(self, connection: _Connection) -> None:
        """Until the end; raises where the broker goes away."""
        told = time.monotonic()
        while not self._is_over():
            if time.monotonic() - told >= HEARTBEAT:  # the will of a connection lost before may come late
                await self._tell(connection, ONLINE)
                told = time.monotonic()
            if told_drift := self._drift:
                await connection.publish(f"{self._broker.topic}/drift", told_drift, retain=True)
                self._drift = None if self._drift is told_drift else self._drift
            if path := next(iter(self._waiting), None):
                await self._deliver(connection, path)
            else:
                await connection.first(self._news.wait(), told + HEARTBEAT - time.monotonic())
                self._news.clear()

    async def _deliver(self, connection: _Connection, path: Path) -> None:
        told = b""
        try:
            data = path.read_bytes()
            told = payload(data)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._say(f"{path}: cannot be read ({error.strerror or error}); it waits")
            await self._rest(LONGEST_PAUSE)
            return
        if not told:  # taken away, or another program's by now: there is nothing to tell any more
            self._waiting.pop(path)
            return
        await connection.publish(f"{self._broker.topic}/result", told)
        await self._mark(path, data)

    async def _mark(self, path: Path, sent: bytes) -> None:
        """Before anything else is sent, or a power cut would have more than this one sent again."""
        said = False
        while True:
            try:
                if self._results.mark(path, sent):
                    self._waiting.pop(path)
                return  # else it was written anew meanwhile, and waits
            except OutputError as error:
                if not said:
                    self._say(f"delivered, but that cannot be noted, so the next wait: {error}")
                    said = True
            if self._end is not None and time.monotonic() >= self._end:
                return
            await self._rest(FIRST_PAUSE)

    async def _rest(self, seconds: float) -> None:
        """Sleeps; where the end comes, no longer than is left."""
        if self._end is None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ending.wait(), seconds)
        else:
            await asyncio.sleep(min(seconds, max(0.0, self._end - time.monotonic())))


class _Connection:
    """A client that is connected; what waits for an answer ends as soon as the broker is lost."""

    def __init__(self, client: Any, lost: asyncio.Future[None]) -> None:
        self._client, self._lost = client, lost

    async def publish(self, topic: str, told: str | bytes, retain: bool = False) -> None:
        """Returns when the broker has confirmed it."""
        # aiomqtt itself waits for a confirmation that cannot come any more, until its time is over.
        await self.first(self._client.publish(topic, told, qos=1, retain=retain))

    async def first(self, action: Awaitable[Any], seconds: float | None = None) -> None:
        """Returns when something is done, or the time is over; raises when it fails, or the broker is lost."""
        doing = asyncio.ensure_future(action)
        try:
            await asyncio.wait({doing, self._lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            elif self._lost.done():
                self._lost.result()
        finally:
            doing.cancel()


@asynccontextmanager
async def _connection(client: Any) -> AsyncIterator[_Connection]:
    lost = asyncio.ensure_future(_lost(client))
    try:
        yield _Connection(client, lost)
    finally:
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)  # or asyncio complains of an error that nobody looked at


async def _lost(client: Any) -> None:
    """Raises when the connection breaks; nothing was subscribed to, so nothing comes."""
    import aiomqtt

    async for _ in client.messages:
        pass
    raise aiomqtt.MqttError("the connection has ended")


def payload(data: bytes) -> bytes:
    """What is published of a result; nothing where the file is no result.

    Neither how it was kept nor what may quote a DICOM header: people write names into any field. Reason and notes are
    the public words of their codes. Of an abstention no numbers either, which somebody might take for a finding.
    """
    with suppress(ValueError, AttributeError):
        kept = json.loads(data)
        private = () if kept.get("status") in ANSWERS else NUMBERS
        told = {key: kept[key] for key in PUBLISHED if key in kept and key not in private}
        codes = [code for code in told.pop("note_codes", ()) if public(code)]
        if told.get("reason") is not None:  # without a code: kept by an earlier version
            told["code"] = told.get("code") if public(told.get("code")) else Code.FAILED
            told["reason"] = public(told["code"])
        if told.pop("notes", ()):
            told |= {"notes": [public(code) for code in codes], "note_codes": codes}
        return json.dumps(told, ensure_ascii=False).encode()
    return b""


def _context(to: Broker) -> ssl.SSLContext | None:
    if not to.tls:
        return None
    try:
        return ssl.create_default_context(cafile=to.ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{to.ca}: is no certificate ({error}); give a PEM file") from error
