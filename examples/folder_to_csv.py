"""A folder of radiographs to a CSV file: ``python examples/folder_to_csv.py FOLDER results.csv``.

A file that cannot be read gets a row with its reason and does not stop the others.
"""

import csv
import sys
from pathlib import Path

import covidnet_lite
from covidnet_lite.csv_cells import cell

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
classifier = covidnet_lite.Classifier()
paths = sorted(
    p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("._") and p.resolve() != out.resolve()
)

with out.open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["file", "status", "labels", *classifier.labels, "extent", "reason"])
    for result in classifier.classify_many(paths):
        probabilities = getattr(result, "probabilities", {})
        shares = [probabilities.get(label, "") for label in classifier.labels]
        extent = getattr(result, "extent", None)
        texts = [result.name, result.status, "|".join(result.labels), result.reason or ""]
        name, status, labels, reason = map(cell, texts)  # which no spreadsheet takes for a formula
        rows.writerow([name, status, labels, *shares, extent, reason])

print(f"{len(paths)} files -> {out}")
