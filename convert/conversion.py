"""The whole way from a trained network to files that explain themselves: load, calibrate, quantise, judge, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.edgetpu import compiler, lint
from convert.judge import card, held_out, judgement, report
from convert.judge.agreement import NEAR, latencies, near_ties
from convert.judge.candidate import Candidate, agree
from convert.judge.disagreement import Disagreement, largest
from convert.judge.held_out import HeldOut
from convert.judge.judgement import Judgement, beside
from convert.judge.network_outputs import outputs
from convert.options import Options, check_places
from convert.quantisation import calibration, ladder, layers, material
from convert.quantisation.material import Material
from convert.quantisation.scheme import CALIBRATED, SCHEMES
from convert.source import network
from convert.source.network import FloatNetwork
from convert.tflite_file import batch, c_array, metadata
from covidnet_lite import files
from covidnet_lite.dataset import Case, read_cases
from covidnet_lite.errors import ConversionError, DatasetError
from covidnet_lite.network import model as models
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.prediction import calibrated

COUNT, SYNTHETIC_COUNT = 200, 32  # representative pictures
PACKAGES = ("tensorflow", "keras", "litert-quantizer", "ai-edge-litert")


@dataclass(frozen=True, eq=False)
class Made:
    """A quantised graph and what it says, with all that is fitted, before it is described and sealed.

    Attributes:
        logits: of the held-out images, ``(n, classes)``; empty where there are none.
    """

    scheme: str
    graph: bytes
    logits: npt.NDArray[np.float32]
    manifest: Manifest
    fitted: Judgement


def convert(options: Options, say: Callable[[str], Any] = print) -> report.Report:
    """Converts; writes nothing before all of it has worked, and returns what was done.

    Raises:
        CovidNetLiteError: something is missing, wrong, or not good enough; the message says what to do.
    """
    check_places(options)
    net = network.load(
        options.network, options.labels, options.input_range, options.equalise, options.scaled, options.colour
    )
    for assumption in net.assumed:
        say(f"assumed, not checked: {assumption}")
    where = options.data or (options.calibration if options.calibration_is_on_disk else None)
    cases = read_cases(where) if where else []
    given, chosen = _material(options, net)
    images = held_out.gather(cases, chosen, net.labels, net.spec)
    if images is None and options.data:
        raise DatasetError(
            f"{options.data}: none of its {len(cases)} images can be judged on: they must be in the val or test split, "
            f"or in none and not in --calibration, and be labelled {', '.join(net.labels)} or not at all"
        )
    if images is not None and given is not None and given.pictures is not None:
        calibration.refuse_overlap(given.pictures, images.pictures, images.names)

    plain = _manifest(options, net)
    floats = _logits(net.tflite, plain, images)
    near = near_ties(calibrated(floats, plain))
    if images is not None and near.mean() > 1 - options.min_agreement:
        say(
            f"float hesitates on {near.sum()} of {len(near)} held-out images, where its two best classes are within "
            f"{NEAR:.0%} of each other: rounding may turn those, so agreement says less than usual"
        )
    attempts, made = _make_all(options, net, plain, given, cases, images, floats, say)
    recorded = _recorded_figures(options.stem) if images is None else {}
    candidates = _judge_all(net, made, images, floats, recorded)

    noisy = _layers(net, made, attempts, given, images) if options.report else []
    told = report.Report(
        options.network.name,
        str(plain.provenance["network_sha256"]),
        candidates,
        attempts,
        noisy,
        given.origin if given else "none",
        calibration.digest(given.pictures) if given is not None and given.pictures is not None else "",
        images.what if images else "nothing",
        plain.provenance["packages"],
        net.assumed,
        _disagreements(made[0], images, floats) if options.report and images is not None else [],
    )
    say(report.to_text(told, len(net.tflite)))
    if recorded and "int8" in options.schemes:
        say(
            "recorded earlier, on images that are not here: "
            + ", ".join(f"{name} {value}" for name, value in recorded.items())
        )
    _write(options, told, given, made, say)
    return told


def _material(options: Options, net: FloatNetwork) -> tuple[Material | None, list[Case]]:
    """What to quantise with and the cases it came from; nothing where no scheme needs it."""
    if options.calibration_is_synthetic:
        return material.from_itself(net, options.network, options.count or SYNTHETIC_COUNT), []
    if options.calibration_is_on_disk and options.calibration:
        cases = read_cases(options.calibration)
        known = [c for c in cases if c.label in net.labels or not c.label]  # the rest it was not trained for
        chosen = calibration.choose(known or cases, options.count or COUNT)
        return material.from_cases(net, chosen), chosen
    if options.calibration:
        return material.from_npz(net, options.calibration, options.count or COUNT), []
    path = options.ranges or beside(options.stem, ".ranges.json")
    if options.ranges or path.is_file():
        return material.read(path), []
    if any(scheme in CALIBRATED for scheme in options.schemes):
        raise ConversionError(
            f"{options.network}: int8 needs the range of every activation; pass --calibration FOLDER with images, "
            "--ranges FILE, or --calibration synthetic where no image may be shown"
        )
    return None, []


def _manifest(options: Options, net: FloatNetwork) -> Manifest:
    """Facts only that are the same in every run, or the file would not be."""
    digest = hashlib.sha256(options.network.read_bytes()).hexdigest() if options.network.is_file() else ""
    told = {k: v for k, v in net.facts.items() if k not in ("name", "version", "licence", "manifest")}
    try:
        manifest = Manifest(
            options.name or net.facts.get("name") or options.stem.name,
            net.labels,
            net.spec,
            net.outputs,
            version=options.version or net.facts.get("version", ""),
            licence=str(options.licence or net.facts.get("licence", "")),
            provenance={
                **told,
                "network_sha256": digest,
                "packages": {name: version(name) for name in PACKAGES},
            },
        )
        manifest.to_json().encode()  # a name may hold bytes that are no text
        return manifest
    except (ValueError, TypeError) as error:
        raise ConversionError(
            f"the network cannot be described: {error}; give it plain names with --name and --labels"
        ) from error


def _make_all(
    options: Options,
    net: FloatNetwork,
    plain: Manifest,
    given: Material | None,
    cases: list[Case],
    images: HeldOut | None,
    floats: npt.NDArray[np.float32],
    say: Callable[[str], Any],
) -> tuple[list[ladder.Attempt], list[Made]]:
    """Each scheme's graph and what is fitted to it; the rungs that int8 took."""

    @lru_cache(maxsize=1)  # the last rung is the one that is kept
    def answers(graph: bytes) -> npt.NDArray[np.float32]:
        return _logits(graph, plain, images)

    def agreement(graph: bytes) -> float:
        return float((answers(graph).argmax(1) == floats.argmax(1)).mean())

    attempts: list[ladder.Attempt] = []
    made = []
    fits: dict[bool, Judgement] = {}  # of int8, and of float for all other schemes
    for scheme in options.schemes:
        how = SCHEMES[scheme]
        if scheme == "int8":
            assert given is not None
            attempts = _climb(options, net, given, agreement if images else None, say)
            graph, last = attempts[-1].quantised, attempts[-1].rung
            as_recorded = last is ladder.RUNGS[0] and given.pictures is None and not given.rung
            how = "the ranges as they were recorded" if as_recorded else f"{last.name}: {last.what}"
            how += f"; {options.scope.said}" if options.scope.said else ""
        else:
            graph = ladder.plain(net, scheme, given)
        below = bool(images) and agreement(graph) < options.min_agreement
        if below and not options.write_best:
            raise ConversionError(
                f"{scheme}: agrees with float on {agreement(graph):.2%} of the held-out images, not on "
                f"{options.min_agreement:.2%}; nothing was written. Lower --min-agreement, or leave this scheme out"
            )
        origin = {"calibration": given.origin} if given is not None and scheme in CALIBRATED else {}
        if below:
            origin["below_the_bar"] = (
                f"agrees with float on {agreement(graph):.2%} of the held-out images, less than the "
                f"{options.min_agreement:.2%} asked for"
            )
        manifest = replace(plain, provenance={**plain.provenance, **origin, "quantised": how})
        if (scheme == "int8") not in fits:
            fits[scheme == "int8"] = _fit(options, net, plain, scheme, graph, cases)
        fitted = fits[scheme == "int8"]
        try:
            made.append(Made(scheme, graph, answers(graph), replace(manifest, **fitted.rules()), fitted))
        except (ValueError, TypeError) as error:
            raise ConversionError(
                f"{beside(options.stem, '.judgement.json')}: does not fit this network ({error}); "
                "fit it again with --data ... --record"
            ) from error
    return attempts, made


