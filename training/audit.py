"""Whether a network sees disease or hospitals: ``python training/audit.py MODEL --data OWN OTHER ...``.

MODEL is a ``.tflite`` or the name of a shipped network; OWN is the manifest of the hospitals that it was trained on,
of which the splits ``val`` and ``test`` are judged, and each OTHER one of other hospitals. What the recipe trains on is
left out. Contrasts are taken within a hospital, never between two. Writes ``audit.md``, ``audit.json`` and plots to
``--out``, and prints the Markdown. What the data have no material for is said to be not measured. A network is asked
once about each radiograph; its outputs stay in ``--out`` for the next time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from covidnet_lite import files
from covidnet_lite.errors import CovidNetLiteError, MissingExtraError, ModelError
from covidnet_lite.network import model
from training.data.prepared import without_lungs
from training.fit.recipe import read_recipe
from training.judge import audit_plots, audit_table, severity
from training.judge import network as networks
from training.judge.agreement import agreement
from training.judge.answers import answer_rates, operating_curve, status_rates
from training.judge.audit_set import AuditSet, read_audit_set
from training.judge.baselines import baselines
from training.judge.contrasts import ANY, OWN, TYPICAL, UNSEEN, area, area_within_matrix, has_both, hospitals
from training.judge.figure import Figure, count
from training.judge.network import Network
from training.judge.outputs import outputs
from training.judge.pointing import has_boxes, pointing
from training.judge.reading import Reading, read
from training.judge.reliability import bins, calibration

ROOT = Path(__file__).resolve().parent.parent

CHECKPOINTS = ROOT / "training/checkpoints"
README, CARD = ROOT / "README.md", ROOT / "MODEL_CARD.md"
EXTRAS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}  # module -> package
GRADES = {"normal": "negative", "covid": "typical", "indeterminate": "indeterminate", "pneumonia": "atypical"}
# Sources whose ill radiographs are judged together; the others' labels were mined from reports, or are of children.
ILL = ("ralo_stonybrook", "hannover_covid19", "covid_image_data_collection")
TEST, UNSEEN_NORMAL, UNSEEN_ILL = "own hospitals, test split", "unseen normal films", "unseen ill films"
MIXED = "unseen normal and ill films of different hospitals"

Rows = dict[str, dict[str, Figure]]  # row -> column -> figure


@dataclass(frozen=True, eq=False)
class Readings:
    """What a network says of all radiographs of an audit."""

    own: Reading
    unseen: Reading | None

    @property
    def test(self) -> Reading:
        """The test split of its own hospitals."""
        return self.own.of(self.own.in_split("test"))

    def hospitals(self) -> Iterator[tuple[str, Reading]]:
        """Its own, and each other."""
        yield TEST, self.test
        if self.unseen:
            yield from hospitals(self.unseen)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Whether a network sees disease or hospitals.")
    parser.add_argument("model", help="a .tflite, or the name of a shipped network")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="manifest.csv files: of the hospitals it was trained on, then of others",
    )
    parser.add_argument(
        "--float", type=Path, help="the .keras it was made from (default: training/checkpoints/NAME.keras, if shipped)"
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        help="how it was trained, for the films to leave out (default: training/checkpoints/NAME.toml, if shipped)",
    )
    parser.add_argument(
        "--wrong", type=Path, nargs="+", default=[], help="lists of films whose label readers found to be wrong"
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
        shipped, floating = load(args.model, args.float or _default(args.model, ".keras"))
        recipe = args.recipe or _default(args.model, ".toml")
        sources = read_recipe(recipe).sources if recipe else {}
        audit_set = read_audit_set(args.data, shipped.labels, sources, args.wrong)
        figures = audit(shipped, floating, audit_set, args.out / "outputs", _progress)
        plots = audit_plots.draw(figures)
        report, figures_json = audit_table.report(figures, list(plots)), json.dumps(figures, indent=1) + "\n"
        contents: dict[str, bytes | str] = {"audit.md": report, "audit.json": figures_json, **plots}
        files.write_all({args.out / name: content for name, content in contents.items()})
        if args.publish:
            texts = {CARD: audit_table.card, README: audit_table.summary}
            tables = {
                path: audit_table.replace_block(path.read_text("utf-8"), make(figures)) for path, make in texts.items()
            }
            files.write_all({CHECKPOINTS / f"{args.model}.audit.json": figures_json, **tables})
        print(report)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check_extras() -> None:
    """Before long work begins, not after it."""
    if missing := [package for module, package in EXTRAS.items() if find_spec(module) is None]:
        raise MissingExtraError(f"the audit needs {' and '.join(missing)}: pip install 'covidnet-lite[training]'")


def _progress(step: str) -> None:
    print(f"{step.replace('_', ' ')} ...", file=sys.stderr, flush=True)


def _default(name: str, suffix: str) -> Path | None:
    """What lies beside the checkpoint of a shipped network, if this machine can use it."""
    path = CHECKPOINTS / f"{name}{suffix}"
    if name not in model.shipped() or not path.is_file():
        return None
    return path if suffix != ".keras" or find_spec("keras") else None


def load(name: str, floating: Path | None) -> tuple[Network, Network | None]:
    """The int8 network and, where there is one, its float network, read by the same manifest.

    Raises:
        ModelError: one cannot be loaded, or the two do not belong together.
    """
    if name.endswith(".keras"):
        raise ModelError(f"{name}: is a float network; give the .tflite made from it, and this one as --float")
    shipped = networks.load(name)
    if floating is None:
        return shipped, None
    float_network = networks.load(str(floating))
    if (float_network.labels, float_network.spec) != (shipped.labels, shipped.spec):
        raise ModelError(
            f"{floating}: has other labels or another input than {name}; give the network it was made from"
        )
    stated = str(shipped.manifest.provenance.get("network_sha256", ""))
    if stated and stated != float_network.sha256:
        raise ModelError(
            f"{floating}: its SHA-256 is {float_network.sha256}, but {name} was made from a network with {stated}; "
            "give that one as --float, or make the .tflite again with convert/quantize.py"
        )
    return shipped, replace(float_network, manifest=shipped.manifest)


def audit(
    shipped: Network,
    floating: Network | None,
    audit_set: AuditSet,
    folder: Path,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Every figure, section by section, in plain types; ``progress`` is told what comes next.

    Raises:
        DatasetError: something in the data cannot be read.
        OutputError: ``folder``, where the outputs of networks are kept, cannot be written to.
    """
    progress("what int8 says")
    readings = read_network(shipped, audit_set, folder)
    sections: dict[str, Callable[[], Rows]] = {
        "films": lambda: {name: _films(part) for name, part in readings.hospitals()},
        "contrasts": lambda: _contrasts(shipped, readings, audit_set, folder),
        "hospitals": lambda: _unseen_hospitals(readings),
        "called": lambda: _answer_rates(readings),
        "severity": lambda: _severity(readings),
        "by_extent": lambda: _by_extent(readings),
        "pointing": lambda: {
            name: pointing(part) for name, part in readings.hospitals() if name == TEST or has_boxes(part).any()
        },
        "statuses": lambda: {name: status_rates(part) for name, part in _groups(readings)},
        "calibration": lambda: {
            name: calibration(part) for name, part in readings.hospitals() if has_both(part, UNSEEN[0])
        },
        "agreement": lambda: _agreement(readings, floating, audit_set, folder),
    }
    sections_rows: dict[str, Rows] = {}
    for name, measure in sections.items():
        progress(name)
        sections_rows[name] = measure()
    both = [(name, part) for name, part in readings.hospitals() if has_both(part, UNSEEN[0])]
    return {
        "model": shipped.name,
        "sha256": shipped.sha256,
        "float_sha256": floating.sha256 if floating else None,
        "partly": list(audit_set.partly),
        "operating_point": shipped.manifest.operating_point is not None,
        "normal_from": shipped.manifest.operating_point.negative_from if shipped.manifest.operating_point else None,
        "sections": sections_rows,
        "curves": {name: operating_curve(part) for name, part in [*both, *_unseen(readings)]},
        "bins": {name: bins(part) for name, part in both},
        "extents": severity.by_score(*severity.graded(readings.unseen)) if readings.unseen else [],
    }


