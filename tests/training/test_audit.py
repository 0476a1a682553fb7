from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from judged import sided_network

from covidnet_lite import model
from covidnet_lite.cases import read_cases
from covidnet_lite.errors import DatasetError, MissingExtraError, ModelError
from training import audit, audit_plots, audit_table

pytest.importorskip("sklearn")

NAMES = {"clear": "normal", "clouded": "covid"}


def drawn(chests: Path, sources: int = 1) -> list[audit.Case]:
    """Drawn chests of one or more sources, as normal and covid."""
    return [replace(c, label=NAMES[c.label], source=f"s{i // 8 % sources}") for i, c in enumerate(read_cases(chests))]


def test_figures_come_in_plain_types_for_both_networks(chests: Path) -> None:
    shipped = sided_network()
    networks = {"int8": shipped, "float": replace(shipped, sha256="1" * 64)}
    steps: list[str] = []
    figures = audit.audit(networks, drawn(chests, 2), "test", progress=steps.append)
    assert set(audit_table.SECTIONS) == set(figures["sections"]) <= set(steps)
    assert json.loads(json.dumps(figures, allow_nan=False))["sha256"] == "0" * 64
    assert (figures["images"], figures["split"]) == (12, "test split")
    line = figures["sections"]["accuracy"]["accuracy"]
    assert line["int8"] == line["float"]
    assert (line["points"], line["apart"]) == (0, False)
    assert "any" in figures["sections"]["trifles"]["accuracy"]
    # 12 test and 12 validation images, of either label half.
    assert figures["sections"]["sources"]["source given normal: accuracy"]["int8"]["total"] == 12


def test_networks_that_differ_are_flagged() -> None:
    found = audit.lines(
        {"int8": {"a": {"value": 0.79}, "b": {"value": None}}, "float": {"a": {"value": 0.8}, "b": {"value": 0.5}}}
    )
    assert found["a"]["points"] == pytest.approx(-1)
    assert found["a"]["apart"]
    assert "points" not in found["b"]
    assert not audit.lines({"int8": {"a": {"value": 0.5}}, "float": {"a": {"value": 0.504}}})["a"]["apart"]


def test_only_the_split_is_judged_and_validation_is_for_the_source(chests: Path) -> None:
    seen: list[int] = []
    plain = sided_network()

    def run(pictures):
        seen.append(len(pictures))
        return plain.run(pictures)

    audit.audit({"int8": replace(plain, run=run)}, drawn(chests), "test")
    assert seen[0] == 24
    assert set(seen[1:]) == {12}


def test_data_without_anything_else_is_not_measured_and_does_not_fail(chests: Path) -> None:
    bare = [replace(c, patient="", source="", split="", fields={}) for c in drawn(chests)]
    figures = audit.audit({"int8": sided_network()}, bare, "test")
    assert figures["images"] == 48
    assert figures["split"] == "no split: may hold training images"
    text = audit_table.report(figures, [])
    for why in (
        "no source has both",
        "no image has a matched_pair",
        "no train split",
        "no image has lung_boxes",
        "the data has no splits",
        "pass --left-out",
        "patients; no split: may hold training images",
        "pass --float",
    ):
        assert why in text, why
    assert set(audit_plots.draw(figures)) >= {"reliability.png", "invariances.png"}


def test_labels_of_another_kind_do_not_fail(chests: Path) -> None:
    figures = audit.audit({"int8": sided_network(("clear", "clouded"))}, read_cases(chests), "test")
    assert figures["sections"]["accuracy"]["accuracy"]["int8"]["value"] > 0.9
    assert "the network has no label" in audit_table.report(figures, [])


def test_an_empty_split_is_said(chests: Path) -> None:
    given = [c for c in drawn(chests) if c.split != "test"]
    with pytest.raises(DatasetError, match="in the test split"):
        audit.audit({"int8": sided_network()}, given, "test")


