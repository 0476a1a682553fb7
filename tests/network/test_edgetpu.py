"""No Coral is at hand: the library is a made-up one (``fake_edgetpu.py``), the compiled networks are real where there are any."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_edgetpu import compiled_library
from tflites import as_compiled

from convert.tflite_file.flatbuffer import portable
from covidnet_lite import Classifier
from covidnet_lite.errors import BackendError
from covidnet_lite.network import edgetpu, model, signature
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.interpreter import Interpreter, installed_runtimes
from covidnet_lite.network.manifest import Manifest, seal

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def compiled(key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network, as the compiler would leave it."""
    base = model.load("base")
    path = tmp_path_factory.mktemp("compiled") / "base_edgetpu.tflite"
    path.write_bytes(seal(as_compiled(base.data), base.manifest))
    signature.sign(path.read_bytes(), path, key)
    return path


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a made-up library where the real one is looked for."""

    def put(behaviour: str = "") -> None:
        monkeypatch.setattr(edgetpu, "LIBRARY", str(compiled_library(tmp_path, behaviour)))

    return put


@pytest.fixture
def corals() -> dict[str, Path]:
    """Coral's own compiled networks."""
    folder = Path(os.environ.get("COVIDNET_LITE_PHOTOGRAPHS", ROOT.parent / "shared/data/coral"))
    paths = {path.name: path for path in folder.glob("*.tflite")}
    if not paths:
        pytest.skip(f"needs Coral's networks: none in {folder} (set COVIDNET_LITE_PHOTOGRAPHS)")
    return paths


def test_a_compiled_network_is_known_by_its_operation(compiled: Path, corals: dict[str, Path]) -> None:
    assert edgetpu.is_compiled(compiled.read_bytes())
    for name, path in corals.items():
        assert edgetpu.is_compiled(path.read_bytes()) == name.endswith("_edgetpu.tflite"), name


def test_a_text_that_speaks_of_the_operation_compiles_nothing() -> None:
    base = model.load("base")
    assert not edgetpu.is_compiled(base.data)
    card = {"card.md": b"holds no edgetpu-custom-op\0"}
    assert not edgetpu.is_compiled(seal(portable(base.data), base.manifest, card))


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_a_compiled_network_is_run_by_the_delegate(
    runtime: str, compiled: Path, plugged: Callable[[str], None]
) -> None:
    plugged("")
    network = Interpreter(model.load(compiled), runtime, threads=1)
    assert network.edgetpu
    values = np.arange(224 * 224, dtype=np.int64).astype(np.int8).reshape(network.input_shape)
    outputs = network.run(values)
    assert len(outputs) == 3
    for output in outputs:  # what the made-up device does: copy the input
        np.testing.assert_array_equal(output.ravel(), np.resize(values.ravel(), output.size))


def test_a_classifier_says_where_it_runs(compiled: Path, plugged: Callable[[str], None], film_png: Path) -> None:
    plugged("")
    classifier = Classifier(compiled)
    assert classifier.edgetpu
    prediction = classifier.classify(film_png)
    assert set(prediction.timings) == {"read", "fit", "run", "judge"}
    assert not Classifier().edgetpu


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant_edgetpu", "mobilenet_v1_0.5_160_quant_edgetpu"])
def test_networks_of_the_real_compiler_are_run_by_the_delegate(
    name: str, corals: dict[str, Path], plugged: Callable[[str], None]
) -> None:
    plugged("")
    side = int(name.split("_")[3])
    spec = InputSpec(side, side, 3, (128.0,) * 3, (128.0,) * 3)
    manifest = Manifest(name, tuple(f"label {i}" for i in range(1001)), spec)
    network = Interpreter(model.load(corals[f"{name}.tflite"], manifest), threads=1)
    values = np.random.default_rng(0).integers(0, 256, network.input_shape, np.uint8)
    (output,) = network.run(values)
    np.testing.assert_array_equal(output.ravel(), values.ravel()[:1001])


@pytest.mark.parametrize("device", ["usb", "usb:0", ":0"])
def test_a_device_can_be_named(device: str, compiled: Path, plugged: Callable[[str], None]) -> None:
    plugged("")
    assert Interpreter(model.load(compiled), threads=1, edgetpu=device).edgetpu


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_without_the_library_it_is_named(
    runtime: str, compiled: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edgetpu, "LIBRARY", "libedgetpu-is-not-here.so.1")
    with pytest.raises(BackendError, match=r"needs libedgetpu-is-not-here.so.1.*install libedgetpu"):
        Interpreter(model.load(compiled), runtime)
    assert "Exception ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_without_a_device_it_is_said_what_to_look_at(
    runtime: str, compiled: Path, plugged: Callable[[str], None]
) -> None:
    plugged("NO_DEVICE")
    with pytest.raises(BackendError, match=r"no Edge TPU can be opened .*plug it in"):
        Interpreter(model.load(compiled), runtime)


def test_a_device_that_is_not_there_is_named(compiled: Path, plugged: Callable[[str], None]) -> None:
    plugged("")
    with pytest.raises(BackendError, match="no Edge TPU 'usb:1' can be opened"):
        Interpreter(model.load(compiled), edgetpu="usb:1")


@pytest.mark.parametrize("device", ["", "gpu", "usb:", "usb:x", "pci:-1", "usb:0\n", 0])
def test_a_device_that_cannot_be_is_refused_without_looking_for_it(device: str, compiled: Path) -> None:
    with pytest.raises(BackendError, match="must be usb, pci, usb:N, pci:N or :N"):
        Interpreter(model.load(compiled), edgetpu=device)


def test_a_network_that_is_not_compiled_cannot_be_sent_there(plugged: Callable[[str], None]) -> None:
    plugged("")
    with pytest.raises(BackendError, match=r"base.tflite: is not compiled for the Edge TPU.*--edgetpu"):
        Classifier(edgetpu="usb")


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_a_library_that_leaves_the_operation_alone_is_suspected(
    runtime: str, compiled: Path, plugged: Callable[[str], None]
) -> None:
    plugged("IDLE")
    with pytest.raises(BackendError, match=r"unresolved custom op(.|\n)*is it made for this runtime"):
        Interpreter(model.load(compiled), runtime)


def test_a_device_pulled_out_is_an_error_of_its_own(compiled: Path, plugged: Callable[[str], None]) -> None:
    plugged("UNPLUGGED")
    network = Interpreter(model.load(compiled), threads=1)
    with pytest.raises(BackendError, match="still plugged in"):
        network.run(np.zeros(network.input_shape, network.input_dtype))


@pytest.mark.skipif(sys.platform != "linux", reason="puts the library on Linux's search path")
def test_the_benchmark_and_its_processes_run_there_too(compiled: Path, tmp_path: Path) -> None:
    result = compiled_library(tmp_path)
    command = [
        sys.executable,
        "-m",
        "covidnet_lite",
        "benchmark",
        "--model",
        compiled,
        "--rounds",
        "2",
        "--threads",
        "1",
    ]
    process = subprocess.run(
        [*command, "--submit", "--edgetpu", "usb"],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "LD_LIBRARY_PATH": str(result.parent)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (row,) = csv.DictReader(process.stdout.splitlines())
    assert (row["edgetpu"], row["threads"]) == ("yes", "1")
