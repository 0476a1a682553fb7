"""Worker and senders by one set of settings: what is replaced when settings are reloaded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ..classifier import Classifier
from ..logs import coded
from ..metrics import Gauges, Metrics
from ..prediction import Prediction
from ..readers.pool import Readers
from ..site.drift import Drift, Report, drift_monitor
from ..troubles import Troubles
from .events import Record
from .queue import Queue
from .sender import Sender
from .settings import Settings
from .worker import work

log = logging.getLogger(__name__)


class Pipeline:
    """A classifier, and a sender for each destination, in threads of their own around a queue.

    Attributes:
        classifier: the network at work.
        answered: when the last radiograph was answered, in Unix time; ``None`` before the first.
        metrics: of what this pipeline has done.
    """

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        readers: Readers,
        record: Record,
        gauges: Callable[[], Gauges],
        troubles: Troubles,
        before: Pipeline | None = None,
    ) -> None:
        """Loads the network; nothing is classified or sent before :meth:`start`.

        Args:
            settings: of the node.
            queue: has an outbox for each destination.
            readers: read radiographs.
            record: takes what goes into the audit trail.
            gauges: go into the metrics, too.
            troubles: takes what keeps a part from its work.
            before: is replaced by this one, which goes on with the days of the same site.

        Raises:
            ModelError, SiteError, BackendError: the network or the site cannot be used.
            SettingsError: a certificate cannot be used.
        """
        self._settings, self._queue, self._record, self._troubles = settings, queue, record, troubles
        self.classifier = classifier(settings, readers)
        self.classifier.on_prediction = self._count
        site = self.classifier.site
        same = before is not None and before.classifier.site == site
        self._drift: Drift | None = before._drift if before and same else drift_monitor(site, _log_drift)
        self.answered: float | None = before.answered if before else None
        model = {"name": self.classifier.model.name, "sha256": self.classifier.model.sha256}
        self.metrics = Metrics(model, lambda: {**gauges(), **(self._drift.gauges() if self._drift else {})})
        self._stop = threading.Event()
        self._senders = [
            Sender(settings, queue.outboxes[name], self._stop, record, troubles) for name in settings.everywhere
        ]

    def start(self, on_failure: Callable[[], object]) -> None:
        """Works until :meth:`stop`; ``on_failure`` is called when a part has ended by an error."""
        self._pool = ThreadPoolExecutor(1 + len(self._senders), thread_name_prefix="covidnet-lite")
        self._parts: list[Future[None]] = [
            self._pool.submit(
                work, self._queue, self.classifier, self._stop, self._settings, self._record, self._troubles
            ),
            *(self._pool.submit(sender.run) for sender in self._senders),
        ]
        for part in self._parts:
            part.add_done_callback(lambda _: self._stop.is_set() or on_failure())

    def stop(self) -> None:
        """Ends what is in hand, and returns; nothing else is begun.

        Raises:
            BackendError: the network failed.
        """
        self._stop.set()
        self._queue.wake()
        self._pool.shutdown()
        for part in self._parts:
            part.result()

    def _count(self, prediction: Prediction) -> None:
        self.answered = time.time()
        self.metrics.image(prediction.status, prediction.timings)
        if self._drift:
            self._drift.add(prediction)


def classifier(settings: Settings, readers: Readers) -> Classifier:
    """The network of the settings, loaded.

    Raises:
        ModelError, SiteError, BackendError: network or site cannot be used.
    """
    network = settings.network
    return Classifier(
        network.model,
        network.runtime or None,
        network.threads or None,
        read=readers.read,
        site=network.site,
        unsigned="allow" if network.allow_unsigned else "refuse",
    )


def _log_drift(report: Report) -> None:
    if report.drifted:
        log.warning("drift: %s", report, **coded("drift", **report.to_dict()))
