"""Figures for Prometheus, kept by its own client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from .machine import board
from .prediction import STATUSES

BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds
Value = float | Mapping[tuple[str, str], float]  # or one for each (label, its value), all of the same label
Gauges = Mapping[str, tuple[str, Value]]  # name -> meaning and value
TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """Counts what a service does; for many threads."""

    def __init__(self, model: Mapping[str, str], gauges: Callable[[], Gauges]) -> None:
        """Starts with all counts at 0.

        Args:
            model: labels that name the network in use.
            gauges: returns the current gauges, at each scrape.
        """
        self._registry = CollectorRegistry()
        common: Any = {"namespace": "covidnet_lite", "registry": self._registry}
        self._requests = Counter("requests", "Answers by route and HTTP status.", ("route", "code"), **common)
        self._images = Counter("images", "Images by what became of them.", ("status",), **common)
        self._stages = Counter("stage_seconds", "Time spent in each stage.", ("stage",), **common)
        self._seconds = Histogram("classify_seconds", "Time to classify one image.", buckets=BUCKETS, **common)
        Gauge("model_info", "The network in use.", tuple(model), **common).labels(**model).set(1)
        Gauge("start_time_seconds", "When it was started, Unix time.", **common).set(time.time())
        self._registry.register(_GaugeCollector(gauges))
        for status in STATUSES:
            self._images.labels(status)  # exists, with 0, before the first image

    def request(self, route: str, code: int) -> None:
        """Counts the answer to a request; ``route`` is one of ours, never a path that a client invented."""
        self._requests.labels(route, code).inc()

    def image(self, status: str, timings: Mapping[str, float]) -> None:
        """Counts an image by its status, with the milliseconds of each stage."""
        self._images.labels(status).inc()
        for stage, ms in timings.items():
            self._stages.labels(stage).inc(ms / 1e3)
        if timings:
            self._seconds.observe(sum(timings.values()) / 1e3)

    def text(self) -> bytes:
        """All metrics, for a scrape."""
        return generate_latest(self._registry)


class _GaugeCollector(Collector):
    """Collects the gauges at each scrape."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for name, (meaning, value) in self._gauges().items():
            family = GaugeMetricFamily(f"covidnet_lite_{name}", meaning)
            for (label, word), number in value.items() if isinstance(value, Mapping) else [(("", ""), value)]:
                family.add_sample(family.name, {label: word} if label else {}, number)
            yield family

    def describe(self) -> Iterator[Metric]:
        return iter(())  # or the registry would collect the gauges before the first scrape


def resident_bytes() -> float:
    """Memory of this process that is in RAM; 0 where the system does not report it (not Linux)."""
    try:
        return (board.memory_mib("VmRSS") or 0.0) * 1024**2
    except OSError:
        return 0.0
