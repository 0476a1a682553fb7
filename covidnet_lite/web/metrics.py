"""Figures for Prometheus, in its text format (version 0.0.4)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from ..machine import board
from ..prediction import STATUSES

BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts what a server does; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.time()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._images: Counter[str] = Counter()
        self._stages: Counter[str] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0
        self._judged = 0

    def request(self, route: str, code: int) -> None:
        """One answer to one request; ``route`` is one of ours, never what a client made up."""
        with self._lock:
            self._requests[route, str(code)] += 1

    def image(self, status: str, timings: Mapping[str, float]) -> None:
        """One image: what became of it, and the milliseconds of each stage."""
        seconds = sum(timings.values()) / 1e3
        with self._lock:
            self._images[status] += 1
            if not timings:
                return
            self._judged += 1
            self._seconds += seconds
            for stage, ms in timings.items():
                self._stages[stage] += ms / 1e3  # type: ignore[assignment]  # a Counter adds floats as well
            for bound in BUCKETS:
                self._buckets[bound] += seconds <= bound

    def text(self, gauges: Mapping[str, tuple[str, float]], model: Mapping[str, str]) -> str:
        """Everything, for a scrape; ``gauges`` are name -> (help, value) of what others know."""
        with self._lock:
            requests = [({"route": r, "code": c}, n) for (r, c), n in sorted(self._requests.items())]
            images = [({"status": s}, self._images[s]) for s in STATUSES]
            stages = [({"stage": s}, v) for s, v in self._stages.items()]
            buckets = [({"le": str(b)}, self._buckets[b]) for b in BUCKETS] + [({"le": "+Inf"}, self._judged)]
            seconds, judged = self._seconds, self._judged
        lines = [
            *_family("requests_total", "counter", "Answers by route and HTTP status.", requests),
            *_family("images_total", "counter", "Images by what became of them.", images),
            *_family("stage_seconds_total", "counter", "Time spent in each stage.", stages),
            "# HELP covidnet_lite_classify_seconds Time to classify one image.",
            "# TYPE covidnet_lite_classify_seconds histogram",
            *(_sample("classify_seconds_bucket", labels, value) for labels, value in buckets),
            _sample("classify_seconds_sum", {}, seconds),
            _sample("classify_seconds_count", {}, judged),
            *_family("model_info", "gauge", "The network in use.", [(model, 1)]),
            *_family("start_time_seconds", "gauge", "When it was started, Unix time.", [({}, self._started)]),
        ]
        for name, (meaning, value) in gauges.items():
            lines += _family(name, "gauge", meaning, [({}, value)])
        return "\n".join(lines) + "\n"


def resident_bytes() -> float:
    """Memory of this process that is in RAM; 0 where the system does not tell (not Linux)."""
    try:
        return (board.held("VmRSS") or 0.0) * 1024**2
    except OSError:
        return 0.0


def _family(name: str, kind: str, meaning: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    full = f"covidnet_lite_{name}"
    return [f"# HELP {full} {meaning}", f"# TYPE {full} {kind}", *(_sample(name, *sample) for sample in samples)]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"covidnet_lite_{name}" + (f"{{{pairs}}}" if pairs else "") + f" {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
