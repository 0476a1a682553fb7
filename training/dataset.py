"""The radiographs a network is trained on: ``python training/dataset.py DATA`` says what is wrong with them.

DATA is a manifest.csv or a folder (``LABEL/image`` or ``SPLIT/LABEL/image``). Prints
counts, problems, labels that a source gives away, copies, radiographs that look wrong,
and how much of the label the source tells; a file that cannot be read costs only
itself. ``--page`` shows the radiographs, ``--split-into`` deals them into train, val and test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convert.float_input import normalise
from covidnet_lite import files, radiograph
from covidnet_lite.box import Box
from covidnet_lite.dataset import LabelledImage, read_dataset, write_manifest
from covidnet_lite.errors import CovidNetLiteError, DatasetError, MissingExtraError
from covidnet_lite.fit import fit
from covidnet_lite.network.input_spec import InputSpec

SPLITS = ("train", "val", "test")
SIDE = 320  # pixels of a radiograph's shorter side in memory while it is looked at
MAX_PRINTED = 20  # lines of each kind that are printed
NEARLY_ALL = 0.95  # share of a label's radiographs from which they count as those of one source, and the reverse
KINDS = {
    "inverted": "Look inverted (black for white)",
    "turned": "Look turned",
    "lateral": "Views from the side",
    "text": "Text burnt in",
}


def problems(cases: Sequence[LabelledImage], labels: Sequence[str], ignore: Sequence[str] = ()) -> list[str]:
    """Everything wrong with a data set, one sentence each; empty when it can be used."""
    lines = [f"{case.path}: no such file" for case in cases if not case.path.is_file()]
    unknown = Counter(case.label for case in cases if case.label not in labels and case.label not in ignore)
    lines += [
        f"label {label!r} on {count} images is none of {', '.join(labels)}; name it in the recipe's labels or ignore"
        for label, count in sorted(unknown.items())
    ]
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.split not in ("", *SPLITS):
            lines.append(f"{case.path}: split {case.split!r} is none of {', '.join(SPLITS)}")
        if case.patient and case.split:
            splits[case.patient].add(case.split)
    lines += [
        f"patient {patient} is in {' and '.join(sorted(names))}; put all images of one patient in one split"
        for patient, names in sorted(splits.items())
        if len(names) > 1
    ]
    # The same bytes twice, within a split or across, count one image twice.
    paths_of: dict[str, list[Path]] = defaultdict(list)
    for case in cases:
        if digest := _digest(case.path):
            paths_of[digest].append(case.path)
    lines += [
        f"{paths[0]} is repeated as {', '.join(str(p) for p in paths[1:])}; keep one"
        for paths in paths_of.values()
        if len(paths) > 1
    ]
    return lines


def _digest(path: Path) -> str:
    """SHA-256, or nothing if the file cannot be opened, which reading it as a radiograph will tell."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def check(cases: Sequence[LabelledImage], labels: Sequence[str], ignore: Sequence[str] = ()) -> None:
    """Raises one :class:`DatasetError` with all :func:`problems`, if there are any."""
    lines = problems(cases, labels, ignore)
    if lines:
        listed_lines = "\n  ".join(lines[:20]) + (f"\n  and {len(lines) - 20} more" if len(lines) > 20 else "")
        raise DatasetError(f"the data set has {len(lines)} problem{'s' * (len(lines) > 1)}:\n  {listed_lines}")


def split_by_patient(
    cases: Sequence[LabelledImage], seed: int, fractions: tuple[float, float, float] = (0.7, 0.12, 0.18)
) -> list[LabelledImage]:
    """Gives cases without a split one, so that no patient is in two.

    Patients are dealt label by label and source by source, so each split sees
    each. Images whose patient is not known count as a patient each.
    """
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)  # dict keys: a set that keeps its order
    unit = [case.patient or str(case.path) for case in cases]
    split_of = {u: case.split for u, case in zip(unit, cases) if case.split}
    for u, case in zip(unit, cases):
        if u not in split_of:
            strata[case.label, case.source][u] = None
    for _, patients in sorted(strata.items()):
        names = [p for p in patients if p not in split_of]
        rng.shuffle(names)
        bounds = np.rint(np.cumsum(fractions) * len(names)).astype(int)
        for i, name in enumerate(names):
            split_of[name] = SPLITS[int(np.searchsorted(bounds, i, side="right"))]
    return [replace(case, split=split_of[u]) for u, case in zip(unit, cases)]


