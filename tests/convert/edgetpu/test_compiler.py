from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from network.test_model import BASE, flatbuffer
from tflites import as_compiled, fake_compiler, unpacked

from convert.edgetpu import compiler as edgetpu_compiler
from covidnet_lite.errors import ConversionError, ModelError
from covidnet_lite.network import model

# --- the compiler's log


HEAD = "Edge TPU Compiler version 16.0.384591198\nStarted a compilation timeout timer of 180 seconds.\n\n"
MADE = """Model compiled successfully in 412 ms.

Input model: base.tflite
Input size: 3.79MiB
Output model: base_edgetpu.tflite
Output size: 4.21MiB
On-chip memory used for caching model parameters: 3.73MiB
On-chip memory remaining for caching model parameters: 3.01MiB
Off-chip memory used for streaming uncached model parameters: 1.50KiB
Number of Edge TPU subgraphs: 1
Total number of operations: {total}
Operation log: base_edgetpu.log
"""
WHOLE = HEAD + MADE.format(total=61) + """See the operation log file for individual operation details.

Operator                       Count      Status

CONV_2D                        34         Mapped to Edge TPU
DEPTHWISE_CONV_2D              16         Mapped to Edge TPU
ADD                            9          Mapped to Edge TPU
MEAN                           2          Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""  # fmt: skip
PARTLY = HEAD + MADE.format(total=61) + """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will instead run on the CPU, which is slower.
Number of operations that will run on Edge TPU: 59
Number of operations that will run on CPU: 2

Operator                       Count      Status

CONV_2D                        34         Mapped to Edge TPU
DEPTHWISE_CONV_2D              16         Mapped to Edge TPU
ADD                            9          Mapped to Edge TPU
MEAN                           2          Operation is otherwise supported, but not mapped due to some unspecified limitation
Compilation child process completed within timeout period.
Compilation succeeded!
"""  # fmt: skip
NOTHING = (
    HEAD
    + MADE.format(total=61)
    + "Number of operations that will run on Edge TPU: 0\nNumber of operations that will run on CPU: 61\nCompilation succeeded!\n"
)
FAILED = HEAD + """ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'
ERROR: Registration failed.
Invalid model: /tmp/x/base.tflite
Model could not be parsed
Compilation child process completed within timeout period.
Compilation failed!
"""  # fmt: skip


def test_the_log_of_a_whole_success() -> None:
    log = edgetpu_compiler.parse_log(WHOLE)
    assert log.succeeded
    assert (log.failure, log.version, log.edge_tpu, log.cpu) == ("", "16.0.384591198", 61, 0)
    assert (log.on_chip, log.off_chip) == (round(3.73 * 2**20), 1536)
    assert log.operations[0] == ("CONV_2D", 34, "Mapped to Edge TPU")
    assert len(log.operations) == 4


def test_the_log_of_a_partial_success() -> None:
    log = edgetpu_compiler.parse_log(PARTLY)
    assert (log.succeeded, log.edge_tpu, log.cpu) == (True, 59, 2)
    assert "unspecified limitation" in log.operations[3][2]
    # The table alone tells as much.
    assert edgetpu_compiler.parse_log(PARTLY.replace("Number of operations", "#")) == log


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (FAILED, "version '6'"),
        (FAILED, "Model could not be parsed"),
        (HEAD + "Invalid model: x.tflite\nModel not quantized\n", "not quantized"),
        (HEAD + "Internal compiler error. Aborting! \n", "Internal compiler error"),
        (WHOLE.replace("succeeded!", "failed!"), "Compilation failed!"),
    ],
)
def test_the_log_of_a_failure(text: str, why: str) -> None:
    log = edgetpu_compiler.parse_log(text)
    assert not log.succeeded
    assert why in log.failure


def test_a_log_that_says_nothing_is_no_success() -> None:
    log = edgetpu_compiler.parse_log("")
    assert (log.succeeded, log.version, log.edge_tpu, log.cpu, log.on_chip, log.operations) == (
        False,
        "",
        None,
        None,
        None,
        (),
    )


# --- the compiler


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts an ``edgetpu_compiler`` on the path that says and writes what a test wants."""

    def install(*arguments: Any, **options: Any) -> Path:
        folder = fake_compiler(tmp_path / "bin", *arguments, **options)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return install


def compile_to(folder: Path, path: Path = BASE, timeout_sec: int = 180) -> tuple[edgetpu_compiler.Compilation, Path]:
    """Compiles and writes as convert/quantize.py does."""
    result = edgetpu_compiler.compile_model(model.load(path), timeout_sec)
    return result, result.write(edgetpu_compiler.name_beside(folder / path.name))


