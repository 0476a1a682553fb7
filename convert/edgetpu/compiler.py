"""Runs Coral's ``edgetpu_compiler`` where it is installed, reads its log, and gives the result its manifest."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from convert.edgetpu.lint import COMPILED, COMPILER
from convert.tflite_file.flatbuffer import portable, read
from covidnet_lite import files
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.manifest import seal
from covidnet_lite.network.model import Model


@dataclass(frozen=True)
class Log:
    """What ``edgetpu_compiler`` printed.

    Attributes:
        succeeded: whether it says that it made a model.
        failure: the line that says why not.
        version: of the compiler.
        edge_tpu, cpu: how many operations run where; ``None`` where the log does not say.
        on_chip, off_chip: bytes of parameters kept on the chip and streamed to it at each inference.
        operations: name, count and status of the operations.
    """

    succeeded: bool
    failure: str
    version: str
    edge_tpu: int | None
    cpu: int | None
    on_chip: int | None
    off_chip: int | None
    operations: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class Compilation:
    """A model compiled for the Edge TPU.

    Attributes:
        data: the file, sealed with the manifest of the model it was made from.
        log: what the compiler said.
        printed: its text.
    """

    data: bytes
    log: Log
    printed: str

    def write(self, path: Path) -> Path:
        """Writes the file and, beside it, the compiler's log.

        Raises:
            OutputError: they cannot be written.
        """
        files.write(path.with_suffix(".log"), self.printed)
        return files.write(path, self.data)


def name_beside(path: Path) -> Path:
    """Where the compiled form of a model goes: ``NAME_edgetpu.tflite``, as the compiler itself calls it."""
    return path.with_name(f"{path.stem}_edgetpu.tflite")


def compile_if_installed(model: Model) -> Compilation | None:
    """Compiles a model where the compiler is installed, and elsewhere says in one line that it is not.

    Raises:
        ConversionError: as for :func:`compile_model`.
    """
    if shutil.which(COMPILER) is None:
        print(f"{COMPILER} is not installed, so there is no {name_beside(model.path).name}; the int8 file is complete")
        return None
    return compile_model(model)


def compile_model(model: Model, timeout_sec: int = 180) -> Compilation:
    """Compiles an int8 model; the result keeps its manifest.

    Args:
        model: the model.
        timeout_sec: after so many seconds the compiler gives up.

    Raises:
        ConversionError: the compiler is not installed, fails, takes too long, or maps nothing.
    """
    path = model.path
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise ConversionError(
            f"{COMPILER} is not installed. It runs on x86-64 Linux only and comes from Coral's own apt repository "
            "(package edgetpu-compiler); Coral is at the end of its life, so that may be gone. "
            "Without it the int8 .tflite is complete: it runs on any CPU"
        )
    source = portable(model.data, str(path))
    with tempfile.TemporaryDirectory(prefix="covidnet-lite-") as folder:
        model_path = Path(folder) / f"{path.stem}.tflite"
        model_path.write_bytes(source)
        printed = _run(compiler, model_path, timeout_sec)
        compiled_path = name_beside(model_path)
        compiled = compiled_path.read_bytes() if compiled_path.is_file() else b""
    log = parse_log(printed)
    if not log.succeeded or not compiled:
        why = log.failure or ("it wrote no model" if not compiled else "its log does not say that it succeeded")
        raise ConversionError(f"{path}: {COMPILER} failed: {why}; its log ends:\n{printed.strip()[-1500:]}")
    before, after = read(source, str(path)), read(compiled, compiled_path.name)
    if log.edge_tpu == 0 or not any(node.name == COMPILED for node in after.nodes):
        raise ConversionError(
            f"{path}: {COMPILER} mapped no operation to the Edge TPU; covidnet-lite convert --edgetpu lists why"
        )
    names = [t.name for t in after.outputs]
    signature = [(t.name, t.shape, t.type) for t in before.inputs]
    if signature != [(t.name, t.shape, t.type) for t in after.inputs] or {t.name for t in before.outputs} != {*names}:
        raise ConversionError(
            f"{path}: {COMPILER} changed its inputs or outputs, so its manifest does not fit any more"
        )
    manifest = replace(
        model.manifest,
        outputs={key: names.index(before.outputs[i].name) for key, i in model.manifest.outputs.items()},
        provenance={
            **model.manifest.provenance,
            "edgetpu": {"compiler": log.version, "edge_tpu": log.edge_tpu, "cpu": log.cpu},
        },
    )
    return Compilation(seal(compiled, manifest), log, printed)


def _run(compiler: str, model_path: Path, timeout_sec: int) -> str:
    """All that the compiler says about a file, on its output and in its log; the results lie beside the file."""
    command = [compiler, "--out_dir", str(model_path.parent), "--show_operations", "--timeout_sec", str(timeout_sec)]
    output_path = model_path.with_suffix(".out")
    try:
        with output_path.open("wb") as sink:
            process = subprocess.Popen(
                [*command, str(model_path)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )
            try:
                # It watches the time itself; this is for when it does not.
                process.wait(timeout_sec * 1.2 + 1)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # it works in a child of its own
                    process.wait()
    except subprocess.TimeoutExpired:
        raise ConversionError(
            f"{model_path.name}: {COMPILER} was stopped after {timeout_sec} seconds; "
            "allow it more time or use a smaller network"
        ) from None
    except OSError as error:
        raise ConversionError(f"{compiler}: cannot be run ({error.strerror or error}); install it again") from error
    log = model_path.with_name(f"{model_path.stem}_edgetpu.log")
    texts = [p.read_text(errors="replace").strip() for p in (output_path, log) if p.is_file()]
    return "\n".join(dict.fromkeys(t for t in texts if t)) + "\n"


_FAILURES = (
    "Compilation failed",
    "Internal compiler error",
    "Invalid model",
    "Model not quantized",
    "could not be parsed",
)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_log(text: str) -> Log:
    """Reads what ``edgetpu_compiler`` printed, of any version."""
    lines = [line.strip() for line in text.splitlines()]
    failures = [line for line in lines if any(mark in line for mark in _FAILURES) or line.startswith("ERROR:")]
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    rows = re.findall(r"^([\w-]+) +(\d+) +(\S.*?) *$", text, re.MULTILINE)
    operations = tuple(dict.fromkeys((name, int(count), status) for name, count, status in rows))
    total = _number(text, "Total number of operations")
    edge_tpu = _number(text, "Number of operations that will run on Edge TPU")
    cpu = _number(text, "Number of operations that will run on CPU")
    if edge_tpu is None and operations:
        mapped = [count for _, count, status in operations if status.startswith("Mapped to")]
        edge_tpu = sum(mapped)
        cpu = sum(count for _, count, _ in operations) - edge_tpu
    if edge_tpu is not None and cpu is None and total is not None:
        cpu = total - edge_tpu
    succeeded = any(mark in text for mark in ("Compilation succeeded!", "Model compiled successfully"))
    failed = any(mark in text for mark in _FAILURES)
    return Log(
        succeeded and not failed,
        "; ".join(dict.fromkeys(failures)) if failed or not succeeded else "",
        version.group(1) if version else "",
        edge_tpu,
        cpu,
        _size(text, "On-chip memory used for caching model parameters"),
        _size(text, "Off-chip memory used for streaming uncached model parameters"),
        operations,
    )


def _number(text: str, caption: str) -> int | None:
    match = re.search(rf"{caption}: *(\d+)", text)
    return int(match.group(1)) if match else None


def _size(text: str, caption: str) -> int | None:
    match = re.search(rf"{caption}: *([\d.]+) *([KMG]iB|B)", text)
    return round(float(match.group(1)) * _UNITS[match.group(2)]) if match else None
