"""The TFLite runtimes (back ends) that can be used: one row each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Runtime:
    """A library with the interface of ``tf.lite.Interpreter``.

    Attributes:
        module: that has ``Interpreter``, or ``lite.Interpreter``.
        package: on PyPI.
    """

    module: str
    package: str


# In order of preference: LiteRT is as fast as TensorFlow's at a tenth of the memory;
# tflite_runtime has wheels for 32-bit Raspberry Pi OS.
RUNTIMES = {
    "litert": Runtime("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite_runtime": Runtime("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": Runtime("tensorflow", "tensorflow"),
}
