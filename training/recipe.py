"""A recipe: everything that decides how a network turns out, in one TOML file."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from covidnet_lite.errors import DatasetError
from training.augment import Strength

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class QuantisationAware:
    """The second stage: fine-tuning with int8 arithmetic imitated. ``epochs`` 0 leaves it out."""

    epochs: int = 5
    learning_rate: float = 1e-4
    consistency: float = 20.0  # weight of the imitations' agreement beside their likeness to the teacher
    calibration_images: int = 256


@dataclass(frozen=True)
class Readout:
    """A linear classifier on layers that keep their weights, in place of fine-tuning; see readout.py.

    ``layers`` are those whose mean outputs it sees; none leaves it out.
    """

    layers: tuple[str, ...] = ()
    variants: int = 5  # augmented ones of each film
    ridge: float = 0.1
    alignment: float = 3.0
    align: tuple[str, ...] = ()  # labels that shall look alike in all their sources


@dataclass(frozen=True)
class Recipe:
    """See ``training/recipes/`` for examples; every key of the TOML file is a field here."""

    name: str
    backbone: str
    labels: tuple[str, ...]
    version: str = ""
    licence: str = ""  # of the weights, which follows from the images they saw
    ignore: tuple[str, ...] = ()  # labels of images to leave out
    exclude_sources: tuple[str, ...] = ()
    exclude_licences: tuple[str, ...] = ()  # images whose licence, as the manifest tells it, has one of these words
    weights: str = "imagenet"
    blocks: int | None = None  # of an EfficientNet-Lite, only the first so many
    side: int | None = None
    equalise: bool = True
    lungs: bool = False  # whether radiographs are cropped to the lungs; see locate_lungs.py
    decode_side: int = 320
    seed: int = 2020
    epochs: int = 24
    patience: int = 8  # epochs without a better validation loss before it ends; not where epochs are averaged
    batch_size: int = 32
    learning_rate: float = 5e-4
    warmup_epochs: float = 2.0
    weight_decay: float = 1e-4
    dropout: float = 0.3
    freeze: str = ""  # layers up to this one keep their ImageNet weights while the float network is trained
    average: int = 0  # of so many last epochs the mean weights are kept, instead of those of the best epoch
    label_smoothing: float = 0.05
    balance: float = 0.5
    source_weights: dict[str, float] = field(default_factory=dict)
    augment: Strength = field(default_factory=Strength)
    readout: Readout = field(default_factory=Readout)
    quantisation_aware: QuantisationAware = field(default_factory=QuantisationAware)


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        DatasetError: the file is missing, is no TOML, or has an unknown or missing key.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        given.setdefault("name", path.stem)
        return _build(Recipe, given, "")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such recipe; those that come along are in training/recipes") from None
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise DatasetError(f"{path}: {error}") from error


def _build(cls: Any, given: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise TypeError(f"unknown key {where}{unknown[0]}; known are {', '.join(sorted(known))}")
    nested = {"augment": Strength, "readout": Readout, "quantisation_aware": QuantisationAware}
    values = {
        key: _build(nested[key], value, f"{key}.") if key in nested
        else tuple(value) if isinstance(value, list)
        else value
        for key, value in given.items()
    }  # fmt: skip
    return cls(**values)