def _climb(
    options: Options,
    net: FloatNetwork,
    given: Material,
    agreement: Callable[[bytes], float] | None,
    say: Callable[[str], Any],
) -> list[ladder.Attempt]:
    """The rungs that int8 took; the one to keep comes last, which is the best where a person asked for that."""
    try:
        return ladder.climb(net, given, agreement, options.min_agreement, say, options.scope)
    except ladder.TooLittleAgreement as error:
        if not options.write_best:
            raise
        best = max(error.attempts, key=lambda a: a.agreement or 0)
        say(f"{best.rung.name}: written as the best there is, below the bar")
        return [*(a for a in error.attempts if a is not best), best]


def _fit(
    options: Options, net: FloatNetwork, plain: Manifest, scheme: str, graph: bytes, cases: list[Case]
) -> Judgement:
    """int8 is fitted as it ships; the other schemes are so near to float that they take what fits float."""
    if not any(c.split == "val" for c in cases):
        recorded = judgement.load(options.stem)
        said = net.facts.get("manifest")  # by a .tflite of ours, where nothing lies beside it
        if said is not None and not beside(options.stem, ".judgement.json").is_file():
            kept = {k: getattr(said, k) for k in ("temperature", "threshold", "guard", "operating_point", "extent")}
            recorded = Judgement(**kept)
        return recorded if scheme == "int8" else replace(recorded, correction=())
    original = _verified(net.tflite, plain)
    fitted = _verified(graph, plain) if scheme == "int8" else original
    return judgement.fit(fitted, original, cases, options.target_error)


