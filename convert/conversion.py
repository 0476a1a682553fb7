"""The whole way from a trained network to files that explain themselves: load, calibrate, quantise, judge, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import output_files
from convert.judge import card, judgement, report
from convert.judge.agreement import NEAR, latencies, near_ties
from convert.judge.candidate import Candidate, agree
from convert.judge.disagreement import Disagreement, largest
from convert.judge.distance import distance_on
from convert.judge.held_out import HeldOut, gather
from convert.judge.judgement import Judgement, path_beside
from convert.judge.network_outputs import outputs
from convert.options import Options, check_output_paths
from convert.quantisation import calibration_data, fallbacks, layers, representative_images
from convert.quantisation.calibration_data import CalibrationData
from convert.quantisation.scheme import CALIBRATED, SCHEMES
from convert.quantised_network import QuantisedNetwork
from convert.source import network as networks
from convert.source.network import FloatNetwork
from convert.tflite_file import metadata
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import ConversionError, DatasetError
from covidnet_lite.network import model as models
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.prediction import calibrated

COUNT, SYNTHETIC_COUNT = 200, 32  # representative images
PACKAGES = ("tensorflow", "keras", "litert-quantizer", "ai-edge-litert")


def convert(options: Options, log: Callable[[str], Any] = print) -> report.Report:
    """Converts; writes nothing before all of it has worked, and returns what was done.

    Raises:
        CovidNetLiteError: something is missing, wrong, or not good enough; the message says what to do.
    """
    check_output_paths(options)
    network = networks.load(
        options.network, options.labels, options.input_range, options.equalise, options.scaled, options.colour
    )
    for assumption in network.assumed:
        log(f"assumed, not checked: {assumption}")
    source = options.data or (options.calibration if options.calibration_is_on_disk else None)
    cases = read_dataset(source) if source else []
    calibration, calibration_cases = _calibration_data(options, network)
    held_out = gather(cases, calibration_cases, network.labels, network.spec)
    if held_out is None and options.data:
        raise DatasetError(
            f"{options.data}: none of its {len(cases)} images can be judged on: they must be in the val or test split, "
            f"or in none and not in --calibration, and be labelled {', '.join(network.labels)} or not at all"
        )
    if held_out is not None and calibration is not None and calibration.images is not None:
        representative_images.refuse_overlap(calibration.images, held_out.images, held_out.names)

    base_manifest = _manifest(options, network)
    floats = _logits(network.tflite, base_manifest, held_out)
    is_near_tie = near_ties(calibrated(floats, base_manifest))
    if held_out is not None and is_near_tie.mean() > 1 - options.min_agreement:
        log(
            f"float hesitates on {is_near_tie.sum()} of {len(is_near_tie)} held-out images, where its two best classes "
            f"are within {NEAR:.0%} of each other: rounding may turn those, so agreement says less than usual"
        )
    attempts, quantised = _quantise_all(options, network, base_manifest, calibration, cases, held_out, floats, log)
    recorded = _recorded_figures(options.stem) if held_out is None else {}
    candidates = _compare_all(network, quantised, held_out, floats, recorded)

    noisy = _layers(network, quantised, attempts, calibration, held_out) if options.report else []
    result = report.Report(
        options.network.name,
        str(base_manifest.provenance["network_sha256"]),
        candidates,
        attempts,
        noisy,
        calibration.origin if calibration else "none",
        representative_images.digest(calibration.images)
        if calibration is not None and calibration.images is not None
        else "",
        held_out.description if held_out else "nothing",
        base_manifest.provenance["packages"],
        network.assumed,
        _disagreements(quantised[0], held_out, floats) if options.report and held_out is not None else [],
    )
    log(report.to_text(result, len(network.tflite)))
    if recorded and "int8" in options.schemes:
        log(
            "recorded earlier, on images that are not here: "
            + ", ".join(f"{name} {value}" for name, value in recorded.items())
        )
    output_files.write(options, result, calibration, quantised, log)
    return result


def _calibration_data(options: Options, network: FloatNetwork) -> tuple[CalibrationData | None, list[LabelledImage]]:
    """What to quantise with and the cases it came from; nothing where no scheme needs it."""
    if options.calibration_is_synthetic:
        return calibration_data.from_network(network, options.network, options.count or SYNTHETIC_COUNT), []
    if options.calibration_is_on_disk and options.calibration:
        cases = read_dataset(options.calibration)
        usable = [c for c in cases if c.label in network.labels or not c.label]  # the rest it was not trained for
        representative = representative_images.choose(usable or cases, options.count or COUNT)
        return calibration_data.from_cases(network, representative), representative
    if options.calibration:
        return calibration_data.from_npz(network, options.calibration, options.count or COUNT), []
    path = options.ranges or path_beside(options.stem, ".ranges.json")
    if options.ranges or path.is_file():
        return calibration_data.read(path), []
    if any(scheme in CALIBRATED for scheme in options.schemes):
        raise ConversionError(
            f"{options.network}: int8 needs the range of every activation; pass --calibration FOLDER with images, "
            "--ranges FILE, or --calibration synthetic where no image may be shown"
        )
    return None, []


def _manifest(options: Options, network: FloatNetwork) -> Manifest:
    """Facts only that are the same in every run, or the file would not be."""
    digest = hashlib.sha256(options.network.read_bytes()).hexdigest() if options.network.is_file() else ""
    facts = {k: v for k, v in network.facts.items() if k not in ("name", "version", "licence", "manifest")}
    try:
        manifest = Manifest(
            options.name or network.facts.get("name") or options.stem.name,
            network.labels,
            network.spec,
            network.outputs,
            version=options.version or network.facts.get("version", ""),
            licence=str(options.licence or network.facts.get("licence", "")),
            provenance={
                **facts,
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


def _quantise_all(
    options: Options,
    network: FloatNetwork,
    base_manifest: Manifest,
    calibration: CalibrationData | None,
    cases: list[LabelledImage],
    held_out: HeldOut | None,
    floats: npt.NDArray[np.float32],
    log: Callable[[str], Any],
) -> tuple[list[fallbacks.Attempt], list[QuantisedNetwork]]:
    """Each scheme's graph and what is fitted to it; the fallbacks that int8 took."""

    @lru_cache(maxsize=1)  # the last fallback is the one that is kept
    def logits_of(graph: bytes) -> npt.NDArray[np.float32]:
        return _logits(graph, base_manifest, held_out)

    def agreement(graph: bytes) -> float:
        return float((logits_of(graph).argmax(1) == floats.argmax(1)).mean())

    attempts: list[fallbacks.Attempt] = []
    quantised = []
    judgements: dict[bool, Judgement] = {}  # of int8, and of float for all other schemes
    for scheme in options.schemes:
        description = SCHEMES[scheme]
        if scheme == "int8":
            assert calibration is not None
            measure = agreement if held_out else None
            attempts = _quantise_to_int8(options, network, base_manifest, calibration, measure, log)
            graph, fallback = attempts[-1].quantised, attempts[-1].fallback
            as_recorded = fallback is fallbacks.FALLBACKS[0] and calibration.images is None and not calibration.fallback
            description = (
                "the ranges as they were recorded" if as_recorded else f"{fallback.name}: {fallback.description}"
            )
            description += f"; {options.scope.description}" if options.scope.description else ""
        else:
            graph = fallbacks.plain(network, scheme, calibration)
        too_low = bool(held_out) and agreement(graph) < options.min_agreement
        if too_low and not options.write_best:
            raise ConversionError(
                f"{scheme}: agrees with float on {agreement(graph):.2%} of the held-out images, not on "
                f"{options.min_agreement:.2%}; nothing was written. Lower --min-agreement, or leave this scheme out"
            )
        provenance = {"calibration": calibration.origin} if calibration is not None and scheme in CALIBRATED else {}
        if too_low:
            provenance["below_the_bar"] = (
                f"agrees with float on {agreement(graph):.2%} of the held-out images, less than the "
                f"{options.min_agreement:.2%} asked for"
            )
        manifest = replace(
            base_manifest, provenance={**base_manifest.provenance, **provenance, "quantised": description}
        )
        if (scheme == "int8") not in judgements:
            judgements[scheme == "int8"] = _fit_judgement(options, network, base_manifest, scheme, graph, cases)
        fitted = judgements[scheme == "int8"]
        try:
            quantised.append(
                QuantisedNetwork(scheme, graph, logits_of(graph), replace(manifest, **fitted.rules()), fitted)
            )
        except (ValueError, TypeError) as error:
            raise ConversionError(
                f"{path_beside(options.stem, '.judgement.json')}: does not fit this network ({error}); "
                "fit it again with --data ... --record"
            ) from error
    return attempts, quantised


