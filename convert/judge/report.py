"""What a conversion did and what it cost, for machines (JSON), for people (Markdown) and for the terminal."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convert import metrics
from convert.judge import disagreement, plots
from convert.judge.agreement import NEAR, Agreement, accuracy
from convert.judge.candidate import Candidate, dominated
from convert.judge.disagreement import Disagreement
from convert.quantisation.fallbacks import Attempt
from convert.quantisation.layers import Layer

MARKDOWN_LAYERS = 12  # layers listed in Markdown; JSON has all


@dataclass(frozen=True, eq=False)
class Report:
    """One conversion.

    Attributes:
        network: the name of the file that was converted.
        network_sha256: its hash; empty for a folder.
        candidates: the networks made, the first one in full.
        attempts: fallbacks tried for int8, in order.
        layers: of the first network that has int8 or int16 activations, the noisiest first.
        calibration: what the activation ranges were recorded from.
        calibration_sha256: of the images, whatever their order; empty where there were none.
        judged: what the figures are about.
        packages: name -> version.
        assumed: what was taken for granted and nothing in the network's file could confirm.
        disagreements: images on which the first network differs most from float.
    """

    network: str
    network_sha256: str
    candidates: Sequence[Candidate]
    attempts: Sequence[Attempt]
    layers: Sequence[Layer]
    calibration: str
    calibration_sha256: str
    judged: str
    packages: dict[str, str]
    assumed: Sequence[str] = ()
    disagreements: Sequence[Disagreement] = ()

    def contents(self) -> dict[str, bytes | str]:
        """File name -> content of the whole report.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        images = plots.draw(self.candidates, self.layers)
        if self.disagreements:
            images[disagreement.NAME] = disagreement.draw(self.disagreements, self.candidates[0].scheme)
        return {"report.json": to_json(self), "report.md": to_markdown(self, list(images)), **images}


def figures(scheme: str, agreement: Agreement | None) -> dict[str, Any]:
    """What was measured, for the model card and for ``--record``: nothing that changes from run to run."""
    a = agreement
    if a is None:
        return {}
    labelled = {
        "float accuracy": round(a.float_correct / max(a.labelled, 1), 4),
        f"{scheme} accuracy": round(a.correct / max(a.labelled, 1), 4),
    }
    return {
        "images": a.images,
        **(labelled if a.labelled else {}),
        "top-1 agreement": round(a.top1, 4),
        "confidence drift": round(a.drift, 4),
    }


