from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert import metrics, quantize
from convert.judge.judgement import Judgement
from convert.source import network
from covidnet_lite.dataset import read_dataset
from covidnet_lite.network import model
from covidnet_lite.network.operating_point import NEVER
from covidnet_lite.prediction import softmax
from training import operating_point
from training.operating_point import Risks

LABELS = ("normal", "pneumonia", "covid")


def films(count: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of made-up films, too sure of themselves and shifted, and what their labels allow."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, count)
    allowed = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]], bool)[kinds]
    truth = np.where(kinds == 3, rng.integers(1, 3, count), kinds)
    evidence = rng.normal(0, 1, (count, 3)) + 1.5 * np.eye(3)[truth]
    log = 1.5 * evidence  # their true log probabilities, but for a constant: equal classes, unit noise
    return 3 * log + (2.0, 0.0, -1.0), allowed


def test_calibration_undoes_temperature_and_bias() -> None:
    logits, allowed = films()
    temperature, bias = operating_point.calibrate(logits, allowed)
    assert temperature == pytest.approx(3, rel=0.15)
    assert bias.mean() == pytest.approx(0, abs=1e-6)
    shares = softmax(logits + bias, temperature)
    single = allowed.sum(1) == 1
    assert metrics.expected_calibration_error(allowed[single].argmax(1), shares[single]) < 0.06


@pytest.mark.parametrize("risk", [0.02, 0.1, 0.3])
def test_a_threshold_keeps_its_risk_on_films_it_was_not_chosen_on(risk: float) -> None:
    rng = np.random.default_rng(1)
    shares = [
        float((rng.random(500) >= operating_point.least_threshold(rng.random(400), risk)).mean()) for _ in range(300)
    ]
    assert np.mean(shares) <= risk + 0.004
    assert np.mean(shares) > 0.8 * risk - 0.003


def test_too_few_films_for_a_risk_mean_never() -> None:
    assert operating_point.least_threshold(np.array([0.1, 0.2]), 0.05) == NEVER


def test_the_operating_point_keeps_what_it_states() -> None:
    logits, allowed = films()
    temperature, bias = operating_point.calibrate(logits, allowed)
    point = operating_point.operating_point(softmax(logits + bias, temperature), allowed, LABELS, Risks(0.05, 0.1, 0.1))
    others, allowed = films(seed=2)
    shares = softmax(others + bias, temperature)
    answers = [point.answer(dict(zip(LABELS, row))) for row in shares]
    ill = ~allowed[:, 0]
    normal = np.array([a == ("normal",) for a in answers])
    positive = np.array([bool(a) and a != ("normal",) for a in answers])
    assert normal[ill].mean() < 0.065
    assert positive[~ill].mean() < 0.12
    assert ("pneumonia", "covid") in answers
    alone = np.array([a == ("covid",) for a in answers])
    assert alone[ill & ~allowed[:, 2]].mean() < 0.12
    assert point.risks["ill called normal"] == 0.05


def test_the_record_counts_a_set_right_when_it_holds_the_truth() -> None:
    logits, allowed = films(500)
    temperature, bias = operating_point.calibrate(logits, allowed)
    shares = softmax(logits + bias, temperature)
    point = operating_point.operating_point(shares, allowed, LABELS, Risks())
    record = operating_point.track_record(point, shares, allowed, LABELS)
    answers = [point.answer(dict(zip(LABELS, row))) for row in shares]
    right = [any(allowed[i, LABELS.index(a)] for a in answer) for i, answer in enumerate(answers) if answer]
    assert record["right"] == pytest.approx(np.mean(right), abs=0.001)
    assert record["answered"] == pytest.approx(np.mean([bool(a) for a in answers]), abs=0.001)
    assert set(record["by_answer"]) <= {"normal", "pneumonia", "covid", "pneumonia or covid"}


def test_the_scale_of_the_extent_rises_and_states_its_error() -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.02, 0.6, 400)
    graded = np.clip(raw * 1.5 + rng.normal(0, 0.1, 400), 0, 1)
    scale = operating_point.extent_scale(raw[:250], graded[:250], raw[250:], graded[250:])
    assert scale.raw[0] == scale.extent[0] == 0
    result = np.interp(raw[250:], scale.raw, scale.extent)
    assert scale.error == pytest.approx(np.abs(result - graded[250:]).mean(), abs=1e-3)
    assert scale.error < 0.12
    assert np.abs(np.interp([0.1, 0.3, 0.5], scale.raw, scale.extent) - [0.15, 0.45, 0.75]).max() < 0.08


@pytest.mark.slow
def test_the_step_from_float_counts_what_both_networks_say_by_the_same_rules(chests: Path) -> None:
    base = model.load("base")
    names = {"clear": "normal", "clouded": "pneumonia"}
    cases = [replace(c, label=names[c.label]) for c in read_dataset(chests)]
    cases[0] = replace(cases[0], label="indeterminate")
    graph = network.load(quantize.CHECKPOINT).tflite
    result = operating_point.step_from_float(base, graph, Judgement((0.5, -0.5, 0.0), 1.3), cases)
    assert result["images"] == len(cases)
    assert result["top-1 agreement"] >= 0.9
    assert 0 < result["confidence drift"] < 0.05
    ill = operating_point.step_from_float(
        base, graph, Judgement((-50.0, 50.0, 0.0)), cases
    )  # both always say pneumonia
    assert ill["float accuracy"] == ill["int8 accuracy"] == pytest.approx(24 / 47, abs=1e-4)
