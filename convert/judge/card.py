"""The model card that travels inside a ``.tflite`` (Mitchell et al., FAT* 2019): what people must know of it."""

from __future__ import annotations

from typing import Any

from covidnet_lite.network.manifest import Manifest
from covidnet_lite.network.operating_point import OperatingPoint

NAME = "MODEL_CARD.md"  # in the archive


def write(manifest: Manifest, scheme: str, description: str, figures: dict[str, Any]) -> str:
    """Markdown.

    Args:
        manifest: of the network.
        scheme: how it is stored, a key of :data:`convert.quantisation.scheme.SCHEMES`.
        description: that scheme in words.
        figures: what was measured, name -> value; empty for nothing.
    """
    spec = manifest.input
    facts = {
        "labels": ", ".join(manifest.labels),
        "input": f"one {_input_kind(manifest)}, {spec.height} x {spec.width}"
        + (f", channels in the order {spec.colour}" if spec.in_colour else "")
        + (" in three equal channels" if spec.channels == 3 and not spec.in_colour else "")
        + (", cropped to the lungs by the network in lungs.tflite" if spec.lungs else "")
        + (", gray levels equalised" if spec.equalise else ""),
        "outputs": ", ".join(sorted(manifest.outputs)),
        "arithmetic": f"{scheme}: {description}",
        "calibration": manifest.provenance.get("calibration", "none"),
        "quantised by": manifest.provenance.get("quantised", "none"),
        "temperature": manifest.temperature,
        "licence of the weights": manifest.licence or "not stated",
        "made from": f"a network with SHA-256 {manifest.provenance.get('network_sha256') or 'not stated'}",
    }
    measured = [f"| {name} | {_cell(value)} |" for name, value in figures.items()]
    lines = [
        f"# {manifest.name} {manifest.version}".rstrip(),
        "",
        f"**{manifest.intended_use}** It tells which training class an image resembles"
        + (", not what a person has." if manifest.is_of_radiographs else "."),
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in facts.items()),
        "",
        "## Float and quantised",
        "",
        *(["| | |", "|---|---|", *measured] if measured else ["Not measured: no labelled images were given."]),
        "",
        "## When it stays silent",
        "",
        _rules(manifest.operating_point) if manifest.operating_point else _threshold(manifest),
        "It refuses images unlike those it was trained on"
        + (f", and radiographs {', '.join(manifest.guard.faults)}." if manifest.guard.faults else ".")
        if manifest.guard
        else "It has no guard: it answers on any image.",
        "",
    ]
    return "\n".join(lines)


def _input_kind(manifest: Manifest) -> str:
    if manifest.input.in_colour:
        return "image in colour"
    return "gray radiograph" if manifest.is_of_radiographs else "gray image"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _rules(point: OperatingPoint) -> str:
    negative, most = point.negative, 1 - point.positive_from
    kinds = "; ".join(f"{label} from a share of {share:.0%}" for label, share in point.alone_from.items())
    risks = ", ".join(f"{name} {value}" for name, value in point.risks.items())
    return (
        f"It answers {negative} from a probability of {point.negative_from:.1%}, and not {negative} up to {most:.1%}; "
        f"in between it gives no answer. Of what is not {negative} one label is given alone ({kinds}), else all "
        f"together. Chosen for these shares of errors: {risks or 'not stated'}."
    )


def _threshold(manifest: Manifest) -> str:
    if manifest.threshold == 0:
        return "Never: no validation images were given to choose a threshold on."
    if manifest.threshold > 1:
        return "Always: on the validation images no confidence had as few errors as were asked for."
    return f"Below a confidence of {manifest.threshold:.1%}, chosen on validation images."