def _quantise_to_int8(
    options: Options,
    network: FloatNetwork,
    base_manifest: Manifest,
    calibration: CalibrationData,
    agreement: Callable[[bytes], float] | None,
    log: Callable[[str], Any],
) -> list[fallbacks.Attempt]:
    """The fallbacks that int8 took; the one to keep comes last, which is the best where a person asked for that."""
    images = calibration.images
    distance = distance_on(images, network, base_manifest) if images is not None else None
    try:
        return fallbacks.search(network, calibration, agreement, options.min_agreement, log, options.scope, distance)
    except fallbacks.TooLittleAgreement as error:
        if not options.write_best:
            raise
        best = fallbacks.best_of(error.attempts)
        log(f"{best.fallback.name}: written as the best there is, below the bar")
        return [*(a for a in error.attempts if a is not best), best]


def _fit_judgement(
    options: Options,
    network: FloatNetwork,
    base_manifest: Manifest,
    scheme: str,
    graph: bytes,
    cases: list[LabelledImage],
) -> Judgement:
    """int8 is fitted as it ships; the other schemes are so near to float that they take what fits float."""
    if not any(c.split == "val" for c in cases):
        recorded = judgement.load(options.stem)
        manifest = network.facts.get("manifest")  # by a .tflite of ours, where nothing lies beside it
        if manifest is not None and not path_beside(options.stem, ".judgement.json").is_file():
            rules = {
                k: getattr(manifest, k) for k in ("temperature", "threshold", "guard", "operating_point", "extent")
            }
            recorded = Judgement(**rules)
        return recorded if scheme == "int8" else replace(recorded, correction=())
    original = _verified(network.tflite, base_manifest)
    fitted = _verified(graph, base_manifest) if scheme == "int8" else original
    return judgement.fit(fitted, original, cases, options.target_error)


