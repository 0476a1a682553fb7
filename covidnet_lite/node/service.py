"""A node at work: receiver, worker and senders around one queue."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from .. import __version__
from ..classifier import Classifier
from ..dicom_out import results as dicom_results
from ..logs import coded
from ..readers.pool import Readers
from ..site.drift import Report, following
from .queue import Queue
from .receiver import Receiver
from .sender import Sender
from .settings import Settings
from .worker import work

log = logging.getLogger(__name__)


class Node:
    """Everything a node needs, opened; nothing is taken or sent before :meth:`run`."""

    def __init__(self, settings: Settings) -> None:
        """Opens queue, network and port.

        Raises:
            CovidNetLiteError: one of them cannot be used; the message says which.
        """
        dicom_results.require()
        network = settings.network
        self._settings, self._stop = settings, threading.Event()
        self._readers = Readers()
        self._classifier = Classifier(
            network.model,
            network.runtime or None,
            network.threads or None,
            read=self._readers.read,
            site=network.site,
            unsigned="allow" if network.allow_unsigned else "refuse",
        )
        if drift := following(self._classifier.site, _log_drift):
            self._classifier.heard = drift.add
        self._queue = Queue(settings.queue, settings.limits, tuple(settings.everywhere))
        try:
            self._senders = [Sender(settings, outbox, self._stop) for outbox in self._queue.outboxes.values()]
            self._receiver = Receiver(settings, self._queue)
        except BaseException:
            self._queue.close()
            raise

    @property
    def description(self) -> str:
        """One line: who listens where, and what waits."""
        told, counts = self._settings, self._queue.counts
        destinations = ", ".join(map(str, told.everywhere.values()))
        return (
            f"{told.ae_title} on {told.host} port {self._receiver.port}{' (TLS)' if told.tls else ''}, "
            f"results to {destinations}, covidnet-lite {__version__}, network {self._classifier.model.name}"
            f"{f' at site {self._classifier.site}' if self._classifier.site else ''}; "
            f"{counts['received']} films to classify, {counts['outgoing']} to send, {counts['failed']} set aside"
        )

    def objections(self) -> list[str]:
        """Asks the destinations: what keeps some from taking results now."""
        return [objection for sender in self._senders if (objection := sender.objection())]

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set: then takes no more, ends what it has in hand, and returns.

        Raises:
            OutputError: the disk failed.
        """
        parts: list[Future[None]] = []
        pool = ThreadPoolExecutor(1 + len(self._senders), thread_name_prefix="covidnet-lite")
        try:
            parts = [
                pool.submit(work, self._queue, self._classifier, self._stop, self._settings),
                *(pool.submit(sender.run) for sender in self._senders),
            ]
            for part in parts:
                part.add_done_callback(lambda _: stop.set())  # neither ends by itself, but by an error
            self._receiver.start()
            log.info(
                "%s", self.description, **coded("started", ae_title=self._settings.ae_title, port=self._receiver.port)
            )
            while not stop.wait(1.0):
                pass  # a signal that comes just as the wait begins is heard only when it ends
        finally:
            self._receiver.stop()
            self._stop.set()
            self._queue.wake()
            pool.shutdown()
            self._queue.close()
            self._readers.close()
        for part in parts:
            part.result()
        counts = self._queue.counts
        text = "stopped; %d films to classify and %d to send wait"
        log.info(text, counts["received"], counts["outgoing"], **coded("stopped", queue=counts))

    def close(self) -> None:
        """Lets go of port and queue, without having run."""
        self._receiver.stop()
        self._queue.close()
        self._readers.close()


def _log_drift(report: Report) -> None:
    if report.drifted:
        log.warning("drift: %s", report, **coded("drift", **report.to_dict()))
