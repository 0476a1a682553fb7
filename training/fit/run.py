"""One run of a recipe: what it learns from, and where it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covidnet_lite.network.input_spec import InputSpec
from training.fit.recipe import Recipe
from training.fit.split import Split


@dataclass(frozen=True, eq=False)
class Run:
    """What both stages of a training need.

    Attributes:
        recipe: how it trains.
        spec: what the network expects as input.
        splits: the decoded radiographs, under ``train`` and ``val``.
        folder: where the stages keep their epochs and the table of them.
        log: takes a line for whoever waits.
    """

    recipe: Recipe
    spec: InputSpec
    splits: dict[str, Split]
    folder: Path
    log: Callable[[str], None]

    @property
    def table(self) -> Path:
        """The CSV file with a row for each epoch."""
        return self.folder / f"{self.recipe.name}.csv"
