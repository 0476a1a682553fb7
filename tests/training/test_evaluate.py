from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert import metrics
from covidnet_lite.dataset import LabelledImage
from training import evaluate


def answers() -> evaluate.Answers:
    targets = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    confidence = np.array([0.9, 0.8, 0.5, 0.9, 0.9, 0.9, 0.5, 0.9])
    probabilities = np.full((8, 3), 0.0)
    for row, (k, p) in enumerate(zip(predicted, confidence)):
        probabilities[row] = (1 - p) / 2
        probabilities[row, k] = p
    cases = [
        LabelledImage(Path(str(i)), "abc"[t], f"p{i // 2}", "here" if i < 4 else "there", "test")
        for i, t in enumerate(targets)
    ]
    return evaluate.Answers("net", ("a", "b", "c"), cases, targets, probabilities, 0.7)


def test_figures_by_hand() -> None:
    result = evaluate.compute_figures(answers())["all"]
    assert result["images"] == 8
    assert result["patients"] == 4
    assert result["accuracy"]["count"] == 6
    assert result["confusion"] == [[2, 1, 0], [0, 3, 1], [0, 0, 1]]
    assert result["classes"]["a"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert result["classes"]["a"]["specificity"]["value"] == 1
    assert result["classes"]["c"]["specificity"]["value"] == pytest.approx(6 / 7)
    assert result["answered"]["count"] == 6
    assert result["accuracy_when_answered"]["value"] == 1


def repeated() -> evaluate.Answers:
    """The same five times, of other patients."""
    told = answers()
    cases = [replace(c, patient=f"{k}.{c.patient}") for k in range(5) for c in told.cases]
    return replace(
        told, cases=cases, targets=np.tile(told.targets, 5), probabilities=np.tile(told.probabilities, (5, 1))
    )


def test_a_macro_auroc_is_told_where_every_class_has_enough() -> None:
    result = evaluate.compute_figures(repeated())
    low, high = result["all"]["macro_auroc_interval"]
    assert (
        low <= result["all"]["macro_auroc"] == metrics.macro_auroc(answers().targets, answers().probabilities) <= high
    )
    assert "| macro AUROC | 0." in evaluate.markdown(result)
    assert "fewer than 5" not in evaluate.markdown(result)
    few = evaluate.compute_figures(answers())
    assert few["all"]["macro_auroc"] is few["all"]["macro_auroc_interval"] is None
    assert "| macro AUROC | - | |" in evaluate.markdown(few)
    assert "fewer than 5 images or patients" in evaluate.markdown(few)


def test_two_sources_may_give_two_patients_one_number() -> None:
    told = answers()
    same = replace(told, cases=[replace(c, patient="1") for c in told.cases])
    assert evaluate.compute_figures(same)["all"]["patients"] == 2
    unknown = replace(told, cases=[replace(c, patient="") for c in told.cases])
    assert evaluate.compute_figures(unknown)["all"]["patients"] == 8


def test_images_of_no_split_are_not_said_to_be_held_out() -> None:
    told = answers()
    assert evaluate.split_of(told.cases) == "test split"
    bare = [replace(c, split="") for c in told.cases]
    assert evaluate.split_of(bare) == "no split: may hold training images"
    assert evaluate.split_of([*told.cases, *bare[:3]]).startswith("test split, and 3 images of no split: may hold")
    text = evaluate.markdown(evaluate.compute_figures(replace(told, cases=bare)))
    assert text.startswith("## net: 8 images of 4 patients; no split: may hold training images\n")


def test_every_source_is_judged_on_its_own() -> None:
    sources = evaluate.compute_figures(answers())["sources"]
    assert {s: p["images"] for s, p in sources.items()} == {"here": 4, "there": 4}
    assert sources["here"]["classes"]["c"]["sensitivity"]["value"] is None


def test_the_markdown_holds_every_table() -> None:
    text = evaluate.markdown(evaluate.compute_figures(answers()))
    assert "| accuracy | 75.0% (6/8) |" in text
    assert "| a | 2 | 1 | 0 |" in text
    assert "| there | 4 |" in text
    assert "2/3" in text


def test_the_shipped_network_is_judged_from_the_command_line(
    film_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (film_png.parent / "manifest.csv").write_text("file,label,split\nfilm.png,normal,test\n")
    assert evaluate.main(["base", "--data", str(film_png.parent), "--json", str(tmp_path / "f.json")]) == 0
    assert "1 images of 1 patients; test split" in capsys.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text())["all"]["images"] == 1


@pytest.mark.parametrize(
    ("model", "message"), [("huge", "no such model"), ("none.keras", "no network that training/finetune.py wrote")]
)
def test_a_missing_model_is_said_in_one_line(
    model: str, message: str, film_png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([model, "--data", str(film_png.parent)]) == 1
    assert message in capsys.readouterr().err


def test_an_empty_split_is_said(film_png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (film_png.parent / "manifest.csv").write_text("file,label,split\nfilm.png,normal,train\n")
    assert evaluate.main(["base", "--data", str(film_png.parent)]) == 1
    assert "no image labelled" in capsys.readouterr().err
