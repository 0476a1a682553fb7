from __future__ import annotations

from pathlib import Path

import pytest
from fake_edgetpu import compiled_library

from covidnet_lite.machine import board, doctor
from covidnet_lite.network import edgetpu, model
from covidnet_lite.network.interpreter import installed_runtimes


def line(report: str, head: str) -> str:
    return next(line for line in report.splitlines() if line.startswith(head))


def test_every_network_is_tried_in_every_runtime() -> None:
    report = doctor.report()
    assert report.count("runs it") == len(model.shipped()) * len(installed_runtimes())
    for digest in model.shipped().values():
        assert digest in report
    for head in ("covidnet-lite", "board", "processor", "memory", "state", "system", "Python", "packages"):
        assert len(line(report, head).split(None, 1)) == 2, head


@pytest.fixture
def nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "shipped", dict)  # quick: only the Edge TPU is looked at


@pytest.mark.usefixtures("nothing_shipped")
def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgetpu, "LIBRARY", "libedgetpu-is-not-here.so.1")
    monkeypatch.setattr(board, "edge_tpu", lambda: ("USB 2-1",))
    text = line(doctor.report(), "Edge TPU")
    assert "USB 2-1" in text
    assert "cannot be loaded" in text


@pytest.mark.usefixtures("nothing_shipped")
@pytest.mark.parametrize(("behaviour", "says"), [("", "opens it"), ("NO_DEVICE", "no Edge TPU can be opened")])
def test_every_runtime_tries_to_open_it(
    behaviour: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgetpu, "LIBRARY", str(compiled_library(tmp_path, behaviour)))
    text = line(doctor.report(), "Edge TPU")
    assert text.count(says) == len(installed_runtimes())
    assert all(f"{runtime}: " in text for runtime in installed_runtimes())
