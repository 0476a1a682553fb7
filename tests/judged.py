"""Made-up readings and networks, for the tests of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covidnet_lite.dataset import LabelledImage
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.network.operating_point import OperatingPoint
from training.judge.audit_set import right_classes
from training.judge.network import Network
from training.judge.reading import Reading, read

LABELS = ("normal", "pneumonia", "covid")
POINT = OperatingPoint("normal", 0.6, 0.6, {"pneumonia": 0.8, "covid": 0.8}, inside_from=0.0)
MANIFEST = Manifest("made up", LABELS, InputSpec(32, 32), {"logits": 0, "evidence": 1}, operating_point=POINT)


def cases(label: str, count: int, source: str = "here", split: str = "test", **fields: str) -> list[LabelledImage]:
    """So many cases, each of a patient of its own."""
    return [
        LabelledImage(
            Path(f"{source}-{split}-{label}-{i}.png"), label, f"{source}-{split}-{label}-{i}", source, split, fields
        )
        for i in range(count)
    ]


def told(label: str, count: int, confidence: float = 0.9) -> list[list[float]]:
    """Probabilities that name a label so many times."""
    rest = (1 - confidence) / 2
    return [[confidence if name == label else rest for name in LABELS]] * count


def reading(
    films: Sequence[LabelledImage],
    probabilities: Any,
    evidence: Any = None,
    manifest: Manifest = MANIFEST,
    views: Any = None,
) -> Reading:
    """What a network with these probabilities, and this evidence ``(n, h, w, 3)``, says of films."""
    outputs = {
        "logits": np.log(np.asarray(probabilities, np.float32)),
        "views": np.tile(np.float32([0, 0, 1, 1]), (len(films), 1)) if views is None else np.asarray(views, np.float32),
    }
    if evidence is not None:
        outputs["evidence"] = np.asarray(evidence, np.float32)
    assert all(right_classes(case.label, manifest.labels) for case in films)
    return read(manifest, films, outputs)


def sided_network(labels: tuple[str, ...] = LABELS, point: OperatingPoint | None = POINT) -> Network:
    """A network that is the surer of its last label, the brighter the right lower lung is than the left."""
    side = 32

    def run(pictures: Any) -> dict[str, Any]:
        fields = pictures.reshape(len(pictures), 4, side // 4, 4, side // 4).mean(axis=(2, 4)) / 255
        brighter = fields[:, 2, 2] + fields[:, 2, 3] - fields[:, 2, 0] - fields[:, 2, 1]
        logits = np.zeros((len(pictures), len(labels)), np.float32)
        logits[:, -1] = 20 * (brighter - 0.1)
        evidence = np.zeros((*fields.shape, len(labels)), np.float32)
        evidence[..., -1] = fields
        return {"logits": logits, "evidence": evidence, "embedding": fields.reshape(len(pictures), -1)}

    manifest = Manifest(
        "sided", labels, InputSpec(side, side), {"logits": 0, "evidence": 1, "embedding": 2}, operating_point=point
    )
    return Network("0" * 64, manifest, run)