def case_weights(
    cases: Sequence[LabelledImage], balance: float, source_weights: dict[str, float]
) -> npt.NDArray[np.float32]:
    """Weight of each case in the loss, mean 1.

    The images of one label from one source form a cell. With ``balance`` 0 every
    image counts the same, with 1 every cell does; labels always end up level.
    ``source_weights`` multiplies the cells of a source.
    """
    cells = Counter((case.label, case.source) for case in cases)
    raw = {cell: (1 / n) ** balance * source_weights.get(cell[1], 1.0) for cell, n in cells.items()}
    total: dict[str, float] = defaultdict(float)
    for cell, n in cells.items():
        total[cell[0]] += raw[cell] * n
    weights = np.array([raw[c.label, c.source] / total[c.label] for c in cases], np.float64)
    return np.asarray(weights / weights.mean(), np.float32)


def single_source_labels(cases: Sequence[LabelledImage], labels: Sequence[str]) -> dict[str, str]:
    """Labels whose radiographs come from one source, label -> source: there a network can tell the source instead.

    From one source means at least 95 % of the radiographs that ``cases`` has of a label. Where all labels come from the
    same source, only the radiographs can tell them apart, and nothing is returned. Radiographs of no named source count
    as one source.
    """
    return _one_to_one([(case.label, case.source) for case in cases if case.label in labels])


def single_label_sources(cases: Sequence[LabelledImage], labels: Sequence[str]) -> dict[str, str]:
    """Sources whose radiographs have one label, source -> label; the reverse of :func:`single_source_labels`."""
    return _one_to_one([(case.source, case.label) for case in cases if case.label in labels])