def _compare_all(
    network: FloatNetwork,
    quantised: list[QuantisedNetwork],
    held_out: HeldOut | None,
    floats: npt.NDArray[np.float32],
    recorded: dict[str, Any],
) -> list[Candidate]:
    """Candidates as they will be written, with what the step from float cost."""
    original = Interpreter(_verified(network.tflite, replace(quantised[0].manifest, guard=None)), threads=1)
    latency = latencies([original, *(Interpreter(_verified(m.graph, m.manifest), threads=1) for m in quantised)])
    candidates = []
    for m, milliseconds in zip(quantised, latency[1:]):
        agreement, overall = None, None
        if held_out is not None:
            # Float is told with the same temperature, so that what differs is the arithmetic.
            float_manifest = replace(m.manifest, correction=())
            agreement, overall = agree(held_out, floats, float_manifest, m.logits, m.manifest)
        figures = report.figures(m.scheme, agreement) or (recorded if m.scheme == "int8" else {})
        text = card.write(m.manifest, m.scheme, SCHEMES[m.scheme], figures)
        sealed = seal(metadata.attach(m.graph, m.manifest), m.manifest, {card.NAME: text.encode()})
        model = models.verify(sealed, Path(m.scheme))
        candidates.append(Candidate(m.scheme, model, agreement, overall, milliseconds, latency[0]))
    return candidates


def _verified(graph: bytes, manifest: Manifest) -> models.Model:
    return models.verify(seal(graph, manifest), Path(manifest.name))


def _logits(graph: bytes, base_manifest: Manifest, held_out: HeldOut | None) -> npt.NDArray[np.float32]:
    """``(n, classes)`` of all held-out images."""
    if held_out is None:
        return np.zeros((0, len(base_manifest.labels)), np.float32)
    return outputs(_verified(graph, base_manifest), held_out.images)["logits"]


def _layers(
    network: FloatNetwork,
    quantised: list[QuantisedNetwork],
    attempts: list[fallbacks.Attempt],
    calibration: CalibrationData | None,
    held_out: HeldOut | None,
) -> list[layers.Layer]:
    """Of the first scheme with integer activations, on representative images, or else on held-out ones."""
    probes = calibration.images if calibration is not None and calibration.images is not None else None
    if probes is None and held_out is not None:
        probes = held_out.images
    first = next((m for m in quantised if m.scheme in CALIBRATED), None)
    if probes is None or first is None:
        return []
    float_network = attempts[-1].network if first.scheme == "int8" else network
    return layers.compare(float_network, first.graph, probes[: fallbacks.PROBES])


def _disagreements(
    quantised: QuantisedNetwork, held_out: HeldOut, floats: npt.NDArray[np.float32]
) -> list[Disagreement]:
    """Of the images that the report is about."""
    float_probabilities = calibrated(floats, replace(quantised.manifest, correction=()))
    probabilities = calibrated(quantised.logits, quantised.manifest)
    rows = held_out.reported
    names = [name for name, is_reported in zip(held_out.names, rows) if is_reported]
    return largest(
        names,
        held_out.images[rows],
        quantised.manifest.input,
        quantised.manifest.labels,
        float_probabilities[rows],
        probabilities[rows],
    )


def _recorded_figures(stem: Path) -> dict[str, Any]:
    """What ``--record`` kept of int8."""
    path = path_beside(stem, ".figures.json")
    try:
        figures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(figures, dict):
            raise ValueError("it is no table")
        return figures
    except (ValueError, OSError, RecursionError) as error:
        raise ConversionError(f"{path}: cannot be read ({error}); delete it, or record it again") from error