def test_the_result_keeps_the_manifest(compiler: Callable[..., Path], tmp_path: Path) -> None:
    fake = compiler(WHOLE, as_compiled(BASE.read_bytes()))
    result, path = compile_to(tmp_path / "out")
    assert path == tmp_path / "out/base_edgetpu.tflite"
    assert (result.log.edge_tpu, result.log.cpu) == (61, 0)
    assert path.with_suffix(".log").read_text() == WHOLE
    before, after = model.load(BASE), model.load(path)
    assert after.data.startswith(as_compiled(BASE.read_bytes()))
    facts = {**before.manifest.provenance, "edgetpu": {"compiler": "16.0.384591198", "edge_tpu": 61, "cpu": 0}}
    assert after.manifest.provenance == facts
    for field in ("name", "labels", "input", "outputs", "temperature", "threshold", "licence"):
        assert getattr(after.manifest, field) == getattr(before.manifest, field)
    assert (before.manifest.guard is None) == (after.manifest.guard is None)
    given = (fake / "given").read_bytes()
    assert not any(b.offset for b in unpacked(given).buffers)
    assert not zipfile.is_zipfile(io.BytesIO(given))
    assert "--show_operations --timeout_sec 180" in (fake / "arguments").read_text()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["base_edgetpu.log", "base_edgetpu.tflite"]


def test_outputs_in_another_order_are_found_again(compiler: Callable[..., Path], tmp_path: Path) -> None:
    compiler(PARTLY, as_compiled(BASE.read_bytes(), reverse=True))
    result, path = compile_to(tmp_path)
    assert (result.log.edge_tpu, result.log.cpu) == (59, 2)
    before, after = (model.load(p).manifest.outputs for p in (BASE, path))
    assert after == {name: len(before) - 1 - i for name, i in before.items()}


@pytest.mark.parametrize(
    ("log", "result", "code", "why"),
    [
        (FAILED, None, 0, "version '6'"),
        (FAILED, flatbuffer, 0, "Model could not be parsed"),
        (WHOLE, None, 0, "it wrote no model"),
        ("", lambda: as_compiled(BASE.read_bytes()), 0, "does not say that it succeeded"),
        ("Killed\n", None, 137, "it wrote no model"),
        (NOTHING, flatbuffer, 0, "mapped no operation"),
        (WHOLE, flatbuffer, 0, "mapped no operation"),
        (WHOLE, lambda: b"nonsense" * 9, 0, "is no TFLite file"),
        (WHOLE, lambda: as_compiled(BASE.read_bytes(), rename=True), 0, "changed its inputs or outputs"),
    ],
)
def test_a_failure_is_told_and_nothing_is_written(
    compiler: Callable[..., Path], tmp_path: Path, log: str, result: Callable[[], bytes] | None, code: int, why: str
) -> None:
    compiler(log, result() if result else None, code)
    with pytest.raises(ConversionError, match=why):
        compile_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_exit_code_alone_proves_nothing(compiler: Callable[..., Path], tmp_path: Path) -> None:
    compiler(WHOLE, as_compiled(BASE.read_bytes()), code=1)
    assert compile_to(tmp_path)[0].log.succeeded


def test_a_compiler_that_hangs_is_stopped_with_its_children(compiler: Callable[..., Path], tmp_path: Path) -> None:
    fake = compiler(WHOLE, before="(sleep 4; touch $here/late) & wait")
    start = time.monotonic()
    with pytest.raises(ConversionError, match="stopped after 0 seconds"):
        compile_to(tmp_path / "out", timeout_sec=0)
    assert time.monotonic() - start < 3.5
    time.sleep(max(0, start + 4.5 - time.monotonic()))
    assert not (fake / "late").exists()


def test_a_compiler_that_cannot_run_is_told(compiler: Callable[..., Path], tmp_path: Path) -> None:
    fake = compiler(WHOLE)
    (fake / "edgetpu_compiler").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(ConversionError, match="cannot be run"):
        compile_to(tmp_path / "out")


def test_no_compiler_is_told_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConversionError, match="not installed.*x86-64.*Coral.*runs on any CPU"):
        compile_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_without_manifest_is_not_compiled(compiler: Callable[..., Path], tmp_path: Path) -> None:
    compiler(WHOLE, as_compiled(BASE.read_bytes()))
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(flatbuffer())
    with pytest.raises(ModelError, match="no manifest"):
        compile_to(tmp_path / "out", bare)