def read_network(network: Network, audit_set: AuditSet, folder: Path) -> Readings:
    """What a network says of the radiographs; see :func:`training.judge.outputs.outputs`."""
    own, unseen = (
        read(network.manifest, cases, outputs(network, cases, folder)) if cases else None
        for cases in (audit_set.own, audit_set.unseen)
    )
    assert own is not None  # read_films saw to it
    return Readings(own, unseen)


def _films(reading: Reading) -> dict[str, Figure]:
    return {
        "films": count(len(reading.cases)),
        "patients": count(len(np.unique(reading.patients))),
        "normal": count(int((~reading.is_ill).sum())),
        "not normal": count(int(reading.is_ill.sum())),
    }


def _contrasts(shipped: Network, readings: Readings, audit_set: AuditSet, folder: Path) -> Rows:
    """Within its own hospitals, beside what can be had without a lung."""
    test = readings.test
    black = None
    if shipped.spec.lungs:
        black = read(shipped.manifest, test.cases, outputs(shipped, test.cases, folder, without_lungs))
    rows: Rows = {}
    for contrast in (c for c in OWN if has_both(test, c)):
        row = {"test split": area(test, contrast)}
        if contrast in (ANY, TYPICAL):
            row["one pixel matrix, validation and test"] = area_within_matrix(readings.own, contrast)
        row |= baselines(audit_set.training, test.cases, contrast, folder)
        if black:
            row["lungs black"] = area(black, contrast)
        rows[contrast.name] = row
    return rows