def _one_to_one(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Firsts that nearly always go with one and the same second, unless all firsts go with that."""
    seconds: dict[str, Counter[str]] = defaultdict(Counter)
    for first, second in pairs:
        seconds[first][second] += 1
    commonest = {first: counts.most_common(1)[0] for first, counts in sorted(seconds.items())}
    settled = {first: second for first, (second, n) in commonest.items() if n >= NEARLY_ALL * seconds[first].total()}
    return settled if len(settled) < len(seconds) or len(set(settled.values())) > 1 else {}


def source_contrasts(cases: Sequence[LabelledImage], labels: Sequence[str]) -> list[str]:
    """Where telling the sources apart would pass for telling the labels apart, one sentence each.

    Looks at the radiographs that a network would be trained on: those of the split ``train``, and those without a
        split.
    """
    training = [case for case in cases if case.split in ("", "train")]
    sentences = [
        f"Nearly all films labelled {label} are of {source or 'no named source'}, and those of other labels are not"
        for label, source in single_source_labels(training, labels).items()
    ]
    sentences += [
        f"Nearly all films of {source or 'no named source'} are labelled {label}, and those of other sources are not"
        for source, label in single_label_sources(training, labels).items()
    ]
    advice = "a network can learn the source instead; compare labels within a source, keep such films for tests"
    return [f"{sentence}: {advice}" for sentence in sentences]


@dataclass(frozen=True, eq=False)
class CaseImage:
    """A case and its image: 8-bit gray, maybe reduced, and ``(width, height)`` of the file."""

    case: LabelledImage
    image: Image.Image
    size: tuple[int, int]


def read_image(case: LabelledImage, side: int) -> CaseImage:
    """The radiograph, the shorter side about ``side`` pixels, or as stored if smaller.

    Raises:
        InputError, MissingExtraError: it cannot be read.
    """
    decoded = radiograph.read(case.path, at_least=(side, side))
    image, factor = decoded.image, side / min(decoded.image.size)
    if factor < 1:
        image = image.resize([round(s * factor) for s in image.size], Image.Resampling.BILINEAR, reducing_gap=2.0)
    return CaseImage(case, image, (decoded.width, decoded.height))


def read_images(cases: Sequence[LabelledImage], side: int) -> tuple[list[CaseImage], list[str]]:
    """The radiographs as :func:`read_image` makes them, and what ails the others."""

    def one(case: LabelledImage) -> CaseImage | str:
        try:
            return read_image(case, side)
        except CovidNetLiteError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(one, cases))
    return [f for f in results if isinstance(f, CaseImage)], [f for f in results if isinstance(f, str)]


def decode(cases: Sequence[LabelledImage], side: int) -> list[Image.Image]:
    """All radiographs in memory, as :func:`read_images` makes them.

    Raises:
        DatasetError: at least one cannot be read; all such are named.
    """
    items, errors = read_images(cases, side)
    if errors:
        raise DatasetError("these radiographs cannot be read:\n  " + "\n  ".join(errors))
    return [item.image for item in items]


def network_inputs(
    images: Sequence[Image.Image], spec: InputSpec, views: Sequence[Box] | None = None
) -> npt.NDArray[np.float32]:
    """``(n, height, width, channels)`` float32, unchanged by chance; ``views``, where they are known already."""
    given_views: Sequence[Box | None] = views or [None] * len(images)
    pixels = [fit(image, spec, view) for image, view in zip(images, given_views)]
    return normalise(np.stack(pixels), spec)


def split_without_leaks(
    cases: Sequence[LabelledImage], pairs: Sequence[tuple[int, int]], seed: int, hold_out: Sequence[str]
) -> list[LabelledImage]:
    """Deals all cases into splits so that neither a patient nor a pair of copies is in two.

    Sources in ``hold_out`` go to test as a whole. Splits that were given stay,
    but a group that is in several goes where it was held out the most.

    Raises:
        DatasetError: a source to hold out has no image.
    """
    from training.data.duplicates import groups

    missing = sorted(set(hold_out) - {case.source for case in cases})
    if missing:
        raise DatasetError(
            f"no image is from {', '.join(missing)}; sources are {', '.join(sorted({case.source for case in cases}))}"
        )
    first: dict[str, int] = {}
    same = [(first.setdefault(case.patient or str(case.path), i), i, 1.0) for i, case in enumerate(cases)]
    group = groups([*same, *((i, j, 1.0) for i, j in pairs)], len(cases))
    split_of: dict[int, str] = {}
    for g, case in zip(group, cases):
        wish = "test" if case.source in hold_out else case.split if case.split in SPLITS else ""
        split_of[g] = max(split_of.get(g, ""), wish, key=("", *SPLITS).index)
    joined = [replace(case, patient=f"group {g}", split=split_of[g]) for g, case in zip(group, cases)]
    return [replace(case, split=assigned.split) for case, assigned in zip(cases, split_by_patient(joined, seed))]


def inspect(cases: Sequence[LabelledImage], labels: Sequence[str]) -> tuple[dict[str, Any], list[CaseImage]]:
    """Everything that :func:`summary` tells, as plain figures, and the radiographs that could be read."""
    from training.data.confounding import confounding
    from training.data.duplicates import near_duplicates
    from training.data.suspicious_images import burnt_in, laterals, orientation

    items, unreadable = read_images([case for case in cases if case.path.is_file()], SIDE)
    readable_cases, images = [item.case for item in items], [item.image for item in items]
    patients = [case.patient or str(case.path) for case in readable_cases]
    orientations = orientation(images, patients)
    suspicions = [
        *(orientations.suspicions if orientations else ()),
        *laterals(readable_cases, images),
        *burnt_in(images),
    ]
    figures = {
        "images": len(cases),
        "patients": len({case.patient or str(case.path) for case in cases}),
        "counts": [[*cell, n] for cell, n in sorted(Counter((c.label, c.source, c.split) for c in cases).items())],
        "problems": problems(cases, labels),
        "source_contrasts": source_contrasts(cases, labels),
        "unreadable": unreadable,
        "copies": [_copy(readable_cases, i, j, alike) for i, j, alike in near_duplicates(images)],
        "orientation": {"recall": orientations.recall, "flagged": orientations.flagged} if orientations else None,
        "suspicions": [{"file": str(readable_cases[s.index].path), "film": s.index, **asdict(s)} for s in suspicions],
        "confounding": None,
    }
    indices = [i for i, case in enumerate(readable_cases) if case.label in labels]
    if indices:
        usable = [items[i] for i in indices]
        labels_of, sources = [item.case.label for item in usable], [item.case.source for item in usable]
        images, sizes = [item.image for item in usable], [item.size for item in usable]
        result = confounding(images, sizes, labels_of, sources, [patients[i] for i in indices])
        figures["confounding"] = {**asdict(result), "words": result.sentences()}
    return figures, items


def _copy(cases: Sequence[LabelledImage], i: int, j: int, alike: float) -> dict[str, Any]:
    one, other = cases[i], cases[j]
    across = [name for name in ("label", "patient", "source", "split") if getattr(one, name) != getattr(other, name)]
    return {"films": [i, j], "files": [str(one.path), str(other.path)], "likeness": round(alike, 3), "across": across}


def summary(figures: dict[str, Any]) -> str:
    """The figures of :func:`inspect` as a person reads them."""
    lines = [f"{figures['images']} images of {figures['patients']} patients", "", "Label, source, split:"]
    lines += [f"  {n:6d}  " + ", ".join(name or "-" for name in cell) for *cell, n in figures["counts"]]
    lines += _part("Problems", figures["problems"]) + _part("Cannot be read", figures["unreadable"])
    lines += _part("Labels that a source gives away", figures["source_contrasts"])
    copies = sorted(
        figures["copies"], key=lambda copy: ("split" not in copy["across"], "patient" not in copy["across"])
    )
    lines += _part(
        "Nearly the same picture twice (two films of one patient in one posture can look so)",
        [
            " and ".join(Path(f).name for f in copy["files"])
            + f" ({copy['likeness']:.2f} alike)"
            + (f", in different {', '.join(copy['across'])}" if copy["across"] else "")
            for copy in copies
        ],
    )
    orientations = figures["orientation"]
    if orientations:
        shares = ", ".join(f"{orientation} {share:.0%}" for orientation, share in orientations["recall"].items())
        lines += [
            "",
            f"Of this data set's own films, made wrong on purpose, the next two find: {shares}.",
            f"As they are, {orientations['flagged']:.1%} are reported, which bounds the false alarms.",
        ]
    else:
        lines += ["", "Inverted and turned films were not looked for: too few films or patients to learn from."]
    for kind, title in KINDS.items():
        if kind in ("inverted", "turned") and not orientations:
            continue
        of_kind = [s for s in figures["suspicions"] if s["kind"] == kind]
        lines += _part(title, [f"{Path(s['file']).name}: {s['reason']}" for s in of_kind])
    if figures["confounding"]:
        lines += _part("What the source gives away", figures["confounding"]["words"])
    return "\n".join(lines)


def _part(title: str, lines: Sequence[str]) -> list[str]:
    rest = [f"  and {len(lines) - MAX_PRINTED} more (--json has all)"] if len(lines) > MAX_PRINTED else []
    return ["", f"{title}: {'' if lines else 'none'}".rstrip(), *(f"  {line}" for line in lines[:MAX_PRINTED]), *rest]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Say what is wrong with a set of radiographs.")
    parser.add_argument("data", type=Path, help="a manifest.csv, or a folder (LABEL/image or SPLIT/LABEL/image)")
    parser.add_argument("--labels", help="those to train on, with commas between (default: all there are)")
    parser.add_argument("--page", type=Path, help="also write the films to this HTML page, suspicious ones first")
    parser.add_argument("--json", type=Path, help="also write all that was found to this file")
    parser.add_argument("--split-into", type=Path, help="also write a manifest with splits to this file")
    parser.add_argument("--hold-out", action="append", default=[], metavar="SOURCE", help="a source for test only")
    parser.add_argument("--seed", type=int, default=2020, help="of the splits (default: 2020)")
    args = parser.parse_args(argv)
    if args.hold_out and not args.split_into:
        parser.error("--hold-out needs --split-into")
    try:
        return _run(args)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    if find_spec("sklearn") is None:
        raise MissingExtraError("looking through a data set needs scikit-learn: pip install -e '.[training]'")
    from training.data.thumbnails import page

    cases = read_dataset(args.data)
    labels = args.labels.split(",") if args.labels else sorted({case.label for case in cases})
    figures, items = inspect(cases, labels)
    print(summary(figures))
    if args.page:
        reasons: dict[int, list[str]] = defaultdict(list)
        for copy in figures["copies"]:
            for one, other in (copy["films"], copy["films"][::-1]):
                reasons[one].append(f"nearly the same as {items[other].case.path.name}")
        for suspicion in figures["suspicions"]:
            reasons[suspicion["film"]].append(suspicion["reason"])
        files.write(args.page, page(items, reasons))
        print(f"\nwrote {args.page}")
    if args.json:
        files.write(args.json, json.dumps(figures, indent=1) + "\n")
    if args.split_into:
        selection = [item.case for item in items if item.case.label in labels]
        if not selection:
            raise DatasetError(f"{args.data}: no readable image labelled {', '.join(labels)} to split; see above")
        place = {id(case): i for i, case in enumerate(selection)}
        both = ([place.get(id(items[i].case)) for i in copy["films"]] for copy in figures["copies"])
        assigned = split_without_leaks(
            selection, [(i, j) for i, j in both if i is not None and j is not None], args.seed, args.hold_out
        )
        write_manifest(args.split_into, assigned)
        counts = Counter(case.split for case in assigned)
        print(f"\nwrote {args.split_into}: " + ", ".join(f"{counts[split]} {split}" for split in SPLITS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
