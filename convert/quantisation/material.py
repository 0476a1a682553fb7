"""What a network is quantised with: the ranges of its activations, from images, from a file, or from itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantisation import activations, calibration, synthetic
from convert.quantisation.activations import Activations
from convert.source.network import FloatNetwork
from covidnet_lite.dataset import Case
from covidnet_lite.errors import ConversionError

SYNTHETIC = "synthetic"  # in place of a folder
MOST_SYNTHETIC = 2000  # pictures; more take memory and say no more
RECORDED = "recorded ranges"


@dataclass(frozen=True, eq=False)
class Material:
    """What a network can be quantised with.

    Attributes:
        activations: by layer.
        origin: where they come from, in words, for the manifest.
        pictures: fitted representative images, ``(n, height, width)`` uint8, or ``None`` where there are numbers only.
        rung, clip, wide, base: how the network was quantised when the numbers were recorded; see
            :mod:`convert.quantisation.ladder`.
    """

    activations: Activations
    origin: str
    pictures: npt.NDArray[np.uint8] | None = None
    rung: str = ""
    clip: str = ""
    wide: tuple[str, ...] = ()
    base: str = ""


def from_cases(network: FloatNetwork, chosen: Sequence[Case]) -> Material:
    """From representative images on disk.

    Raises:
        DatasetError: one cannot be read.
        ConversionError: the network cannot be run.
    """
    pictures = calibration.pixels(chosen, network.spec)
    return _of_pictures(network, pictures, f"{len(pictures)} representative images")


def from_npz(network: FloatNetwork, path: Path, count: int) -> Material:
    """From pictures in a NumPy archive; see :func:`convert.quantisation.calibration.read_npz`.

    Raises:
        DatasetError: it is no such archive.
    """
    pictures = calibration.read_npz(path, count, network.spec)
    return _of_pictures(network, pictures, f"{len(pictures)} representative images")


def from_itself(network: FloatNetwork, path: Path, count: int) -> Material:
    """From pictures that the network makes of its own statistics; see :mod:`convert.quantisation.synthetic`.

    Raises:
        ConversionError: there would be too many, or the statistics belong to another network.
    """
    if count > MOST_SYNTHETIC:
        raise ConversionError(f"--count: {count} synthetic pictures are too many; {MOST_SYNTHETIC} at most")
    made = synthetic.make(network.model, network.spec, count, statistics=synthetic.read_statistics(path))
    how = f"matching the statistics of {made.matched} layers" if made.matched else "no statistics to match"
    return _of_pictures(network, made.images, f"{len(made.images)} synthetic pictures, {how}")


def _of_pictures(network: FloatNetwork, pictures: npt.NDArray[np.uint8], origin: str) -> Material:
    return Material(activations.record(network, pictures), origin, pictures)


def read(path: Path) -> Material:
    """Reads what :func:`to_json` wrote, or a plain table ``{"layer": [low, high]}``.

    Raises:
        ConversionError: the file is missing or holds no ranges.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise ValueError("it is no table")
        table = given.get("activations", given)
        how: dict[str, Any] = given if table is not given else {}
        wide = tuple(str(layer) for layer in how.get("wide", ()))
        return Material(
            activations.from_table(table),
            str(how.get("calibration", RECORDED)),
            rung=str(how.get("rung", "")),
            clip=str(how.get("clip", "")),
            wide=wide,
            base=str(how.get("base", "")),
        )
    except FileNotFoundError:
        raise ConversionError(
            f"{path}: no such file of ranges; pass --calibration FOLDER to record them from images"
        ) from None
    except (ValueError, TypeError, AttributeError, KeyError, OSError, OverflowError, RecursionError) as error:
        raise ConversionError(f'{path}: holds no ranges ({error}); they look like {{"layer": [low, high]}}') from error


def to_json(material: Material, rung: str, clip: str, wide: Sequence[str], base: str = "") -> str:
    """A file for :func:`read`: numbers instead of images, and how they were used."""
    table = activations.to_table(material.activations)
    lines = ",\n".join(f"  {json.dumps(layer)}: {json.dumps(entry)}" for layer, entry in table.items())
    if not any(a.is_full for a in material.activations.values()):
        return "{\n" + lines.replace("  ", " ", 1).replace("\n  ", "\n ") + "\n}\n"
    facts = {"calibration": material.origin, "rung": rung, "clip": clip, "wide": list(wide)}
    facts |= {"base": base} if base else {}
    how = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items())
    return "{\n" + how + ' "activations": {\n' + lines + "\n }\n}\n"
