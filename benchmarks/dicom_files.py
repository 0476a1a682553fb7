"""What becomes of every file of pydicom-data and of those that pydicom carries for its own tests.

    python benchmarks/dicom_files.py                            # print the table
    python benchmarks/dicom_files.py --write docs/dicom_files.md

Each is classified, refused for what its header or its image says, or not
read, for a stated reason; an error of any other kind ends the script.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from covidnet_lite import Classifier, files
from covidnet_lite.prediction import Failure, Prediction

# Package -> module, and the folders in it.
PLACES = {
    "pydicom-data": ("data_store", ("data",)),
    "pydicom": ("pydicom", ("data/charset_files", "data/palettes", "data/test_files")),
}
OUTCOMES = {
    "classified": "the network answers or abstains; machines that round differently may differ here",
    "refused": "readable, but not a frontal chest radiograph",
    "not read": "holds no image, is damaged, or is not a DICOM file by the standard",
}
_NUMBERS = re.compile(r" \(distance [^)]*\)")


@dataclass(frozen=True)
class Row:
    """One file and what became of it."""

    name: str
    outcome: str
    reason: str


def all_files() -> Iterator[tuple[str, Path]]:
    """``(name, path)`` of each file, in order."""
    for package, (module, folders) in PLACES.items():
        spec = find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            sys.exit(f"{package} is not installed: pip install '.[dicom]' pydicom-data==1.0.0")
        home = Path(next(iter(spec.submodule_search_locations)))
        for folder in folders:
            for path in sorted((home / folder).rglob("*")):
                if path.is_file() and path.suffix not in (".py", ".pyc"):
                    yield f"{package}/{path.relative_to(home).as_posix()}", path


def rows() -> list[Row]:
    """Classifies them all with ``base``."""
    names, paths = zip(*all_files())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of its own broken files
        results = list(Classifier().classify_many(paths))
    return [_row(name, str(path), result) for name, path, result in zip(names, paths, results)]


def _row(name: str, path: str, result: Prediction | Failure) -> Row:
    if result.status in ("answered", "narrowed", "unsure"):
        return Row(name, "classified", "")
    reason = _NUMBERS.sub("", str(result.reason).replace(f"{path}: ", "").replace(path, name))
    return Row(name, "refused" if result.status == "refused" else "not read", reason)


def page(table: list[Row]) -> str:
    """The document."""
    counts = Counter(row.outcome for row in table)
    head = [
        "# Results for real DICOM files",
        "",
        f"All {len(table)} files of pydicom-data {version('pydicom-data')} and of the tests that come with pydicom "
        f"{version('pydicom')}, given to",
        "`covidnet-lite classify`. Written by `python benchmarks/dicom_files.py --write docs/dicom_files.md`; a test "
        "compares it.",
        "",
        "| outcome | files | meaning |",
        "|---|---|---|",
        *(f"| {outcome} | {counts[outcome]} | {meaning} |" for outcome, meaning in OUTCOMES.items()),
        "",
        "| file | outcome | reason |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *(f"| {r.name} | {r.outcome} | {r.reason.replace('|', ' ')} |" for r in table)]) + "\n"


def read(document: str) -> list[Row]:
    """The rows of such a document."""
    lines = document.split("| file | outcome | reason |\n|---|---|---|\n")[1].splitlines()
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there instead of printing it")
    args = parser.parse_args(argv)
    text = page(rows())
    if args.write:
        files.write(args.write, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