def _judge_all(
    net: FloatNetwork,
    made: list[Made],
    images: HeldOut | None,
    floats: npt.NDArray[np.float32],
    recorded: dict[str, Any],
) -> list[Candidate]:
    """Candidates as they will be written, with what the step from float cost."""
    original = Interpreter(_verified(net.tflite, replace(made[0].manifest, guard=None)), threads=1)
    taken = latencies([original, *(Interpreter(_verified(m.graph, m.manifest), threads=1) for m in made)])
    candidates = []
    for m, milliseconds in zip(made, taken[1:]):
        found, everywhere = None, None
        if images is not None:
            # Float is told with the same temperature, so that what differs is the arithmetic.
            ours = replace(m.manifest, correction=())
            found, everywhere = agree(images, floats, ours, m.logits, m.manifest)
        figures = report.figures(m.scheme, found) or (recorded if m.scheme == "int8" else {})
        text = card.write(m.manifest, m.scheme, SCHEMES[m.scheme], figures)
        sealed = seal(metadata.attach(m.graph, m.manifest), m.manifest, {card.NAME: text.encode()})
        model = models.verify(sealed, Path(m.scheme))
        candidates.append(Candidate(m.scheme, model, found, everywhere, milliseconds, taken[0]))
    return candidates


def _verified(graph: bytes, manifest: Manifest) -> models.Model:
    return models.verify(seal(graph, manifest), Path(manifest.name))


def _logits(graph: bytes, plain: Manifest, images: HeldOut | None) -> npt.NDArray[np.float32]:
    """``(n, classes)`` of all held-out images."""
    if images is None:
        return np.zeros((0, len(plain.labels)), np.float32)
    return outputs(_verified(graph, plain), images.pictures)["logits"]