def to_json(report: Report) -> str:
    """Everything, keys in a fixed order."""
    worse = dominated(list(report.candidates))
    fields = {
        "network": report.network,
        "network_sha256": report.network_sha256,
        "assumed": list(report.assumed),
        "calibration": report.calibration,
        "calibration_sha256": report.calibration_sha256,
        "judged": report.judged,
        "schemes": [_scheme(c, c.scheme in worse) for c in report.candidates],
        "rungs": [_attempt(attempt) for attempt in report.attempts],
        "layers": [asdict(layer) for layer in report.layers],
        "packages": report.packages,
        "machine": {"processor": platform.machine(), "system": platform.system(), "python": platform.python_version()},
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def _attempt(attempt: Attempt) -> dict[str, Any]:
    fallback = attempt.fallback
    return {
        "rung": fallback.name,
        "what": fallback.description,
        "clip": attempt.clip,
        "agreement": attempt.agreement,
        "distance": attempt.distance,
        "wide": list(attempt.wide),
    }


def _scheme(candidate: Candidate, is_dominated: bool) -> dict[str, Any]:
    a = candidate.agreement
    measured = None
    if a is not None:
        shares = {"float_accuracy": _share(a.float_correct, a.labelled), "accuracy": _share(a.correct, a.labelled)}
        measured = {**asdict(a), **shares, "mcnemar_p": a.mcnemar if a.labelled else None, "clear": a.clear}
    return {
        "scheme": candidate.scheme,
        "sha256": candidate.model.sha256,
        "bytes": len(candidate.model.data),
        "latency_ms": round(candidate.latency, 3),
        "float_latency_ms": round(candidate.float_latency, 3),
        "times_as_fast_as_float": round(candidate.speed, 3),
        "dominated": is_dominated,
        "agreement_on_all_held_out": candidate.all_agreement,
        "agreement": measured,
    }


def _share(correct: int, total: int) -> dict[str, float] | None:
    """A share and the ends of its 95 % interval (Wilson); ``None`` of nothing."""
    if not total:
        return None
    low, high = metrics.wilson(correct, total)
    return {"share": correct / total, "low": low, "high": high}


def to_text(report: Report, float_bytes: int) -> str:
    """The table for the terminal: one column a scheme."""
    first = report.candidates[0]
    a = first.agreement
    rows = [
        ("", "float", [c.scheme for c in report.candidates]),
        ("size", f"{float_bytes / 1e6:.2f} MB", [f"{len(c.model.data) / 1e6:.2f} MB" for c in report.candidates]),
        ("latency, one thread", f"{first.float_latency:.2f} ms", [f"{c.latency:.2f} ms" for c in report.candidates]),
        ("times as fast", "1", [f"{c.speed:.2f}" for c in report.candidates]),
    ]
    if a is not None:
        compared = [(c, c.agreement) for c in report.candidates if c.agreement]
        if a.labelled:
            shares = [accuracy(x.correct, x.labelled) for _, x in compared]
            rows.append(("accuracy (95 %)", accuracy(a.float_correct, a.labelled), shares))
            rows.append(("McNemar's p", "", [f"{x.mcnemar:.2f}" for _, x in compared]))
        rows.append(("top-1 agreement", "", [f"{x.top1:.2%}" for _, x in compared]))
        if a.near:
            rows.append(("  but for near ties", "", [f"{x.clear:.2%}" for _, x in compared]))
        rows.append(("mean confidence drift", "", [f"{x.drift:.4f}" for _, x in compared]))
    lines = [f"{name:<22}" + "".join(f"{cell:>22}" for cell in (f, *cells)) for name, f, cells in rows]
    lines = [line.rstrip() for line in lines]
    if a is None:
        return "\n".join([*lines, "agreement and accuracy: not measured; pass --data with images that were held out"])
    lines.append(f"judged on {a.images} images ({report.judged}), {a.labelled} of them labelled")
    if a.near:
        lines.append(_hesitation(a))
    worse = dominated(list(report.candidates))
    if worse:
        lines.append(f"not worth having, since another is better all round: {', '.join(worse)}")
    return "\n".join(lines)


def to_markdown(report: Report, images: Sequence[str]) -> str:
    """For people; ``images`` are the names of the plots beside it."""
    first = report.candidates[0]
    parts = [
        f"# {Path(report.network).name} in {', '.join(c.scheme for c in report.candidates)}",
        "Research use only; not a medical device.",
        *([_assumed(report)] if report.assumed else []),
        *(f"**{c.scheme} is below the bar: it {below}.**" for c in report.candidates if (below := _below(c))),
        _summary(report),
        "## Schemes",
        _schemes(report),
        *[f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in images if name == plots.SCHEMES],
    ]
    if report.attempts:
        parts += ["## Fallbacks tried for int8", _fallbacks(report)]
    plain = [name for name in images if name not in (plots.SCHEMES, disagreement.NAME)]
    if report.layers:
        parts += ["## Layers, the noisiest first", _layers(report.layers)]
        parts += [f"![{name.removesuffix('.png')}]({name})" for name in plain]
    a = first.agreement
    if a is not None and a.differing:
        names = "\n".join(f"* `{name}`" for name in a.differing)
        parts += [f"## Images on which float and {first.scheme} disagree", names]
    if disagreement.NAME in images:
        parts += ["## Images on which the probabilities differ most", f"![disagreements]({disagreement.NAME})"]
    parts += ["## What it was made with", _provenance(report)]
    return "\n\n".join(parts) + "\n"


def _below(candidate: Candidate) -> str:
    return str(candidate.model.manifest.provenance.get("below_the_bar", ""))


def _assumed(report: Report) -> str:
    return "**Assumed, not checked:**\n\n" + "\n".join(f"* {assumption}" for assumption in report.assumed)


def _summary(report: Report) -> str:
    first, a = report.candidates[0], report.candidates[0].agreement
    if a is None:
        return "Agreement and accuracy were **not measured**: there were no held-out images."
    lines = [
        f"On {a.images} images ({report.judged}) {first.scheme} names the class that float names in **{a.top1:.2%}**; "
        f"its confidence drifts by {a.drift:.4f} on average."
    ]
    if a.near:
        lines.append(f"{_hesitation(a).capitalize()}; on the others the two agree in {a.clear:.2%}.")
    if a.labelled:
        lines.append(
            f"Of {a.labelled} labelled ones float is right in {accuracy(a.float_correct, a.labelled)} and "
            f"{first.scheme} in {accuracy(a.correct, a.labelled)} (95 % intervals, Wilson): "
            f"float alone is right on {a.float_only}, {first.scheme} alone on {a.only}; "
            f"McNemar's exact p is {a.mcnemar:.2f}."
        )
    return " ".join(lines)


def _hesitation(a: Agreement) -> str:
    return (
        f"float hesitates on {a.near} of {a.images} images: its two best classes are within {NEAR:.0%} of each other, "
        "and rounding may turn them"
    )


def _schemes(report: Report) -> str:
    worse = dominated(list(report.candidates))
    lines = [
        "| scheme | size | times as fast as float | agreement | accuracy (95 %) | drift | McNemar's p | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in report.candidates:
        a = c.agreement
        judged = (
            ["-"] * 4
            if a is None
            else [
                f"{a.top1:.2%}",
                accuracy(a.correct, a.labelled),
                f"{a.drift:.4f}",
                f"{a.mcnemar:.2f}" if a.labelled else "-",
            ]
        )
        remark = "dominated: another is better all round" if c.scheme in worse else ""
        cells = [c.scheme, f"{len(c.model.data) / 1e6:.2f} MB", f"{c.speed:.2f}", *judged, remark]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _fallbacks(report: Report) -> str:
    lines = [
        "| fallback | agreement on all held-out images | distance on copies of the calibration images | |",
        "|---|---|---|---|",
    ]
    for t in report.attempts:
        share = "not measured" if t.agreement is None else f"{t.agreement:.2%}"
        distance = "not measured" if t.distance is None else f"{t.distance:.5f}"
        lines.append(f"| {t.fallback.name} | {share} | {distance} | {t.fallback.description} |")
    return "\n".join(lines)


def _layers(layers: Sequence[Layer]) -> str:
    def span(ends: tuple[float, float] | None) -> str:
        return "-" if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}"

    lines = [
        "| layer | operation | signal to noise | lost here | activation | weights | largest weight by channel |",
        "|---|---|---|---|---|---|---|",
    ]
    for w in layers[:MARKDOWN_LAYERS]:
        spans = (span(w.range), span(w.weights), span(w.channels))
        lines.append(f"| `{w.name}` | {w.operation} | {w.snr:.1f} dB | {w.lost:.1f} dB | {' | '.join(spans)} |")
    if len(layers) > MARKDOWN_LAYERS:
        lines.append(f"\n{len(layers) - MARKDOWN_LAYERS} more are in report.json.")
    return "\n".join(lines)


def _provenance(report: Report) -> str:
    facts = {
        "network": f"`{report.network}` {report.network_sha256}".strip(),
        "calibration": report.calibration
        + (f", SHA-256 of the images {report.calibration_sha256}" if report.calibration_sha256 else ""),
        **{f"{c.scheme} file": f"{len(c.model.data)} bytes, SHA-256 {c.model.sha256}" for c in report.candidates},
        **report.packages,
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])
