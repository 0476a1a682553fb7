from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from covidnet_lite.cases import Case
from training import evaluate


def answers() -> evaluate.Answers:
    targets = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    confidence = np.array([0.9, 0.8, 0.5, 0.9, 0.9, 0.9, 0.5, 0.9])
    probabilities = np.full((8, 3), 0.0)
    for row, (k, p) in enumerate(zip(predicted, confidence)):
        probabilities[row] = (1 - p) / 2
        probabilities[row, k] = p
    cases = [Case(Path(str(i)), "abc"[t], f"p{i // 2}", "here" if i < 4 else "there") for i, t in enumerate(targets)]
    return evaluate.Answers("net", ("a", "b", "c"), cases, targets, probabilities, 0.7)


def test_figures_by_hand() -> None:
    found = evaluate.judge(answers())["all"]
    assert found["images"] == 8
    assert found["patients"] == 4
    assert found["accuracy"]["count"] == 6
    assert found["confusion"] == [[2, 1, 0], [0, 3, 1], [0, 0, 1]]
    assert found["classes"]["a"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert found["classes"]["a"]["specificity"]["value"] == 1
    assert found["classes"]["c"]["specificity"]["value"] == pytest.approx(6 / 7)
    assert found["answered"]["count"] == 6
    assert found["accuracy_when_answered"]["value"] == 1
    low, high = found["macro_auroc_interval"]
    assert low <= found["macro_auroc"] <= high


def test_every_source_is_judged_on_its_own() -> None:
    sources = evaluate.judge(answers())["sources"]
    assert {s: p["images"] for s, p in sources.items()} == {"here": 4, "there": 4}
    assert sources["here"]["classes"]["c"]["sensitivity"]["value"] is None


def test_the_markdown_holds_every_table() -> None:
    text = evaluate.markdown(evaluate.judge(answers()))
    assert "| accuracy | 75.0% (6/8) |" in text
    assert "| a | 2 | 1 | 0 |" in text
    assert "| there | 4 |" in text
    assert "2/3" in text


def test_the_shipped_network_is_judged_from_the_command_line(
    film_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (film_png.parent / "manifest.csv").write_text("file,label,split\nfilm.png,normal,test\n")
    assert evaluate.main(["base", "--data", str(film_png.parent), "--json", str(tmp_path / "f.json")]) == 0
    assert "1 images of 1 patients" in capsys.readouterr().out
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