def _layers(
    net: FloatNetwork,
    made: list[Made],
    attempts: list[ladder.Attempt],
    given: Material | None,
    images: HeldOut | None,
) -> list[layers.Layer]:
    """Of the first scheme with integer activations, on representative pictures, or else on held-out ones."""
    pictures = given.pictures if given is not None and given.pictures is not None else None
    if pictures is None and images is not None:
        pictures = images.pictures
    first = next((m for m in made if m.scheme in CALIBRATED), None)
    if pictures is None or first is None:
        return []
    origin = attempts[-1].network if first.scheme == "int8" else net
    return layers.compare(origin, first.graph, pictures[: ladder.PROBES])


def _disagreements(made: Made, images: HeldOut, floats: npt.NDArray[np.float32]) -> list[Disagreement]:
    """Of the images that the report is about."""
    ours, theirs = calibrated(floats, replace(made.manifest, correction=())), calibrated(made.logits, made.manifest)
    rows = images.reported
    names = [name for name, kept in zip(images.names, rows) if kept]
    return largest(names, images.pictures[rows], made.manifest.input, made.manifest.labels, ours[rows], theirs[rows])


def _recorded_figures(stem: Path) -> dict[str, Any]:
    """What ``--record`` kept of int8."""
    path = beside(stem, ".figures.json")
    try:
        figures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(figures, dict):
            raise ValueError("it is no table")
        return figures
    except (ValueError, OSError, RecursionError) as error:
        raise ConversionError(f"{path}: cannot be read ({error}); delete it, or record it again") from error


def _write(
    options: Options, told: report.Report, given: Material | None, made: list[Made], say: Callable[[str], Any]
) -> None:
    """Everything at once: all files or none."""
    contents: dict[Path, bytes | str] = {options.places[c.scheme]: c.model.data for c in told.candidates}
    compiled, beside_it = None, Path()
    if options.edgetpu:
        int8 = next(c for c in told.candidates if c.scheme == "int8")
        say("\n" + lint.text(lint.check(int8.model.data, options.places["int8"].name), options.places["int8"].name))
        compiled = compiler.compile_if_installed(replace(int8.model, path=options.places["int8"]))
        beside_it = compiler.name_beside(options.places["int8"])
    if compiled:
        contents.update({beside_it: compiled.data, beside_it.with_suffix(".log"): compiled.printed})
    if options.format == "c-array":
        for m in made:
            beside_one = c_array.name_beside(options.places[m.scheme])
            contents[beside_one] = c_array.header(m.graph, m.manifest, beside_one.name)
    batches = [(batch.name_beside(options.places[m.scheme], options.batch), m) for m in made if options.batch > 1]
    contents.update({path: batch.of(m.graph, options.batch) for path, m in batches})
    if options.record:
        contents.update(_records(options.stem, told, given, made))
    if options.report:
        contents.update({options.report / name: content for name, content in told.contents().items()})
    files.write_all(contents)
    for c in told.candidates:
        say(f"wrote {options.places[c.scheme]}  sha256 {c.model.sha256}")
    if options.format == "c-array":
        for c in told.candidates:
            say(f"wrote {c_array.name_beside(options.places[c.scheme])}")
    for path, _ in batches:
        say(f"wrote {path}  for {options.batch} images at a time, without a manifest")
    if compiled:
        say(f"wrote {beside_it}  {compiled.log.edge_tpu or 'some'} operations on the Edge TPU")
    if options.report:
        say(f"wrote {options.report / 'report.md'}")


def _records(stem: Path, told: report.Report, given: Material | None, made: list[Made]) -> dict[Path, bytes | str]:
    """What ``--record`` keeps beside the network: numbers instead of images."""
    contents: dict[Path, bytes | str] = {}
    if given is not None:
        last = told.attempts[-1] if told.attempts else None
        how = (last.rung.name, last.clip, last.wide, last.rung.base) if last else ("", "", ())
        used = last.material if last else given  # a rung may have learnt more from the images
        contents[beside(stem, ".ranges.json")] = material.to_json(used, *how)
    kept = next((i for i, m in enumerate(made) if m.scheme == "int8"), 0)
    contents.update(judgement.contents(made[kept].fitted, stem))
    if made[kept].scheme == "int8" and told.candidates[kept].agreement:
        figures = report.figures("int8", told.candidates[kept].agreement)
        contents[beside(stem, ".figures.json")] = json.dumps(figures, indent=1) + "\n"
    return contents
