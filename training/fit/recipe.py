"""A recipe: everything that decides how a network turns out, in one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from covidnet_lite import toml_file
from covidnet_lite.errors import DatasetError
from training.data.augmentation import Strength
from training.data.supervision import Source


@dataclass(frozen=True)
class QuantisationAware:
    """The second stage: fine-tuning with int8 arithmetic imitated. ``epochs`` 0 leaves it out."""

    epochs: int = 5
    steps: int = 0  # batches in an epoch; 0 for all
    learning_rate: float = 1e-4
    consistency: float = 20.0  # weight of the imitations' agreement beside their likeness to the teacher
    map_weight: float = 0.5  # of the evidence map beside the logits, in both
    calibration_images: int = 256
    mixed: bool = False  # half of each batch are mixtures of two radiographs


@dataclass(frozen=True)
class Soup:
    """Runs that go on from the first stage's last network, each with batches in another order.

    The mean of their weights is kept (Wortsman et al., "Model soups", ICML 2022). ``runs`` 0 leaves it out.
    """

    runs: int = 0
    epochs: int = 3  # of each
    learning_rate: float = 1.5e-4
    head_rate: float = 2.0


@dataclass(frozen=True)
class Recipe:
    """See ``training/recipes/`` for examples; every key of the TOML file is a field here."""

    __pydantic_config__: ClassVar[ConfigDict] = toml_file.STRICT

    name: str
    backbone: str
    labels: tuple[str, ...]  # the first is the one without a finding
    version: str = ""
    licence: str = ""  # of the weights, which follows from the radiographs they saw
    ignore: tuple[str, ...] = ()  # labels of radiographs to leave out
    sources: dict[str, Source] = field(default_factory=dict)  # what each source teaches; none: every label is a class
    weights: str = "imagenet"
    blocks: int | None = None  # of an EfficientNet-Lite, only the first so many
    taps: tuple[str, ...] = ()  # layers that the head sees; the first has the map's stride; none: the backbone's output
    side: int | None = None
    equalise: bool = True
    lungs: bool = False  # whether radiographs are cropped to the lungs; see locate_lungs.py
    decode_side: int = 320
    seed: int = 2020
    seeds: int = 1  # networks trained in the first stage; together they teach the second, which begins as the last
    teachers: tuple[str, ...] = ()  # further .keras networks that teach the second stage, of the same input and map
    begin: str = ""  # a .keras network that the second stage begins as, with `seeds = 0`
    epochs: int = 8
    batch_size: int = 32  # where no source says what a batch holds
    learning_rate: float = 2e-4
    head_rate: float = 5.0  # of the layers that begin at random, as a multiple
    warmup_epochs: float = 0.5
    weight_decay: float = 1e-4
    dropout: float = 0.2
    freeze: str = ""  # layers up to this one keep their ImageNet weights in the first stage
    variants: int = 10  # of each radiograph, drawn once and for all, that the frozen layers see
    momentum: float = 0.998  # of the moving average of the weights that is kept
    label_smoothing: float = 0.05
    map_weight: float = 1.0  # of the drawn opacities beside the labels
    rank_weight: float = 0.3  # of the graded order beside the labels
    augment: Strength = field(default_factory=Strength)
    soup: Soup = field(default_factory=Soup)
    quantisation_aware: QuantisationAware = field(default_factory=QuantisationAware)


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        DatasetError: the file is missing, is no TOML, or has a key that is unknown, missing or of the wrong type.
    """
    try:
        return toml_file.build(Recipe, {"name": path.stem, **toml_file.read(path)})
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such recipe; those that come along are in training/recipes") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: {error}; training/fit/recipe.py lists every key") from error