def test_a_float_network_is_judged_as_the_int8_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"net.tflite": replace(sided_network(), temperature=2.0), "net.keras": sided_network()}
    monkeypatch.setattr(audit.network, "load", known.__getitem__)
    stated = {"network_sha256": "0" * 64}
    monkeypatch.setattr(audit.model, "load", lambda name: SimpleNamespace(manifest=SimpleNamespace(provenance=stated)))
    found = audit.load("net.tflite", Path("net.keras"))
    assert (found["float"].temperature, found["float"].threshold) == (2.0, 0.6)
    known["net.keras"] = replace(sided_network(), sha256="1" * 64)
    with pytest.raises(ModelError, match="was made from a network with 000"):
        audit.load("net.tflite", Path("net.keras"))
    stated["network_sha256"] = ""
    assert audit.load("net.tflite", Path("net.keras"))["float"].sha256 == "1" * 64
    del stated["network_sha256"]
    assert audit.load("net.tflite", Path("net.keras"))["float"].sha256 == "1" * 64
    known["net.keras"] = sided_network(side=64)
    with pytest.raises(ModelError, match="the network it was made from"):
        audit.load("net.tflite", Path("net.keras"))
    with pytest.raises(ModelError, match=r"give the \.tflite"):
        audit.load("net.keras", None)


def test_a_shipped_network_knows_its_checkpoint() -> None:
    pytest.importorskip("keras")
    assert audit._default("base", ".keras") == audit.CHECKPOINTS / "base.keras"
    assert audit._default("training/checkpoints/base", ".keras") is None
    assert hashlib.sha256((audit.CHECKPOINTS / "base.keras").read_bytes()).hexdigest() == audit._made_from("base")


@pytest.mark.parametrize("module", ["matplotlib", "sklearn"])
def test_a_missing_package_is_said_before_anything_else(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(MissingExtraError, match=audit.EXTRAS[module]):
        audit._check_extras()
    assert audit.main(["huge", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "pip install 'covidnet-lite[training]'" in capsys.readouterr().err


def test_what_may_have_been_trained_on_is_not_published(
    chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = chests / "manifest.csv"
    head, first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, first.rpartition(",")[0] + ",", *rows]).replace("clear", "normal") + "\n")
    monkeypatch.setattr(audit, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(audit, "DOCUMENTS", ())
    given = ["base", "--data", str(path), "--out", str(tmp_path / "out"), "--publish"]
    assert audit.main(given) == 1
    assert f"--publish: {path}: 1 images have no split" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "checkpoints").exists()
    path.write_text(path.read_text().replace(",\n", ",train\n", 1))
    monkeypatch.setattr(audit, "audit", lambda *given: (_ for _ in ()).throw(DatasetError("goes on")))
    assert audit.main(given) == 1
    assert "goes on" in capsys.readouterr().err


def test_the_shipped_network_is_audited_from_the_command_line(
    cxr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (cxr / "manifest.csv").read_text().splitlines()
    head, kept, counts = rows[0].replace("file,", "file,", 1), [], {}
    for case, row in zip(read_cases(cxr), rows[1:]):
        cell = (case.source, case.label, case.split)
        counts[cell] = counts.get(cell, 0) + 1
        if counts[cell] <= 6 and case.label != "other":
            kept.append(f"{cxr / ''}/{row}")
    (tmp_path / "manifest.csv").write_text("\n".join([head, *kept]) + "\n")
    shipped = model.load("base")
    given = [str(shipped.path), "--data", str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "out")]
    assert audit.main(given) == 0
    figures = json.loads((tmp_path / "out/audit.json").read_text())
    assert (figures["model"], figures["sha256"]) == ("base", shipped.sha256)
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out/audit.md").read_text() + "\n"
    assert f"<!-- audit base sha256:{shipped.sha256} -->" in printed
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"aurocs.png", "reliability.png", "risk_coverage.png", "invariances.png"}
    assert figures["sections"]["accuracy"]["accuracy"]["int8"]["value"] > 0.5
    assert figures["sections"]["evidence"]["evidence in the lungs"]["int8"]["value"] > 0


def test_a_missing_model_is_said_in_one_line(chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["huge", "--data", str(chests), "--out", str(tmp_path / "out")]) == 1
    assert "no such model" in capsys.readouterr().err
