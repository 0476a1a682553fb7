"""Networks of PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from convert.source import network
from convert.source.scaling import PRESETS
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError, MissingExtraError

LABELS = ("a", "b", "c")


def load(path: Path) -> network.FloatNetwork:
    return network.load(path, LABELS, scaled=PRESETS["imagenet-torch"])


@pytest.mark.slow
def test_an_exported_program_answers_as_pytorch_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="networks of PyTorch need the extra torch")
    pytest.importorskip("onnxscript", reason="networks of PyTorch need the extra torch")
    nn = torch.nn
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1)]
    layers += [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    module = nn.Sequential(*layers, nn.Linear(8, 3)).eval()
    image: Any = torch.randn(1, 3, 32, 32)
    torch.export.save(torch.export.export(module, (image,)), tmp_path / "net.pt2")

    net = load(tmp_path / "net.pt2")

    interpreter = Interpreter(model_content=net.tflite)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image.permute(0, 2, 3, 1).numpy().copy())
    interpreter.invoke()
    result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert result == pytest.approx(module(image).detach().numpy(), abs=1e-5)
    editor = Editor(net.tflite)
    assert "TRANSPOSE" not in {editor.kind(o) for o in editor.operators}
    assert net.spec.colour == "rgb"
    assert np.ptp(result) > 1e-2


def test_a_damaged_program_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="networks of PyTorch need the extra torch")
    pytest.importorskip("onnxscript", reason="networks of PyTorch need the extra torch")
    (tmp_path / "net.pt2").write_bytes(b"no program")

    with pytest.raises(ConversionError, match=r"PyTorch cannot load it .*torch\.export\.save"):
        load(tmp_path / "net.pt2")


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_pickle_is_not_run(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"net{suffix}").write_bytes(b"")

    with pytest.raises(ConversionError, match=r"a stranger's code, which is not run; .*torch\.export\.save"):
        load(tmp_path / f"net{suffix}")


def test_the_extra_is_named_where_pytorch_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.pt2").write_bytes(b"")
    for name in ("torch", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(MissingExtraError, match=r"covidnet-lite\[torch\]"):
        load(tmp_path / "net.pt2")
