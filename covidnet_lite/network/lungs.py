"""The view: the part of a radiograph that a network sees, cropped to the lungs.

What lies around the lungs reveals the hospital rather than the disease: the field of view, the frame, letters, arms, a
child's head. A network may carry a second, far smaller one that finds the box around both lungs; the radiograph is
then cropped to it before anything else.

That network is a ``.tflite`` like any other, whose four outputs are the sides of
the box.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..box import WHOLE, Box
from ..errors import ModelError
from .input_spec import InputSpec
from .interpreter import Interpreter
from .model import verify
from .preprocess import prepare

SIDES = ("left", "top", "right", "bottom")
MARGIN = 0.04  # of the box, on each side
MIN_SIDE = 0.25  # of the image; a smaller box cannot be both lungs
STEPS = 1024  # of a side of the image; processors differ in the last bits, the crop hardly ever


def view(image: Image.Image, spec: InputSpec, runtime: str | None = None) -> Box:
    """The part of a gray image that a network sees: all of it, or the lungs."""
    return find(image, spec.lungs, runtime) if spec.lungs else WHOLE


def find(image: Image.Image, finder: bytes, runtime: str | None = None, margin: float = MARGIN) -> Box:
    """The box around both lungs of an 8-bit gray image, in fractions of its sides.

    Args:
        image: of any size.
        finder: the bytes of the ``.tflite`` that finds them.
        runtime: as for :class:`covidnet_lite.Classifier`.
        margin: added on each side, as a share of the box.

    Returns:
        The box; the whole image where the box is too small for both lungs, or a side is not a number.

    Raises:
        ModelError, BackendError: the finder cannot be used.
    """
    sides = _load(finder, runtime, os.getpid()).sides(image)
    if not np.isfinite(sides).all():
        return WHOLE
    left, top, right, bottom = (round(float(side) * STEPS) / STEPS for side in sides)
    dx, dy = margin * (right - left), margin * (bottom - top)
    box = max(0.0, left - dx), max(0.0, top - dy), min(1.0, right + dx), min(1.0, bottom + dy)
    return box if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE else WHOLE


def lung_box(view: Box, margin: float = MARGIN) -> Box:
    """The lung box within a view that :func:`find` returned, in fractions of that view.

    A side of the view that is a side of the image has no margin: the lungs reach that far, or were not found, so that
    the view is the whole image.
    """
    box = []
    for low, high in (view[::2], view[1::2]):
        before, after = margin * (low > 0), margin * (high < 1)
        box.append((before / (1 + before + after), (1 + before) / (1 + before + after)))
    (left, right), (top, bottom) = box
    return left, top, right, bottom


def load_finder(spec: InputSpec, runtime: str | None, name: str) -> None:
    """Loads the network that finds the lungs, if a network carries one, so that an error shows at once.

    Args:
        spec: of the network that carries it.
        runtime: as for :class:`covidnet_lite.Classifier`.
        name: of the network that carries it, for errors.

    Raises:
        ModelError, BackendError: the finder cannot be used.
    """
    if not spec.lungs:
        return
    try:
        _load(spec.lungs, runtime, os.getpid())
    except ModelError as error:
        raise ModelError(f"{name}: the network in it that finds the lungs cannot be used: {error}") from error


@dataclass(frozen=True, eq=False)
class _Finder:
    """The network that finds the lungs, for several threads.

    Attributes:
        interpreter: that runs it.
        spec: its input.
        position: of the output with the sides of the box.
    """

    interpreter: Interpreter
    spec: InputSpec
    position: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sides(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """``(4,)``: left, top, right and bottom, in fractions of the image's sides."""
        values = prepare(image, self.spec, WHOLE).values(self.interpreter.tables)
        with self._lock:
            outputs = self.interpreter.run(values)
        return np.asarray(self.interpreter.dequantise(self.position, outputs[self.position])[0])


@lru_cache(maxsize=4)
def _load(finder: bytes, runtime: str | None, pid: int) -> _Finder:
    """``pid`` because a lock that another thread holds when a process forks is never released in the child."""
    model = verify(finder, Path("lungs.tflite"))
    manifest = model.manifest
    if manifest.labels != SIDES or manifest.input.lungs:
        raise ModelError(f"lungs.tflite: has the outputs {', '.join(manifest.labels)}, not {', '.join(SIDES)}")
    # One thread: it finishes before a second one would have started.
    return _Finder(Interpreter(model, runtime, threads=1), manifest.input, manifest.outputs["logits"])
