"""Demonstration: a real radiograph, its answer and its evidence map.

    python examples/demo.py [FOLDER]

The radiograph is RG1_UNCR.dcm from the PyPI package pydicom-data (MIT): PA
chest, 15 bit, MONOCHROME1.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

import covidnet_lite
from covidnet_lite import files
from covidnet_lite.percent import percent
from covidnet_lite.prediction import DISCLAIMER


def radiograph() -> Path:
    """Where pydicom-data keeps the radiograph."""
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the demo's radiograph is in the package pydicom-data: pip install pydicom-data")
    return Path(next(iter(spec.submodule_search_locations))) / "data/RG1_UNCR.dcm"


def side_by_side(prediction: covidnet_lite.Prediction) -> Image.Image:
    """The radiograph as it is, and with the evidence laid over it."""
    plain, overlay = prediction.heatmap(opacity=0.0, legend=False), prediction.heatmap(opacity=0.5)
    both = Image.new("RGB", (2 * plain.width + 8, overlay.height), "white")
    both.paste(plain, (0, 0))
    both.paste(overlay, (plain.width + 8, 0))
    return both.resize((both.width // 2, both.height // 2))


def main(folder: str = "demo") -> None:
    path = radiograph()
    classifier = covidnet_lite.Classifier()
    prediction = classifier.classify(path)

    print(f"radiograph     {path.name} (pydicom-data)")
    print(f"answer         {prediction.answer or 'none'}")
    for finding in prediction.findings:
        print(f"               {finding}")
    if prediction.reason:
        print(f"because        {prediction.reason}")
    if prediction.answer:  # the numbers of an abstention are no finding
        for label, probability in prediction.probabilities.items():
            print(f"  {label:<12} {percent(probability):>6}  {'#' * round(40 * probability)}")
    print("time           " + "  ".join(f"{stage} {ms:.1f} ms" for stage, ms in prediction.timings.items()))
    print(f"runtime        {classifier.runtime}")
    print(f"model          {prediction.model}  sha256 {prediction.sha256}")
    side_by_side_path = files.write_png(Path(folder) / "radiograph.png", side_by_side(prediction))
    print(f"evidence map   {side_by_side_path}")
    print(DISCLAIMER)


if __name__ == "__main__":
    main(*sys.argv[1:2])
