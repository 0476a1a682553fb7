"""The shipped network on real radiographs; skipped where there are none."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import covidnet_lite
from convert import judgement, network, quantize
from convert.agreement import Agreement
from convert.calibration import pixels
from convert.candidate import agree
from convert.held_out import HeldOut
from covidnet_lite import metrics, model
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.interpreter import outputs
from covidnet_lite.manifest import seal
from covidnet_lite.prediction import calibrated
from training import dataset

LABELS = ("normal", "pneumonia", "covid")


@pytest.fixture(scope="module")
def cases(cxr: Path) -> list[Case]:
    return read_cases(cxr)


@pytest.fixture(scope="module")
def test_split(cases: list[Case]) -> list[Case]:
    return [c for c in cases if c.split == "test" and c.label in LABELS]


@pytest.fixture(scope="module")
def agreement(test_split: list[Case]) -> Agreement:
    base, plain = model.load("base"), float_network()
    pictures = pixels(test_split, base.manifest.input)
    targets = np.array([LABELS.index(c.label) for c in test_split])
    names = tuple(str(c.path) for c in test_split)
    held_out = HeldOut(names, pictures, targets, np.ones(len(names), bool), "test split")
    floats, found = (outputs(m, pictures)["logits"] for m in (plain, base))
    return agree(held_out, floats, plain.manifest, found, base.manifest)[0]


def float_network() -> model.Model:
    """The checkpoint behind the shipped network, with the same temperature."""
    plain = replace(model.load("base").manifest, correction=())
    return model.verify(seal(network.load(quantize.CHECKPOINT).tflite, plain), Path("float"))


def test_the_data_set_has_no_problems(cases: list[Case]) -> None:
    assert dataset.problems(cases, LABELS, ignore=("other",)) == []


def test_int8_agrees_with_float(agreement: Agreement) -> None:
    assert agreement.images > 300
    assert agreement.top1 >= 0.99
    assert agreement.drift <= 0.01
    assert agreement.correct >= 0.99 * agreement.float_correct


def test_the_figures_in_the_model_card_are_those_of_the_shipped_network(test_split: list[Case]) -> None:
    base = model.load("base")
    logits = outputs(base, pixels(test_split, base.manifest.input))["logits"]
    targets = np.array([LABELS.index(c.label) for c in test_split])
    accuracy = float((calibrated(logits, base.manifest).argmax(1) == targets).mean())
    area = metrics.macro_auroc(targets, calibrated(logits, base.manifest))
    card = (quantize.ROOT / "MODEL_CARD.md").read_text()
    assert base.sha256 in card
    # Processors round a step apart, so that an image or two may differ.
    assert stated(card, r"\| accuracy \| ([\d.]+)%") == pytest.approx(100 * accuracy, abs=0.7)
    assert stated(card, r"\| macro AUROC \| ([\d.]+)") == pytest.approx(area, abs=0.005)


def stated(card: str, pattern: str) -> float:
    """The first figure of the model card that a pattern finds."""
    found = re.search(pattern, card)
    assert found, pattern
    return float(found[1])


def test_the_recorded_judgement_is_what_the_data_give(cases: list[Case]) -> None:
    base = model.load("base")
    kept = judgement.load(quantize.CHECKPOINT.with_suffix(""))
    fitted = judgement.fit(base, float_network(), cases, kept.target_error)
    assert fitted.temperature == pytest.approx(kept.temperature, abs=0.02)
    assert fitted.threshold == pytest.approx(kept.threshold, abs=0.02)


def test_the_guard_lets_radiographs_of_the_test_split_pass(test_split: list[Case]) -> None:
    results = list(covidnet_lite.Classifier().classify_many(c.path for c in test_split))
    refused = [r for r in results if r.status == "refused"]
    assert len(refused) <= 0.04 * len(results)


def test_a_folder_of_radiographs_calibrates_too(cxr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "recalibrated.tflite"
    assert quantize.main([str(quantize.CHECKPOINT), "--calibration", str(cxr), "--count", "60", "-o", str(out)]) == 0
    assert "mean confidence drift" in capsys.readouterr().out
    assert covidnet_lite.Classifier(out).labels == LABELS
