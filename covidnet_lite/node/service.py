"""A node at work: receiver, worker and senders around one queue, and what reports on them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack

from .. import __version__
from ..classifier import Classifier
from ..dicom_out import results as dicom_results
from ..errors import CovidNetLiteError, OutputError, SettingsError
from ..logs import coded
from ..metrics import Gauges
from ..readers.pool import Readers
from ..troubles import Troubles
from . import reachable
from .audit import Trail
from .events import Answered, Event, Peer, Started, Stopped
from .health import Health, Remembered
from .monitor import Monitor
from .pipeline import Pipeline
from .queue import Queue
from .receiver import Receiver
from .settings import Settings

log = logging.getLogger(__name__)

KEPT = ("queue", "host", "port")  # settings that hold until the node is restarted


class Node:
    """Everything a node needs, opened; nothing is taken or sent before :meth:`run`."""

    def __init__(self, settings: Settings) -> None:
        """Opens queue, network, ports and audit trail.

        Raises:
            CovidNetLiteError: one of them cannot be used; the message says which.
        """
        dicom_results.require()
        self._settings = settings
        self._trail: Trail | None = None
        self._troubles = Troubles()
        self._monitor: Monitor | None = None
        self._reachable = Remembered(lambda: reachable.ask(self._settings, reachable.BRIEF))
        with ExitStack() as opened:
            self._readers = Readers()
            opened.callback(self._readers.close)
            self._queue = Queue(settings.queue, settings.limits, tuple(settings.everywhere))
            opened.callback(self._queue.close)
            self._pipeline = self._new_pipeline(settings)
            self._receiver = Receiver(settings, self._queue, self._record)
            opened.callback(self._receiver.stop)
            self._trail = self._new_trail(settings)
            opened.callback(lambda: _close(self._trail))
            self._monitor = self._new_monitor(settings)
            opened.callback(lambda: _close(self._monitor))
            self._opened = opened.pop_all()

    @property
    def description(self) -> str:
        """One line: who listens where, and what waits."""
        counts = self._queue.counts
        return (
            f"{describe(self._settings, self._pipeline.classifier, self._receiver.port)}; {counts['received']} "
            f"radiographs to classify, {counts['outgoing']} to send, {counts['failed']} quarantined"
        )

    def run(self, stop: threading.Event, reload: threading.Event, settings: Callable[[], Settings]) -> None:
        """Works until ``stop`` is set: then takes no more, ends what it has in hand, and returns.

        Args:
            stop: ends it.
            reload: has it go by new settings.
            settings: reads them.

        Raises:
            BackendError: the network failed.
        """
        with self._opened:
            try:
                self._pipeline.start(stop.set)
                self._receiver.start()
                if self._monitor:
                    self._monitor.start()
                self._record(Started())
                log.info("%s", self.description, **coded("started", port=self._receiver.port))
                while not stop.wait(1.0):  # a signal that comes just as the wait begins is heard only when it ends
                    if reload.is_set():
                        reload.clear()
                        self._reload(settings, stop)
            finally:
                self._receiver.stop()
                self._record(Stopped())
                self._pipeline.stop()
            counts = self._queue.counts
        text = "stopped; %d radiographs to classify and %d to send wait"
        log.info(text, counts["received"], counts["outgoing"], **coded("stopped", queue=counts))

    def close(self) -> None:
        """Lets go of ports and queue, without having run."""
        self._opened.close()

    def _reload(self, read: Callable[[], Settings], stop: threading.Event) -> None:
        """Goes by new settings if all of them can be used; else the old ones hold, and nothing has changed."""
        with ExitStack() as unused:
            try:
                settings = read()
                _check_kept(self._settings, settings)
                self._queue.add_destinations(tuple(settings.everywhere))
                pipeline = self._new_pipeline(settings, self._pipeline)
                trail = self._new_trail(settings)
                unused.callback(_close, trail)
                monitor = self._monitor if _port(settings) == _port(self._settings) else self._new_monitor(settings)
                unused.callback(_close, monitor if monitor is not self._monitor else None)
                self._receiver.reload(settings)
            except CovidNetLiteError as error:
                text = "the settings are not reloaded, the old ones hold: %s"
                log.error(text, error, **coded("not-reloaded", reason=error.code))
                return
            unused.pop_all()
        self._pipeline.stop()
        self._queue.reload(settings.limits, tuple(settings.everywhere))
        self._settings, self._pipeline = settings, pipeline
        self._reachable.forget()
        pipeline.start(stop.set)
        old_trail, self._trail = self._trail, trail
        _close(old_trail)
        if monitor is not self._monitor:
            _close(self._monitor)
            self._monitor = monitor
            if monitor:
                monitor.start()
        log.info("reloaded: %s", self.description, **coded("reloaded"))

    def _new_pipeline(self, settings: Settings, before: Pipeline | None = None) -> Pipeline:
        return Pipeline(settings, self._queue, self._readers, self._record, self._gauges, self._troubles, before)

    def _new_trail(self, settings: Settings) -> Trail | None:
        us = Peer(settings.ae_title, socket.gethostname())
        return Trail(settings.audit, us, self._troubles) if settings.audit else None

    def _new_monitor(self, settings: Settings) -> Monitor | None:
        port = _port(settings)
        return Monitor(port, self._health, lambda: self._pipeline.metrics.text()) if port else None

    def _gauges(self) -> Gauges:
        meaning = "Radiographs since the start that no rule of the settings admits."
        return {**self._health().gauges(), "not_admitted": (meaning, float(self._queue.not_admitted))}

    def _health(self) -> Health:
        queue, counts, oldest, objection = self._queue, dict[str, int](), None, self._queue.objection
        try:
            counts, oldest = queue.counts, queue.oldest
        except OutputError as error:
            objection = str(error)
        return Health(
            counts,
            oldest,
            self._reachable(),
            self._pipeline.answered,
            objection,
            60.0 * (self._settings.health.oldest_minutes if self._settings.health else 0),
            tuple(map(str, self._troubles.errors)),
        )

    def _record(self, event: Event) -> None:
        if isinstance(event, Answered) and event.objection:
            self._pipeline.metrics.image("failed", {})
        if self._trail:
            self._trail.write(event)


def describe(settings: Settings, classifier: Classifier, port: int) -> str:
    """Who listens where, sends where, and answers by what, for the log."""
    destinations = ", ".join(map(str, settings.everywhere.values()))
    return (
        f"{settings.ae_title} on {settings.host} port {port}{' (TLS)' if settings.tls else ''}, "
        f"results to {destinations}, covidnet-lite {__version__}, network {classifier.model.name}"
        f"{f' at site {classifier.site}' if classifier.site else ''}"
    )


def _port(settings: Settings) -> int | None:
    return settings.health.port if settings.health else None


def _close(part: Trail | Monitor | None) -> None:
    if part:
        part.close()


def _check_kept(old: Settings, new: Settings) -> None:
    changed = [name for name in KEPT if getattr(old, name) != getattr(new, name)]
    if changed:
        raise SettingsError(f"{' and '.join(changed)}: cannot change while the node runs; restart it for that")
