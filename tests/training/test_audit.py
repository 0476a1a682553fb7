from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import drawn_chest
from judged import sided_network
from PIL import Image

from covidnet_lite.errors import ModelError
from training import audit
from training.data.supervision import Source
from training.judge import audit_plots, audit_table
from training.judge.audit_set import AuditSet, read_audit_set
from training.judge.network import Network

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

LABELS = ("normal", "pneumonia", "covid")
HOME = [("normal", 6), ("covid", 6), ("pneumonia", 5), ("indeterminate", 5)]


def drawn(folder: Path, source: str, films: list[tuple[str, int]], splits: tuple[str, ...] = ("test",)) -> Path:
    """A folder of drawn chests with a manifest; all that are not normal are clouded, and boxed and graded."""
    folder.mkdir()
    lines = ["file,label,patient_id,source,split,width0,height0,opacity_boxes,extent"]
    for split in splits:
        for label, count in films:
            for i in range(count):
                ill, name = label != "normal", f"{split}-{label}-{i}.png"
                drawn_chest(len(lines), opaque=ill, side=64).save(folder / name)
                known = f"{'0.5 0.5 1 1' if ill else ''},{i if ill else ''}"
                lines.append(f"{name},{label},{split}-{label}-{i},{source},{split},640,640,{known}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.fixture
def manifests(tmp_path: Path) -> list[Path]:
    home = drawn(tmp_path / "home", "own", HOME, ("train", "val", "test"))
    return [home, drawn(tmp_path / "away", "ralo_stonybrook", [("normal", 6), ("covid", 7)])]


@pytest.fixture
def films(manifests: list[Path]) -> AuditSet:
    return read_audit_set(manifests, LABELS, {"own": Source()})


def test_every_figure_comes_in_plain_types(films: AuditSet, tmp_path: Path) -> None:
    shipped, steps = sided_network(), []
    figures = audit.audit(shipped, replace(shipped, sha256="1" * 64), films, tmp_path / "out", steps.append)
    assert set(audit_table.SECTIONS) == set(figures["sections"]) <= set(steps)
    assert json.loads(json.dumps(figures, allow_nan=False))["sha256"] == "0" * 64
    sections = figures["sections"]
    assert sections["films"][audit.TEST]["films"]["value"] == 22
    row = sections["contrasts"]["any opacity v negative"]
    assert row["test split"]["value"] > 0.9
    # Validation and test, of one matrix all.
    assert row["one pixel matrix, validation and test"]["pairs"] == 32 * 12
    assert {"thumbnail of 8 x 8", "frame, no lungs"} <= set(row)
    assert "lungs black" not in row  # it does not crop to the lungs
    assert sections["hospitals"]["ralo_stonybrook"]["ill v normal"]["value"] > 0.9
    assert "own hospitals: typical" in sections["called"]
    assert sections["called"]["ralo_stonybrook: covid"]["called normal"]["total"] == 7
    assert sections["severity"]["graded films"]["rank correlation"]["kind"] == "number"
    assert set(sections["by_extent"]) >= {"clear", "extent beyond"}
    assert sections["pointing"][audit.TEST]["hottest place in a box"]["total"] == 16
    assert set(sections["statuses"]) >= {audit.TEST, audit.UNSEEN_NORMAL, audit.UNSEEN_ILL}
    assert set(sections["calibration"]) == {audit.TEST, "ralo_stonybrook"}
    assert sections["agreement"]["ralo_stonybrook"]["same class"]["value"] == 1
    # Of the six lines of the README only those of NIH and Hannover are not to be had here.
    assert audit_table.summary(figures).count("| - |") == 3


def test_a_network_alone_in_its_own_hospitals(films: AuditSet, tmp_path: Path) -> None:
    figures = audit.audit(sided_network(point=None), None, replace(films, unseen=()), tmp_path)
    assert figures["float_sha256"] is figures["normal_from"] is None
    for name in ("hospitals", "severity", "by_extent", "agreement"):
        assert figures["sections"][name] == {}
    assert audit_table.ARGMAX in audit_table.report(figures, [])
    assert "extent.png" not in audit_plots.draw(figures)


def test_labels_of_another_kind_do_not_fail(chests: Path, tmp_path: Path) -> None:
    network = sided_network(("clear", "clouded"), None)
    figures = audit.audit(network, None, read_audit_set([chests], network.labels, {}), tmp_path / "out")
    assert figures["sections"]["films"][audit.TEST]["films"]["value"] == 12
    assert audit_plots.draw(figures) == {}
    assert "Not measured: the data have nothing for it." in audit_table.report(figures, [])


def test_every_picture_is_drawn_and_the_same_again(films: AuditSet, tmp_path: Path) -> None:
    figures = audit.audit(sided_network(), None, films, tmp_path)
    images = audit_plots.draw(figures)
    assert list(images) == ["aurocs.png", "operating_curve.png", "calibration.png", "extent.png"]
    assert images == audit_plots.draw(json.loads(json.dumps(figures)))
    for png in images.values():
        assert min(Image.open(io.BytesIO(png)).size) > 200


def test_a_float_network_is_read_as_the_int8_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = sided_network()
    tempered = replace(shipped.manifest, temperature=2.0)

    def known(stated: str, floating: Network) -> Any:
        manifest = replace(tempered, provenance={"network_sha256": stated})
        result = {"net.tflite": replace(shipped, manifest=manifest), "net.keras": floating}
        monkeypatch.setattr(audit, "networks", SimpleNamespace(load=result.__getitem__))
        return audit.load("net.tflite", Path("net.keras"))

    int8, floating = known("0" * 64, shipped)
    assert floating.manifest is int8.manifest
    assert floating.manifest.temperature == 2
    other = replace(shipped, sha256="1" * 64)
    with pytest.raises(ModelError, match="was made from a network with 000"):
        known("0" * 64, other)
    assert known("", other)[1].sha256 == "1" * 64
    with pytest.raises(ModelError, match="the network it was made from"):
        known("", sided_network(("a", "b"), None))
    with pytest.raises(ModelError, match=r"give the \.tflite"):
        audit.load("net.keras", None)


@pytest.mark.parametrize("module", ["matplotlib", "sklearn"])
def test_a_missing_package_is_said_before_anything_else(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "find_spec", lambda name: None if name == module else object())
    assert audit.main(["huge", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert f"needs {audit.EXTRAS[module]}: pip install 'covidnet-lite[training]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [(["huge"], "no such model"), (["huge", "--publish"], "--publish: huge is no shipped network")],
)
def test_a_missing_model_is_said_in_one_line(
    given: list[str], message: str, chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main([*given, "--data", str(chests), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err


def test_the_tables_are_published_for_a_shipped_network(
    manifests: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = sided_network()
    for name, kind in (("README", "summary"), ("CARD", "audit")):
        path = tmp_path / f"{name}.md"
        path.write_text(f"before\n\n<!-- {kind} sided sha256:old -->\n\nold\n\n<!-- /{kind} -->\n\nafter\n")
        monkeypatch.setattr(audit, name, path)
    monkeypatch.setattr(audit, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(audit.model, "shipped", lambda: ["sided"])
    monkeypatch.setattr(audit, "load", lambda name, floating: (shipped, None))
    given = ["sided", "--data", *map(str, manifests), "--out", str(tmp_path / "out"), "--publish"]
    assert audit.main(given) == 0
    figures = json.loads((tmp_path / "sided.audit.json").read_text())
    assert figures == json.loads((tmp_path / "out/audit.json").read_text())
    assert (tmp_path / "README.md").read_text() == f"before\n\n{audit_table.summary(figures)}\n\nafter\n"
    assert (tmp_path / "CARD.md").read_text() == f"before\n\n{audit_table.card(figures)}\n\nafter\n"
    assert (tmp_path / "out/operating_curve.png").is_file()
    assert capsys.readouterr().out == (tmp_path / "out/audit.md").read_text() + "\n"
