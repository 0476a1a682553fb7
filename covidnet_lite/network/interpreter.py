"""LiteRT, tflite_runtime or TensorFlow behind one small class, with an Edge TPU where a network is compiled for it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BackendError, ModelError
from ..quiet import silent_creation
from ..runtimes import RUNTIMES
from .edgetpu import LIBRARY, OPERATION, check_device, delegate, is_compiled
from .model import Model
from .preprocess import input_tables

MAX_THREADS = 256  # runtimes crash when asked for more than the system gives


class Interpreter:
    """One network in one TFLite runtime. Not for several threads at once; :class:`Classifier` takes turns.

    Attributes:
        runtime: its name.
        edgetpu: whether an Edge TPU runs the network.
        input_shape: ``(1, height, width, channels)``.
        input_dtype, input_scale, input_zero_point: how a real value is stored there.
        tables: gray byte -> input value, ``(channels, 256)``; see
            :func:`covidnet_lite.network.preprocess.input_tables`.
    """

    def __init__(
        self, model: Model, runtime: str | None = None, threads: int | None = None, edgetpu: str | None = None
    ) -> None:
        """Loads a network; one compiled for the Edge TPU is run there, never elsewhere.

        Args:
            model: from :func:`covidnet_lite.network.model.load`.
            runtime: a key of :data:`covidnet_lite.runtimes.RUNTIMES`; ``None`` takes the first that is installed.
            threads: ``None`` for one a core, four at most.
            edgetpu: which one: ``usb``, ``pci``, ``usb:N``, ``pci:N`` or ``:N``; ``None`` for the first found.

        Raises:
            BackendError: the runtime is not installed or does not take the network; or the network is compiled for the
                Edge TPU and there is none; or ``edgetpu`` names one and the network is not compiled for it.
            ModelError: the network's graph contradicts its manifest.
        """
        if threads is not None and (type(threads) is not int or not 1 <= threads <= MAX_THREADS):
            raise BackendError(f"threads must be a whole number, 1 or more and {MAX_THREADS} at most, not {threads!r}")
        check_device(edgetpu)
        self.edgetpu = is_compiled(model.data)
        if edgetpu is not None and not self.edgetpu:
            raise BackendError(
                f"{model.path}: is not compiled for the Edge TPU, so no Edge TPU runs it; leave edgetpu out, or give "
                "the NAME_edgetpu.tflite that covidnet-lite convert --edgetpu makes"
            )
        self.runtime, module = find_runtime(runtime)
        threads = threads or min(4, available_cores())
        delegates = [delegate(module, edgetpu)] if self.edgetpu else None
        try:
            with silent_creation():
                self._interpreter = module.Interpreter(
                    model_content=model.data, num_threads=threads, experimental_delegates=delegates
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            advice = (
                f"; {LIBRARY} left {OPERATION} to it: is it made for this runtime?" if OPERATION in str(error) else ""
            )
            raise BackendError(f"{model.path}: {self.runtime} does not take this network ({error}){advice}") from error
        inputs, self._outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        check(model, inputs, self._outputs)
        (details,) = inputs
        self._input = details["index"]
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in details["shape"])
        self.input_dtype = np.dtype(details["dtype"])
        self.input_scale, self.input_zero_point = details["quantization"]
        self.tables = input_tables(model.manifest.input, self.input_dtype, self.input_scale, self.input_zero_point)

    def run(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """``input_shape`` of ``input_dtype`` -> every output, as stored, copied out of the arena.

        Raises:
            BackendError: the graph fails while it runs.
        """
        try:
            self._interpreter.set_tensor(self._input, values)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            advice = "see that the Edge TPU is still plugged in" if self.edgetpu else "convert it again"
            raise BackendError(f"{self.runtime} cannot run this network ({error}); {advice}") from error
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]

    def dequantise(self, position: int, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """``real = (q - zero_point) * scale``, float32; floats pass through."""
        scale, zero_point = self._outputs[position]["quantization"]
        if values.dtype.kind == "f":
            return values.astype(np.float32)
        return np.asarray((values.astype(np.float32) - zero_point) * np.float32(scale), np.float32)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_runtimes() -> list[str]:
    """Names of the runtimes that could be imported, without importing them."""
    from importlib.util import find_spec

    return [name for name, r in RUNTIMES.items() if find_spec(r.module.split(".")[0]) is not None]


def find_runtime(runtime: str | None) -> tuple[str, Any]:
    """Imports a runtime by its name, or the first installed.

    Raises:
        BackendError: the runtime is unknown or cannot be imported.
    """
    if runtime is not None and runtime not in RUNTIMES:
        raise BackendError(f"runtime {runtime!r} is none of {', '.join(RUNTIMES)}")
    failures = []
    for name in [runtime] if runtime else RUNTIMES:
        try:
            module = importlib.import_module(RUNTIMES[name].module)
            return name, getattr(module, "lite", module)  # TensorFlow keeps its interpreter in tf.lite
        except ImportError as error:
            failures.append(f"{name}: {error} (pip install {RUNTIMES[name].package})")
        except OSError as error:  # TensorFlow wants a folder for temporary files
            failures.append(f"{name}: {error} (have TMPDIR name a folder that can be written to)")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise BackendError(f"no TFLite runtime for Python {version}: {'; '.join(failures)}")


def check(model: Model, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Compares a graph with the manifest that claims to describe it.

    Raises:
        ModelError: they contradict each other.
    """
    manifest, spec = model.manifest, model.manifest.input

    def contradiction(message: str) -> ModelError:
        return ModelError(f"{model.path}: its manifest contradicts its graph: {message}; convert it again")

    if len(inputs) != 1:
        raise contradiction(f"the graph has {len(inputs)} inputs, not 1")
    shape = tuple(int(n) for n in inputs[0]["shape"])
    if shape != (1, spec.height, spec.width, spec.channels):
        raise contradiction(
            f"the graph takes {shape}, the manifest says (1, {spec.height}, {spec.width}, {spec.channels})"
        )
    if np.dtype(inputs[0]["dtype"]).name not in ("int8", "uint8", "int16", "float32"):
        raise contradiction(f"the graph takes {np.dtype(inputs[0]['dtype']).name}")
    for name, position in manifest.outputs.items():
        if not 0 <= position < len(outputs):
            raise contradiction(f"{name} is output {position} of {len(outputs)}")
    classes = len(manifest.labels)
    expected = {"logits": (2, classes), "evidence": (4, classes)}
    if manifest.guard is not None:
        if "embedding" not in manifest.outputs:
            raise contradiction("there is a guard, but no embedding")
        expected["embedding"] = (2, len(manifest.guard.mean))
    for name, (rank, last) in expected.items():
        if name in manifest.outputs:
            shape = tuple(int(n) for n in outputs[manifest.outputs[name]]["shape"])
            if len(shape) != rank or shape[-1] != last:
                raise contradiction(f"{name} has shape {shape}, but should have {rank} dimensions and end in {last}")
