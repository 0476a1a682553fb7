"""Whether a network has learnt lungs or hospitals: ``python training/audit.py MODEL --data MANIFEST``.

MODEL is a ``.tflite`` or the name of a shipped network; it is judged as it ships,
and the float network it came from beside it. Writes ``audit.md``, ``audit.json``
and plots to ``--out``, and prints the Markdown. What the data has no material for
is said to be not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere

import numpy as np

from covidnet_lite import files, model
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import CovidNetLiteError, DatasetError, MissingExtraError, ModelError
from training import audit_plots, audit_table, copies, network, reliability, shortcuts
from training.evaluate import Answers, answer, judge, split_of
from training.figure import Figure
from training.invariance import invariances
from training.left_out import left_out
from training.lungs import border, evidence, lungs
from training.network import Network
from training.perturb import views
from training.yardsticks import accuracy, false_covid, predictive_values, yardsticks

CHECKPOINTS = ROOT / "training/checkpoints"
DOCUMENTS = (ROOT / "README.md", ROOT / "MODEL_CARD.md")
INT8, FLOAT, ANY = "int8", "float", "any"  # ANY: no network of ours, or one that is neither
APART = 0.5  # points between int8 and float from which a line is flagged
EXTRAS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}  # module -> package

Lines = dict[str, dict[str, Any]]  # name -> column -> figure


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Whether a network has learnt lungs or hospitals.")
    parser.add_argument("model", help="a .tflite, or the name of a shipped network")
    parser.add_argument(
        "--data", type=Path, required=True, help="a manifest.csv, or a folder (LABEL/image or SPLIT/LABEL/image)"
    )
    parser.add_argument("--split", default="test", help="the split to judge on (default: test)")
    parser.add_argument(
        "--float", type=Path, help="the .keras it was made from (default: training/checkpoints/NAME.keras, if shipped)"
    )
    parser.add_argument(
        "--left-out",
        type=Path,
        help="predictions of networks that never saw a source (default: training/checkpoints/NAME.left_out.csv)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/audit"), help="folder to write to (default: runs/audit)")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="of a shipped network, also renew the tables in README.md and MODEL_CARD.md, "
        "and training/checkpoints/NAME.audit.json from which a test makes them again",
    )
    args = parser.parse_args(argv)
    try:
        _check_extras()
        if args.publish and args.model not in model.shipped():
            raise ModelError(f"--publish: {args.model} is no shipped network; these are {', '.join(model.shipped())}")
        files.check_folder(args.out)
        floating = args.float or _default(args.model, ".keras")
        networks = load(args.model, floating)
        predictions = args.left_out or _default(args.model, ".left_out.csv")
        cases = read_cases(args.data)
        if args.publish:
            _check_splits(args.data, [c for c in cases if c.label in networks[INT8].labels])
        figures = audit(networks, cases, args.split, predictions, _progress)
        plots = audit_plots.draw(figures)
        report = audit_table.report(figures, list(plots))
        figures_json = json.dumps(figures, indent=1) + "\n"
        contents: dict[str, bytes | str] = {"audit.md": report, "audit.json": figures_json, **plots}
        files.write_all({args.out / name: content for name, content in contents.items()})
        if args.publish:
            tables = {path: audit_table.placed(path.read_text(encoding="utf-8"), figures) for path in DOCUMENTS}
            files.write_all({CHECKPOINTS / f"{args.model}.audit.json": figures_json, **tables})
        print(report)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check_extras() -> None:
    """Before long work begins, not after it."""
    if lacking := [package for module, package in EXTRAS.items() if find_spec(module) is None]:
        raise MissingExtraError(f"the audit needs {' and '.join(lacking)}: pip install 'covidnet-lite[training]'")


def _check_splits(data: Path, cases: Sequence[Case]) -> None:
    if lacking := sum(not case.split for case in cases):
        raise DatasetError(
            f"--publish: {data}: {lacking} images have no split, so the network may have been trained on them; "
            "give the manifest.csv of its training, which names the splits"
        )


def _progress(step: str) -> None:
    print(f"{step.replace('_', ' ')} ...", file=sys.stderr, flush=True)


def _default(name: str, suffix: str) -> Path | None:
    """What lies beside the checkpoint of a shipped network, if this machine can use it."""
    path = CHECKPOINTS / f"{name}{suffix}"
    if name not in model.shipped() or not path.is_file():
        return None
    return path if suffix != ".keras" or find_spec("keras") else None


def load(name: str, floating: Path | None) -> dict[str, Network]:
    """The int8 network and, where there is one, its float network, judged at the same temperature and threshold.

    Raises:
        ModelError: one cannot be loaded, or the two do not belong together.
    """
    if name.endswith(".keras"):
        raise ModelError(f"{name}: is a float network; give the .tflite made from it, and this one as --float")
    shipped = network.load(name)
    if floating is None:
        return {INT8: shipped}
    before = network.load(str(floating))
    if (before.labels, before.spec) != (shipped.labels, shipped.spec):
        raise ModelError(
            f"{floating}: has other labels or another input than {name}; give the network it was made from"
        )
    if (stated := _made_from(name)) and stated != before.sha256:
        raise ModelError(
            f"{floating}: its SHA-256 is {before.sha256}, but {name} was made from a network with {stated}; "
            "give that one as --float, or make the .tflite again with convert/quantize.py"
        )
    return {INT8: shipped, FLOAT: replace(before, temperature=shipped.temperature, threshold=shipped.threshold)}


def _made_from(name: str) -> str:
    """SHA-256 of the float network that a ``.tflite`` was made from; empty where it does not say."""
    return str(model.load(name).manifest.provenance.get("network_sha256", ""))


def audit(
    networks: dict[str, Network],
    cases: Sequence[Case],
    split: str,
    predictions: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Every figure, section by section, in plain types; ``progress`` is told what comes next.

    Raises:
        DatasetError: the split is empty, or something in the data cannot be read.
    """
    shipped = networks[INT8]
    known = [c for c in cases if c.label in shipped.labels]
    held_out = [c for c in known if c.split != "train" or split == "train"]
    chosen = np.array([c.split in (split, "") for c in held_out], bool)
    if not chosen.any():
        raise DatasetError(f"no image labelled {', '.join(shipped.labels)} is in the {split} split; check --data")
    asks = {column: partial(answer, asked) for column, asked in networks.items()}
    fitted_on = [] if split == "train" else [c for c in known if c.split == "train"]
    unseen = left_out(predictions, shipped.threshold)  # first, for the file may be none, and the rest takes minutes
    progress("answers")
    told = {column: ask(held_out) for column, ask in asks.items()}
    judged = {column: answers.of(chosen) for column, answers in told.items()}
    calibration = partial(reliability.calibration, temperature=shipped.temperature)
    progress("near-duplicates")
    pairs = copies.pairs(cases)
    sections: dict[str, Callable[[], Lines]] = {
        "accuracy": lambda: _each(accuracy, judged),
        "yardsticks": lambda: _each(yardsticks, judged),
        "trifles": lambda: lines({ANY: shortcuts.baseline(fitted_on, judged[INT8])}),
        "left_out": lambda: lines({ANY: unseen}),
        "false_covid": lambda: _each(false_covid, judged),
        "predictive_values": lambda: _each(predictive_values, judged),
        "sources": lambda: _each(shortcuts.source_from_embedding, told),
        "lungs": lambda: lines({column: lungs(asks[column], answers) for column, answers in judged.items()}),
        "border": lambda: lines({column: border(asks[column], answers) for column, answers in judged.items()}),
        "evidence": lambda: _each(partial(evidence, views=views(judged[INT8].cases, shipped.spec)), judged),
        "calibration": lambda: _each(calibration, judged),
        "threshold": lambda: _each(reliability.threshold, judged),
        "invariances": lambda: lines({column: invariances(asks[column], a) for column, a in judged.items()}),
        "copies": lambda: lines({ANY: copies.copies(cases, pairs)}),
    }
    measured = {}
    for name, measure in sections.items():
        progress(name)
        measured[name] = measure()
    return {
        "model": shipped.name,
        "sha256": shipped.sha256,
        "float_sha256": networks[FLOAT].sha256 if FLOAT in networks else None,
        "split": split_of(judged[INT8].cases),
        "images": int(chosen.sum()),
        "patients": len(set(judged[INT8].patients.tolist())),
        "sections": measured,
        "evaluation": {column: judge(answers) for column, answers in judged.items()},
        "bins": {column: reliability.bins(answers) for column, answers in judged.items()},
        "risk_coverage": {column: reliability.risk_coverage(answers) for column, answers in judged.items()},
        "copies": pairs,
    }


def _each(measure: Callable[[Answers], dict[str, Figure]], answers: dict[str, Answers]) -> Lines:
    return lines({column: measure(part) for column, part in answers.items()})


def lines(columns: dict[str, dict[str, Figure]]) -> Lines:
    """Figures by column -> by line, with the points between int8 and float, and whether these are many."""
    names = dict.fromkeys(name for figures in columns.values() for name in figures)
    found: Lines = {name: {c: figures[name] for c, figures in columns.items() if name in figures} for name in names}
    for line in found.values():
        ends = [line[column]["value"] for column in (INT8, FLOAT) if column in line]
        if len(ends) == 2 and None not in ends:
            points = 100 * (ends[0] - ends[1])
            line |= {"points": points, "apart": abs(points) > APART}
    return found


if __name__ == "__main__":
    sys.exit(main())
