"""``covidnet-lite site``: fits a network to a hospital, and checks whether the fit still holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .exit_codes import OK

if TYPE_CHECKING:
    from .classifier import Classifier
    from .prediction import Failure, Prediction
    from .site.drift import Report
    from .site.fit import Fit
    from .site.rule import Targets
    from .site.sample import Observation
    from .site.site import Site

DRIFT = 4  # exit code: a day differs from the fit beyond chance

FIT_EXAMPLES = """examples:
  covidnet-lite site fit --normal normals/ --name "St. Elsewhere"
  covidnet-lite site fit --normal normals/ --usual last-week/ -o site.json
  covidnet-lite site fit --normal normals/ --labelled manifest.csv --model nano -o nano-site.json
  covidnet-lite classify ward/ --site site.json"""
WATCH_EXAMPLES = """examples:
  covidnet-lite watch inbox/ --site site.json
  covidnet-lite site watch inbox/ --site site.json

exit codes:
  0  no day differs from the fit beyond chance
  4  at least one day does"""


def add(commands: Any) -> None:
    """Adds the command to those of the command line."""
    site = commands.add_parser(
        "site",
        help="fit thresholds to a hospital, and check whether the fit still holds",
        description="A network's scores differ between hospitals. Fits the thresholds to a hospital on "
        "its own radiographs, on this machine, and checks later days against the fit.",
        examples=("covidnet-lite site fit --normal normals/", "covidnet-lite site watch inbox/ --site site.json"),
    )
    actions = site.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_fit(actions)
    _add_watch(actions)


def _add_fit(actions: Any) -> None:
    fit = actions.add_parser(
        "fit",
        help="write a file with a hospital's thresholds",
        description="Fits the thresholds of a hospital on 30 to 200 of its own normal radiographs, and writes them "
        "to a file for --site.\nReports how far the error rates may be off with so few radiographs.\n"
        "Research use only; not a medical device.",
        epilog=FIT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.add_argument(
        "--normal", type=Path, required=True, metavar="DIR", help="radiographs that the hospital's readers call normal"
    )
    fit.add_argument(
        "--labelled",
        type=Path,
        metavar="MANIFEST",
        help="radiographs with labels: a CSV file with the columns file and label, or one folder for each label",
    )
    fit.add_argument(
        "--usual",
        type=Path,
        metavar="DIR",
        help="all radiographs of some ordinary days, ill and normal, with which later days are compared",
    )
    fit.add_argument("--name", default="unnamed", help="name of the hospital, for its results (default: unnamed)")
    fit.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("site.json"),
        metavar="FILE",
        help="the file to write (default: site.json)",
    )
    for name, meaning in (
        ("normal-called-ill", "of the hospital's normals that may be called ill (default: the network's own)"),
        ("normal-called-normal", "of the hospital's normals to call normal, at most (default: 0.6)"),
        ("ill-called-normal", "of the ill that may be called normal; needs --labelled (default: the network's own)"),
    ):
        fit.add_argument(f"--{name}", type=float, metavar="SHARE", help=f"share {meaning}")
    fit.add_argument(
        "--fewer-alarms",
        action="store_true",
        help="without labels, also call fewer radiographs ill than the network alone does; misses more of the ill",
    )
    options.classifier(fit)
    fit.set_defaults(run=run_fit)


def _add_watch(actions: Any) -> None:
    watch = actions.add_parser(
        "watch",
        help="compare each day's results with the fit",
        description="Compares each day's results, as covidnet-lite watch keeps them, with the results of the fit:\n"
        "refusals, answers and distances. Reports what differs beyond chance, and changes nothing.",
        epilog=WATCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    watch.add_argument("folder", type=Path, metavar="DIR", help="the folder of covidnet-lite watch's results")
    watch.add_argument("--site", type=Path, required=True, metavar="FILE", help="the file that site fit wrote")
    watch.add_argument("--json", action="store_true", help="print one line of JSON for each day")
    watch.set_defaults(run=run_watch)


def run_fit(args: argparse.Namespace) -> int:
    """Fits a site and writes its file; the exit code.

    Raises:
        SiteError: the radiographs do not suffice, or a site fitted on them would do harm.
        InputError, DatasetError: there are none where they should be.
        ModelError, BackendError: the network cannot be used.
        OutputError: the file cannot be written.
    """
    import datetime

    from . import dataset, files
    from .classifier import Classifier
    from .quiet import silent_runtime
    from .site import site as sites
    from .site.fit import fit

    if args.output.is_dir():
        args.output = args.output / "site.json"
    files.check_folder(args.output.parent)
    with silent_runtime() as err:
        classifier = Classifier(args.model, args.runtime, args.threads, edgetpu=args.edgetpu, unsigned="allow")
        folders = {where: _radiographs(where) for where in (args.normal, args.usual) if where}
        labelled = dataset.read_dataset(args.labelled) if args.labelled else []
        print(f"looking at {sum(map(len, folders.values())) + len(labelled)} radiographs ...", file=err, flush=True)
        fitted = fit(
            classifier.model,
            _targets(args, classifier),
            look(classifier, folders[args.normal]),
            look(classifier, [image.path for image in labelled], [image.label for image in labelled]),
            look(classifier, folders[args.usual]) if args.usual else (),
            args.name,
            datetime.date.today().isoformat(),
        )
    sites.write(args.output, fitted.site)
    print("\n".join((*summary(fitted, classifier), f"written to {args.output}; use it with --site {args.output}")))
    return OK


def _radiographs(where: Path) -> list[Path]:
    """The radiographs in a folder and those below it, by path.

    Raises:
        InputError: there are none.
    """
    from . import formats
    from .codes import Code
    from .errors import InputError
    from .output import OURS

    radiographs = sorted(
        p for p in where.rglob("*") if not p.name.endswith(OURS) and p.is_file() and formats.is_radiograph(str(p))
    )
    if not radiographs:
        raise InputError(f"{where}: holds no radiograph; name the folder that they lie in", Code.NO_PICTURE)
    return radiographs


def _targets(args: argparse.Namespace, classifier: Classifier) -> Targets:
    from dataclasses import replace

    from .site.fit import default_targets

    names = ("normal_called_ill", "normal_called_normal", "ill_called_normal", "fewer_alarms")
    options = {name: getattr(args, name) for name in names}
    return replace(
        default_targets(classifier.manifest), **{name: share for name, share in options.items() if share is not None}
    )


def look(classifier: Classifier, paths: Sequence[Path], labels: Sequence[str] = ()) -> list[Observation]:
    """A network's results for radiographs, without a site; ``labels``: one each, if there are any."""
    results = classifier.classify_many([str(path) for path in paths])
    return [observation_of(result, label) for result, label in zip(results, labels or [""] * len(paths))]


