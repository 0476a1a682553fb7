"""A folder of radiographs to a CSV file: ``python examples/folder_to_csv.py FOLDER results.csv``.

A file that cannot be read becomes a row with its reason, and the rest goes on.
"""

import csv
import sys
from pathlib import Path

import covidnet_lite

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
classifier = covidnet_lite.Classifier()
paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.resolve() != out.resolve())

with out.open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["file", "status", "labels", *classifier.labels, "extent", "reason"])
    for result in classifier.classify_many(paths):
        probabilities = getattr(result, "probabilities", {})
        shares = [probabilities.get(label, "") for label in classifier.labels]
        extent = getattr(result, "extent", None)
        rows.writerow([result.name, result.status, "|".join(result.labels), *shares, extent, result.reason or ""])

print(f"{len(paths)} files -> {out}")
