"""Which results of an answer go where: pure functions of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..prediction import Prediction
from .settings import Kind, Settings

Answer = Literal["positive", "negative", "unsure", "refused"]


def answer_of(prediction: Prediction) -> Answer:
    """What a prediction is to the settings; an answer of a network that names no negative class is positive."""
    if not prediction.labels:
        return "refused" if prediction.status == "refused" else "unsure"
    return "negative" if prediction.labels == (prediction.negative,) else "positive"


def kinds(settings: Settings, answer: Answer) -> dict[str, tuple[Kind, ...]]:
    """Destination -> what it gets of an answer."""
    return {name: getattr(settings.results_for(name), answer) for name in settings.everywhere}


def parcels(wanted: Mapping[str, tuple[Kind, ...]], files: Mapping[Kind, bytes]) -> dict[str, list[bytes]]:
    """Destination -> its DICOM files, of those that there are: a report, then a capture."""
    return {name: [data for kind, data in files.items() if kind in kinds] for name, kinds in wanted.items()}
