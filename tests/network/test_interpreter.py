from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from covidnet_lite.errors import BackendError
from covidnet_lite.network import model
from covidnet_lite.network.interpreter import Interpreter, find_runtime, installed_runtimes
from covidnet_lite.runtimes import RUNTIMES


@pytest.fixture(scope="module")
def base() -> model.Model:
    return model.load("base")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:224, 0:224]
    smooth = [128 * np.sin(x / (10 + k)) * np.cos(y / (17 - k)) for k in range(6)]
    return [np.clip(s + rng.normal(0, 9, s.shape), -128, 127).astype(np.int8)[None, ..., None] for s in smooth]


def test_the_shipped_network_is_int8_from_end_to_end(base: model.Model, pictures: list[np.ndarray]) -> None:
    loaded = Interpreter(base)
    assert loaded.input_dtype == np.int8
    assert (loaded.input_scale, loaded.input_zero_point) == (1 / 128, -1)
    outputs = loaded.run(pictures[0])
    assert {o.dtype for o in outputs} == {np.dtype(np.int8)}
    shapes = {name: outputs[i].shape for name, i in base.manifest.outputs.items()}
    assert shapes == {"logits": (1, 3), "evidence": (1, 14, 14, 3), "embedding": (1, 304)}


def test_every_operator_of_the_shipped_network_works_on_integers(base: model.Model) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    graph = litert.Interpreter(model_content=base.data)
    graph.allocate_tensors()
    assert {np.dtype(t["dtype"]).name for t in graph.get_tensor_details()} == {"int8", "int32"}


@pytest.mark.parametrize(("runtime", "threads"), [("litert", 2), ("tensorflow", 1), ("tensorflow", 2)])
def test_threads_and_runtimes_give_the_same_bytes(
    base: model.Model, pictures: list[np.ndarray], runtime: str, threads: int
) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    reference, other = Interpreter(base, "litert", 1), Interpreter(base, runtime, threads)
    for picture in pictures:
        for a, b in zip(reference.run(picture), other.run(picture)):
            np.testing.assert_array_equal(a, b)


def test_tflite_runtime_agrees_within_a_few_steps(base: model.Model, pictures: list[np.ndarray]) -> None:
    if "tflite_runtime" not in installed_runtimes():
        pytest.skip("tflite_runtime is not installed")
    reference, other = Interpreter(base, "litert", 1), Interpreter(base, "tflite_runtime", 1)
    position = base.manifest.outputs["logits"]
    for picture in pictures:
        a, b = (i.run(picture)[position].astype(int) for i in (reference, other))
        assert np.abs(a - b).max() <= 12


def test_outputs_are_copies(base: model.Model, pictures: list[np.ndarray]) -> None:
    loaded = Interpreter(base)
    first = loaded.run(pictures[0])
    copies = [o.copy() for o in first]
    loaded.run(pictures[1])
    for a, b in zip(first, copies):
        np.testing.assert_array_equal(a, b)


def test_dequantising_follows_scale_and_zero_point(base: model.Model) -> None:
    loaded = Interpreter(base)
    position = base.manifest.outputs["logits"]
    scale, zero_point = loaded._outputs[position]["quantization"]
    real = loaded.dequantise(position, np.array([zero_point, zero_point + 10], np.int8))
    assert real == pytest.approx([0, 10 * scale])


def test_bad_arguments_are_named(base: model.Model) -> None:
    with pytest.raises(BackendError, match="'onnx' is none of litert"):
        Interpreter(base, "onnx")
    with pytest.raises(BackendError, match="1 or more"):
        Interpreter(base, threads=0)


def test_without_any_runtime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for runtime in RUNTIMES.values():
        module = runtime.module
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match="pip install ai-edge-litert"):
        find_runtime(None)
    with pytest.raises(BackendError, match="pip install tflite-runtime"):
        find_runtime("tflite_runtime")


def test_a_runtime_that_finds_no_folder_for_temporary_files_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def import_module(name: str) -> object:
        if name == "tensorflow":
            raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(BackendError, match="No usable temporary directory.*have TMPDIR name a folder"):
        find_runtime("tensorflow")
