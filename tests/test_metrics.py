from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from covidnet_lite.metrics import BUCKETS, Metrics, resident_bytes

MODEL = {"name": "nano 2", "sha256": "f0"}


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """What a scraper understands: name and labels' values -> value."""
    families = text_string_to_metric_families(metrics.text().decode())
    result = [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]
    text = {(one.name.removeprefix("covidnet_lite_"), *one.labels.values()): one.value for one in result}
    assert len(text) == len(result)  # nothing is told twice
    return text


def test_before_anything_has_happened_every_count_is_there_and_nought() -> None:
    values = samples(Metrics(MODEL, dict))
    assert {status: values["images_total", status] for status in ("answered", "narrowed", "unsure", "refused", "failed")} == {
        "answered": 0, "narrowed": 0, "unsure": 0, "refused": 0, "failed": 0,
    }  # fmt: skip
    assert values["classify_seconds_count",] == 0
    assert values["model_info", "nano 2", "f0"] == 1


def test_requests_and_images_are_counted() -> None:
    metrics = Metrics(MODEL, dict)
    for code in (200, 200, 413):
        metrics.request("/v1/classify", code)
    metrics.image("answered", {"read": 30.0, "run": 40.0})
    metrics.image("failed", {})  # never came to be timed
    values = samples(metrics)
    assert values["requests_total", "200", "/v1/classify"] == 2
    assert values["requests_total", "413", "/v1/classify"] == 1
    assert (values["images_total", "answered"], values["images_total", "failed"]) == (1, 1)
    assert values["stage_seconds_total", "run"] == pytest.approx(0.04)
    assert (values["classify_seconds_count",], values["classify_seconds_sum",]) == (1, pytest.approx(0.07))


def test_the_histogram_counts_what_is_below_each_bound() -> None:
    metrics = Metrics(MODEL, dict)
    for ms in (4.0, 30.0, 60_000.0):
        metrics.image("answered", {"run": ms})
    values = samples(metrics)
    counts = [values["classify_seconds_bucket", str(bound)] for bound in BUCKETS]
    assert counts == [1, 1, 2, 2, 2, 2, 2, 2, 2]
    assert values["classify_seconds_bucket", "+Inf"] == values["classify_seconds_count",] == 3


def test_gauges_of_others_are_asked_at_each_scrape() -> None:
    waiting = iter((3.0, 4.0))
    metrics = Metrics(MODEL, lambda: {"uploads_waiting": ("Uploads that wait.", next(waiting))})
    assert [samples(metrics)["uploads_waiting",] for _ in range(2)] == [3, 4]


def test_a_gauge_may_have_a_value_for_each_label() -> None:
    queue = {("place", "received"): 3.0, ("place", "failed"): 1.0}
    values = samples(Metrics(MODEL, lambda: {"queue": ("Radiographs.", queue)}))
    assert (values["queue", "received"], values["queue", "failed"]) == (3, 1)


def test_the_memory_of_this_process_is_told() -> None:
    assert resident_bytes() > 10e6
