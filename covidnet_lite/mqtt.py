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
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import files, watch
from .errors import InputError, MissingExtraError, OutputError

PORT, TLS_PORT = 1883, 8883
USER, PASSWORD = "COVIDNET_LITE_MQTT_USER", "COVIDNET_LITE_MQTT_PASSWORD"  # environment: command lines can be read
TOPIC = "covidnet-lite"
ONLINE, OFFLINE = "online", "offline"
LONGEST_PAUSE = 30.0  # seconds between attempts to reach the broker


@dataclass(frozen=True)
class Broker:
    """Where results go.

    Attributes:
        topic: results go to ``TOPIC/result``; whether somebody is watching, to ``TOPIC/status``, retained.
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
        InputError: address, topic or certificate cannot be used.
    """
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    host = host.removeprefix("[").removesuffix("]")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise InputError(f"{address!r}: is no broker; write HOST or HOST:PORT")
    if not topic or any(c in topic for c in "+#\0") or len(topic.encode()) > 60000 or topic[0] in "/$":
        raise InputError(
            f"{topic!r}: is no topic to publish to; write words and slashes, without +, # and a $ in front"
        )
    if ca is not None and not ca.is_file():
        raise InputError(f"{ca}: no such certificate; give a PEM file")
    number = int(port) if port else TLS_PORT if tls or ca else PORT
    return Broker(host, number, topic.rstrip("/"), tls or ca is not None, ca, os.getenv(USER), os.getenv(PASSWORD))


class Publisher:
    """Sends results to a broker, on a thread of its own; while the broker is away they wait as files."""

    def __init__(self, to: Broker, say: Callable[[str], None]) -> None:
        """Raises:
        MissingExtraError: aiomqtt is not installed.
        InputError: the certificate cannot be read.
        """
        try:
            import aiomqtt  # noqa: F401
        except ImportError:
            raise MissingExtraError("MQTT needs the extra: pip install 'covidnet-lite[mqtt]'") from None
        self._broker, self._say = to, say
        self._context = _context(to)
        self._waiting: dict[Path, None] = {}  # in order; a result written anew waits once
        self._changed, self._ending = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="covidnet-lite-mqtt", daemon=True)

    def start(self, left: Iterable[Path]) -> None:
        """Begins, with results that an earlier run left undelivered."""
        for path in left:
            kept = watch.load(path)
            if kept is not None and kept.get("delivered") is False:
                self._waiting[path] = None
        self._thread.start()

    def deliver(self, path: Path) -> None:
        """Takes the file of a result."""
        with self._changed:
            self._waiting[path] = None
            self._changed.notify()

    def close(self, patience: float) -> int:
        """Ends, when all is delivered or after so many seconds; how many results still wait, as files."""
        end = time.monotonic() + patience
        with self._changed:
            while self._waiting and self._thread.is_alive() and time.monotonic() < end:
                self._changed.wait(min(0.2, max(0.0, end - time.monotonic())))
            self._ending = True
            self._changed.notify_all()
        self._thread.join(5)
        return len(self._waiting)

    def _run(self) -> None:
        asyncio.run(self._stay_connected())

    async def _stay_connected(self) -> None:
        import aiomqtt

        pause, reached = 0.5, True
        while not self._ending:
            try:
                async with self._client() as client:
                    await client.publish(f"{self._broker.topic}/status", ONLINE, qos=1, retain=True)
                    self._say(f"connected to {self._broker}")
                    pause, reached = 0.5, True
                    await self._send(client)
                    await client.publish(f"{self._broker.topic}/status", OFFLINE, qos=1, retain=True)
            except (aiomqtt.MqttError, OSError) as error:  # OSError: no such host, TLS
                if reached:
                    self._say(f"{self._broker}: not reached ({error}); results wait, and it is tried again")
                    reached = False
                end = time.monotonic() + pause
                while not self._ending and time.monotonic() < end:
                    await asyncio.sleep(0.1)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _client(self) -> Any:
        import aiomqtt

        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.user,
            password=self._broker.password,
            tls_context=self._context,
            will=aiomqtt.Will(f"{self._broker.topic}/status", OFFLINE, qos=1, retain=True),
            logger=logging.getLogger("covidnet_lite.mqtt"),
        )

    async def _send(self, client: Any) -> None:
        """Until the end, or until the broker goes away."""
        quiet_since = time.monotonic()
        while True:
            path = next(iter(self._waiting), None)
            if path is None:
                if self._ending:
                    return
                await asyncio.sleep(0.1)
                if time.monotonic() - quiet_since > 30:  # notice a broker that went away, and say that we have not
                    await client.publish(f"{self._broker.topic}/status", ONLINE, qos=1, retain=True)
                    quiet_since = time.monotonic()
                continue
            try:
                data = path.read_bytes()
            except OSError:  # taken away: there is nothing to tell any more
                data = b""
            if data and (told := payload(data)):
                await client.publish(f"{self._broker.topic}/result", told, qos=1)  # returns when it is confirmed
            self._mark(path, data)
            quiet_since = time.monotonic()
            if self._ending and not self._waiting:
                return

    def _mark(self, path: Path, sent: bytes) -> None:
        """Remembers that this was delivered, unless the result is another by now."""
        with self._changed:
            try:
                if sent and path.read_bytes() != sent:
                    return  # written anew meanwhile: that one waits
                if sent:
                    kept = json.loads(sent)
                    kept["delivered"] = True
                    files.write(path, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")
            except FileNotFoundError:
                pass
            except OutputError as error:
                self._say(f"delivered, but will be again after a new start: {error}")
            self._waiting.pop(path, None)
            self._changed.notify_all()


def payload(data: bytes) -> bytes:
    """What is published of a result: all but how it was kept; nothing where the file is no result."""
    with suppress(ValueError, AttributeError):
        kept = json.loads(data)
        told = {key: value for key, value in kept.items() if key not in ("file", "network", "delivered")}
        return json.dumps(told, ensure_ascii=False).encode()
    return b""


def _context(to: Broker) -> ssl.SSLContext | None:
    if not to.tls:
        return None
    try:
        return ssl.create_default_context(cafile=to.ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{to.ca}: is no certificate ({error}); give a PEM file") from error
