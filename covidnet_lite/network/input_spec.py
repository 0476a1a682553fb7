"""The input of a network: its size, its normalisation and its colours."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field
from typing import Any

COLOURS = ("gray", "rgb", "bgr")


@dataclass(frozen=True)
class InputSpec:
    """How to prepare an image for a network.

    Attributes:
        height, width: pixels.
        channels: 1, or 3 for a network that expects three colours, or a gray image three times.
        mean, std: per channel in the network's order, in levels of 0 to 255; the network sees
            ``(level - mean) / std``.
        equalise: whether gray levels are equalised first (see :func:`covidnet_lite.network.preprocess.equalisation`).
        lungs: a ``.tflite`` that finds the lungs, to which the radiograph is cropped (see
            :mod:`covidnet_lite.network.lungs`); empty where the network sees all of it.
        colour: ``gray``, or the order in which the network takes three colours, ``rgb`` or ``bgr``.
    """

    height: int
    width: int
    channels: int = 1
    mean: tuple[float, ...] = (127.0,)
    std: tuple[float, ...] = (128.0,)
    equalise: bool = False
    lungs: bytes = field(default=b"", repr=False)
    colour: str = "gray"

    def __post_init__(self) -> None:
        if type(self.height) is not int or type(self.width) is not int or min(self.height, self.width) < 1:
            raise ValueError(f"height and width must be positive whole numbers, not {self.height} x {self.width}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} needs one value per channel ({self.channels})")
            if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in getattr(self, name)):
                raise ValueError(f"{name} must be finite numbers, not {getattr(self, name)}")
        if not all(1e-6 < std < 1e9 for std in self.std):
            raise ValueError(f"std must be positive, not {self.std}")
        if not isinstance(self.lungs, bytes):
            raise ValueError(f"lungs must be the bytes of a .tflite, not {type(self.lungs).__name__}")
        if self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}, not {self.colour!r}")
        if self.in_colour and (self.channels != 3 or self.equalise or self.lungs):
            raise ValueError(
                f"colour {self.colour} needs 3 channels, and neither equalise nor lungs, which are for gray radiographs"
            )

    @property
    def in_colour(self) -> bool:
        """Whether the network sees the colours of a colour image."""
        return self.colour != "gray"

    @property
    def at_least(self) -> tuple[int, int]:
        """``(width, height)`` below which a radiograph must not be reduced before it is fitted.

        The lungs take about seven tenths of a radiograph's side: with fewer pixels, the crop would be enlarged.
        """
        share = 0.7 if self.lungs else 1.0
        return math.ceil(self.width / share), math.ceil(self.height / share)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON; the network that finds the lungs as its SHA-256."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        del values["lungs"]
        if not self.in_colour:  # older readers know gray networks only
            del values["colour"]
        return {**values, "lungs": hashlib.sha256(self.lungs).hexdigest()} if self.lungs else values

    @classmethod
    def from_dict(cls, fields: dict[str, Any], lungs: bytes = b"") -> InputSpec:
        """The reverse of :meth:`to_dict`; ``lungs`` is the network that finds them, which is stored elsewhere.

        Raises:
            ValueError, TypeError: a field is unknown, missing or out of range, or ``lungs`` is another network.
        """
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        if values.pop("lungs", "") != (hashlib.sha256(lungs).hexdigest() if lungs else ""):
            raise ValueError("the network that finds the lungs is missing, or is another than was named")
        return cls(**values, lungs=lungs)
