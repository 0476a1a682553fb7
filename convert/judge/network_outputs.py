"""What a ``.tflite`` puts out for many radiographs, to fit and to judge its answers on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.model import Model
from covidnet_lite.network.preprocess import look_up


def outputs(
    model: Model, pixels: npt.NDArray[np.uint8], runtime: str | None = None, threads: int | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Many fitted radiographs, ``(n, height, width)`` uint8 from :func:`covidnet_lite.fit.fit`, through one network.

    Returns each named output with ``n`` as its first dimension, dequantised.
    """
    interpreter = Interpreter(model, runtime, threads)
    rows: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in model.manifest.outputs}
    for image in pixels:
        raw = interpreter.run(look_up(interpreter.tables, image))
        for name, position in model.manifest.outputs.items():
            rows[name].append(interpreter.dequantise(position, raw[position])[0])
    return {name: np.stack(values) for name, values in rows.items()}
