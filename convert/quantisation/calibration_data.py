"""What a network is quantised with: the ranges of its activations, from images, from a file, or from itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantisation import activations, representative_images, synthetic
from convert.quantisation.activations import Activations
from convert.source.network import FloatNetwork
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import ConversionError

SYNTHETIC = "synthetic"  # in place of a folder
MAX_SYNTHETIC = 2000  # images; more take memory and improve nothing
RECORDED = "recorded ranges"


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """What a network can be quantised with.

    Attributes:
        activations: by layer.
        origin: where they come from, in words, for the manifest.
        images: fitted representative images, ``(n, height, width)`` uint8, or ``None`` where there are numbers only.
        fallback, clip, wide, base: how the network was quantised when the numbers were recorded; see
            :mod:`convert.quantisation.fallbacks`.
    """

    activations: Activations
    origin: str
    images: npt.NDArray[np.uint8] | None = None
    fallback: str = ""
    clip: str = ""
    wide: tuple[str, ...] = ()
    base: str = ""


def from_cases(network: FloatNetwork, cases: Sequence[LabelledImage]) -> CalibrationData:
    """From representative images on disk.

    Raises:
        DatasetError: one cannot be read.
        ConversionError: the network cannot be run.
    """
    images = representative_images.pixels(cases, network.spec)
    return _from_images(network, images, f"{len(images)} representative images")


def from_npz(network: FloatNetwork, path: Path, count: int) -> CalibrationData:
    """From images in a NumPy archive; see :func:`convert.quantisation.representative_images.read_npz`.

    Raises:
        DatasetError: it is no such archive.
    """
    images = representative_images.read_npz(path, count, network.spec)
    return _from_images(network, images, f"{len(images)} representative images")


def from_network(network: FloatNetwork, path: Path, count: int) -> CalibrationData:
    """From images made from the network's own statistics; see :mod:`convert.quantisation.synthetic`.

    Raises:
        ConversionError: there would be too many, or the statistics belong to another network.
    """
    if count > MAX_SYNTHETIC:
        raise ConversionError(f"--count: {count} synthetic images are too many; {MAX_SYNTHETIC} at most")
    result = synthetic.make(network.model, network.spec, count, statistics=synthetic.read_statistics(path))
    description = f"matching the statistics of {result.matched} layers" if result.matched else "no statistics to match"
    # No class is sure on them: logits that real images reach would be cut off.
    recorded = activations.record(network, result.images, narrow_logits=False)
    return CalibrationData(recorded, f"{len(result.images)} synthetic images, {description}", result.images)


def _from_images(network: FloatNetwork, images: npt.NDArray[np.uint8], origin: str) -> CalibrationData:
    return CalibrationData(activations.record(network, images), origin, images)


def read(path: Path) -> CalibrationData:
    """Reads what :func:`to_json` wrote, or a plain table ``{"layer": [low, high]}``.

    Raises:
        ConversionError: the file is missing or holds no ranges.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(contents, dict):
            raise ValueError("it is no table")
        table = contents.get("activations", contents)
        fields: dict[str, Any] = contents if table is not contents else {}
        wide = tuple(str(layer) for layer in fields.get("wide", ()))
        return CalibrationData(
            activations.from_table(table),
            str(fields.get("calibration", RECORDED)),
            fallback=str(fields.get("rung", "")),
            clip=str(fields.get("clip", "")),
            wide=wide,
            base=str(fields.get("base", "")),
        )
    except FileNotFoundError:
        raise ConversionError(
            f"{path}: no such file of ranges; pass --calibration FOLDER to record them from images"
        ) from None
    except (ValueError, TypeError, AttributeError, KeyError, OSError, OverflowError, RecursionError) as error:
        raise ConversionError(f'{path}: holds no ranges ({error}); they look like {{"layer": [low, high]}}') from error


def to_json(data: CalibrationData, fallback: str, clip: str, wide: Sequence[str], base: str = "") -> str:
    """A file for :func:`read`: numbers instead of images, and how they were used."""
    table = activations.to_table(data.activations)
    lines = ",\n".join(f"  {json.dumps(layer)}: {json.dumps(entry)}" for layer, entry in table.items())
    if not any(a.is_full for a in data.activations.values()):
        return "{\n" + lines.replace("  ", " ", 1).replace("\n  ", "\n ") + "\n}\n"
    facts = {"calibration": data.origin, "rung": fallback, "clip": clip, "wide": list(wide)}
    facts |= {"base": base} if base else {}
    header = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items())
    return "{\n" + header + ' "activations": {\n' + lines + "\n }\n}\n"