def observation_of(result: Prediction | Failure, label: str = "") -> Observation:
    """The part of a result that a site is fitted on."""
    import hashlib

    from .prediction import Failure
    from .site.drift import kind_of
    from .site.sample import Observation

    if isinstance(result, Failure):
        return Observation(result.name, result.name, "failed", label=label)
    # Two files with the same image, re-encoded or not, give exactly the same numbers; two different images do not.
    shares = tuple(result.probabilities.values())
    evidence = b"" if result.evidence is None else result.evidence.tobytes()
    numbers = repr((shares, result.distance)).encode() + evidence
    key = hashlib.sha256(numbers).hexdigest() if result.distance is not None or evidence else result.name
    return Observation(result.name, key, kind_of(result), shares, result.distance, label, result.code)


def summary(fitted: Fit, classifier: Classifier) -> Iterator[str]:
    """What was fitted, and how far it may be off, a line each."""
    from .percent import percent
    from .site.fit import default_targets
    from .site.rule import NORMAL_CALLED_ILL

    site, point, guard = fitted.site, classifier.manifest.operating_point, classifier.manifest.guard
    assert point is not None
    yield f"site {site} for {site.network}"
    for name, rate in site.rates.items():
        interval = f"{percent(rate.low)} to {percent(rate.high)}"
        n = site.ill if name.startswith("ill") else site.radiographs
        yield f"  {name}: {percent(rate.share)} expected; {interval} with {n} radiographs (95 %)"
    yield f"  {point.negative} from {percent(site.negative_from)} (network alone: {percent(point.negative_from)})"
    yield f"  not {point.negative} from {percent(site.positive_from)} (network alone: {percent(point.positive_from)})"
    yield f"  shift of the log-odds of {point.negative}: {sum(site.shift) / site.temperature:+.2f}"
    if guard and site.guard_limit != guard.limit:
        limits = f"{site.guard_limit:.2f} (network alone: {guard.limit:.2f})"
        yield f"  the guard lets pass distances up to {limits}; look at what it refused"
    if not site.ill:
        yield "  how many of the ill are called normal takes labels to know; no more than by the network alone"
    if site.reference.of == "normals":
        yield "  days will be compared by refusals alone; give the radiographs of ordinary days with --usual for more"
    if (
        not site.ill
        and site.rates[NORMAL_CALLED_ILL].share > default_targets(classifier.manifest).normal_called_ill + 0.01
    ):
        yield "  that many normals are called ill by the network alone; fewer take --labelled, or --fewer-alarms"
    for remark in fitted.remarks:
        yield f"  note: {remark}"


def run_watch(args: argparse.Namespace) -> int:
    """Compares day after day with the fit; the exit code says whether one differs.

    Raises:
        SiteError: the site's file cannot be used.
        InputError: there are no results of this site.
    """
    import json

    from .codes import Code
    from .errors import InputError
    from .site import site as sites

    site = sites.read(args.site)
    reports = list(days(args.folder, site))
    if not reports:
        raise InputError(
            f"{args.folder}: holds no result given with {args.site}; run: covidnet-lite watch DIR --site {args.site}",
            Code.NO_PICTURE,
        )
    for report in reports:
        print(json.dumps(report.to_dict(), ensure_ascii=False) if args.json else report)
    return DRIFT if any(report.drifted for report in reports) else OK


def days(folder: Path, site: Site) -> list[Report]:
    """The report on each day, by the dates of the radiographs' files, from this site's results in ``folder``."""
    import datetime

    from .site.drift import Drift
    from .watch import result_files

    results = []
    for path in folder.rglob("*" + result_files.SUFFIX):
        result = result_files.load(path)
        if (
            result
            and result["file"]
            and isinstance(result.get("site"), dict)
            and result["site"].get("sha256") == site.digest
        ):
            date = datetime.date.fromtimestamp(result["file"]["changed_ns"] / 1e9)
            results.append((date, _kind(result, site.negative), result.get("distance")))
    reports: list[Report] = []
    drift = Drift(site.reference, site.negative, reports.append)
    for date, kind, distance in sorted(results, key=lambda entry: entry[0]):
        drift.count(kind, distance, date)
    drift.end()
    return reports


def _kind(result: dict[str, Any], negative: str) -> str:
    """As :func:`covidnet_lite.site.drift.kind_of`, for a result read from its file."""
    labels = result.get("labels")
    return str(result.get("status")) if not labels else "negative" if labels == [negative] else "positive"
