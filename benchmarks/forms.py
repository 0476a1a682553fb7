"""The same int8 network in the forms that peers take: ``.tflite`` as it is, ONNX, or with MediaPipe's ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.tflite_file import metadata
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.manifest import seal
from covidnet_lite.network.model import Model

CALIBRATION = 16  # images; enough for a latency, not for an accuracy


def tflite(network: Model, folder: Path) -> Path:
    """The file itself."""
    return network.path


def mediapipe(network: Model, folder: Path) -> Path:
    """With uint8 ends and three channels, which MediaPipe insists on; see docs/other_readers.md."""
    from benchmarks.mediapipe_variant import variant

    original = network.manifest
    three = replace(original.input, channels=3, mean=original.input.mean * 3, std=original.input.std * 3)
    manifest = replace(original, input=three, outputs={"logits": 0}, guard=None, extent=None)
    data = seal(metadata.attach(variant(network.data, original.outputs["logits"]), manifest), manifest)
    return _write(folder / "mediapipe.tflite", data)


def onnx(network: Model, folder: Path) -> Path:
    """By tf2onnx: int8 input and output, quantised and dequantised around each operation."""
    return _to_onnx(network, folder / "int8.onnx")


def onnx_static(network: Model, folder: Path) -> Path:
    """The same weights in float, quantised again by ONNX Runtime's own static quantisation."""
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain = _to_onnx(network, folder / "float.onnx", "--dequantize")
    input_name = InferenceSession(str(plain)).get_inputs()[0].name
    prepared, path = folder / "prepared.onnx", folder / "static.onnx"
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)  # all shapes are fixed
    spec, rng = network.manifest.input, np.random.default_rng(0)

    class Drawn(CalibrationDataReader):  # type: ignore[misc]
        """Pictures of all gray levels, some of them smooth, as int8."""

        remaining = CALIBRATION

        def get_next(self) -> dict[str, Any] | None:
            self.remaining -= 1
            coarse = 2 ** (self.remaining % 5)
            small = rng.integers(-128, 128, (spec.height // coarse + 1, spec.width // coarse + 1), np.int8)
            image = np.kron(small, np.ones((coarse, coarse), np.int8))[: spec.height, : spec.width]
            return {input_name: image[None, ..., None]} if self.remaining >= 0 else None

    quantize_static(str(prepared), str(path), Drawn(), quant_format=QuantFormat.QDQ, per_channel=True)
    return path


FORMS: dict[str, Callable[[Model, Path], Path]] = {
    "tflite": tflite,
    "mediapipe": mediapipe,
    "onnx": onnx,
    "onnx_static": onnx_static,
}


def _to_onnx(network: Model, path: Path, *options: str) -> Path:
    """By the command of tf2onnx's documentation, which also keeps TensorFlow out of this process."""
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(network.path), "--opset", "17"]
    result = subprocess.run([*command, "--output", str(path), *options], capture_output=True, text=True)
    if result.returncode:
        raise ConversionError(f"{network.path}: tf2onnx cannot convert it: {result.stderr.strip().splitlines()[-1]}")
    return path


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