def _unseen_hospitals(readings: Readings) -> Rows:
    rows: Rows = {}
    for name, part in hospitals(readings.unseen) if readings.unseen else ():
        if row := {contrast.name: area(part, contrast) for contrast in UNSEEN if has_both(part, contrast)}:
            rows[name] = row
    return rows


def _by_label(reading: Reading) -> Iterator[tuple[str, Reading]]:
    for source, label in sorted({(case.source, case.label) for case in reading.cases}):
        yield f"{source or 'no source'}: {label}", reading.of(reading.of_source(source) & reading.labelled(label))


def _answer_rates(readings: Readings) -> Rows:
    test = readings.test
    rows = {
        f"own hospitals: {GRADES.get(label, label)}": answer_rates(test.of(test.labelled(label)))
        for label in dict.fromkeys((*GRADES, *(case.label for case in test.cases)))
        if test.labelled(label).any()
    }
    return rows | {name: answer_rates(part) for name, part in (_by_label(readings.unseen) if readings.unseen else ())}


def _severity(readings: Readings) -> Rows:
    if readings.unseen is None or not len(severity.graded(readings.unseen)[0].cases):
        return {}
    return {"graded films": severity.agreement(*severity.graded(readings.unseen))}


def _by_extent(readings: Readings) -> Rows:
    return severity.thirds(*severity.graded(readings.unseen)) if readings.unseen else {}


def _unseen(readings: Readings) -> Iterator[tuple[str, Reading]]:
    """All normal radiographs of other hospitals with the ill radiographs of some of them."""
    if readings.unseen:
        both = readings.unseen.of(~readings.unseen.is_ill | readings.unseen.of_source(*ILL))
        if both.is_ill.any() and not both.is_ill.all():
            yield MIXED, both


def _groups(readings: Readings) -> Iterator[tuple[str, Reading]]:
    yield TEST, readings.test
    if readings.unseen:
        for name, selection in (
            (UNSEEN_NORMAL, ~readings.unseen.is_ill),
            (UNSEEN_ILL, readings.unseen.is_ill & readings.unseen.of_source(*ILL)),
        ):
            if selection.any():
                yield name, readings.unseen.of(selection)
        yield from _by_label(readings.unseen)


def _agreement(readings: Readings, floating: Network | None, audit_set: AuditSet, folder: Path) -> Rows:
    if floating is None:
        return {}
    float_readings = read_network(floating, audit_set, folder)
    pairs = zip(readings.hospitals(), float_readings.hospitals())
    return {name: agreement(part, other, UNSEEN[0]) for (name, part), (_, other) in pairs}


if __name__ == "__main__":
    sys.exit(main())
