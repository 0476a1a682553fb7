"""Ways to quantise, the plainest first; the next is tried when the last one agrees too little with float.

Each rung keeps what made the ones before it better. A network whose plain int8 is good enough stays plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convert.quantisation import activations as acts
from convert.quantisation import layers, scheme
from convert.quantisation.activations import Activations
from convert.quantisation.bias_correction import correct_biases
from convert.quantisation.equalise import equalise
from convert.quantisation.material import Material
from convert.quantisation.scope import EVERYTHING, Scope, matching
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError

PROBES = 32  # pictures for finding the noisiest layers


@dataclass(frozen=True)
class Rung:
    """One way to quantise.

    Attributes:
        name: short, for reports and recorded ranges.
        what: in words.
        clip: how activation ranges are chosen, a method of :class:`convert.quantisation.activations.Activation`;
            empty for the one that agreed best so far.
        corrected: whether biases are corrected.
        equalised: whether channels are equalised first.
        wide: share of the activations, the noisiest, that keep 16 bits.
        base: name of the rung that a wide one goes on from, the best so far; else empty.
    """

    name: str
    what: str
    clip: str = ""
    corrected: bool = False
    equalised: bool = False
    wide: float = 0.0
    base: str = ""


RUNGS = (
    Rung("min-max", "the whole range of each activation", "min-max"),
    Rung("percentile", f"activations clipped to {acts.PERCENTILE} % of their values", "percentile"),
    Rung("mse", "activations clipped where rounding loses least", "mse"),
    Rung("bias", "the best of these, and biases corrected for the rounding of weights", corrected=True),
    Rung("equalised", "cross-layer equalisation and bias correction", corrected=True, equalised=True),
    Rung("int16 10 %", "the best of these, and the noisiest tenth of the layers in 16 bits", wide=0.10),
    Rung("int16 25 %", "the best of these, and the noisiest quarter of the layers in 16 bits", wide=0.25),
)
OLD_BASE = "equalised"  # of wide rungs recorded by versions that did not say it


class TooLittleAgreement(ConversionError):
    """No rung agrees well enough with float; ``attempts`` has those that were tried."""

    def __init__(self, message: str, attempts: list[Attempt]) -> None:
        super().__init__(message)
        self.attempts = attempts


@dataclass(frozen=True, eq=False)
class Attempt:
    """One rung, tried.

    Attributes:
        rung: which.
        clip: how the activation ranges were chosen.
        network: the float network it was made from, equalised where the rung says so.
        material: enough to make the same again without pictures.
        quantised: the int8 flatbuffer.
        agreement: share of the held-out images with float's class; ``None`` where there were none.
        wide: layers that keep 16 bits.
    """

    rung: Rung
    clip: str
    network: FloatNetwork
    material: Material
    quantised: bytes
    agreement: float | None
    wide: tuple[str, ...] = ()


def climb(
    network: FloatNetwork,
    material: Material,
    judge: Callable[[bytes], float] | None,
    least: float,
    say: Callable[[str], Any] = print,
    scope: Scope = EVERYTHING,
) -> list[Attempt]:
    """Tries rung after rung until one agrees well enough; the last attempt is the one to keep.

    Args:
        network: to quantise.
        material: to quantise it with.
        judge: an int8 flatbuffer -> its top-1 agreement with float on held-out images; ``None`` where there are none.
        least: agreement that is enough.
        say: told of each rung but a first one that is enough.
        scope: layers kept off 8 bits.

    Raises:
        TooLittleAgreement: no rung agrees well enough.
    """
    recorded = (i for i, rung in enumerate(RUNGS) if rung.name == material.rung and not _lacking(rung, material, scope))
    start = next(recorded, 0)
    attempts: list[Attempt] = []
    for rung in RUNGS[start:]:
        lacking = _lacking(rung, material, scope)
        if lacking:
            say(f"{rung.name}: not tried, {lacking}")
            continue
        best = max(attempts, key=lambda a: a.agreement or 0) if attempts else None
        clip = best.clip if best else material.clip or RUNGS[0].clip
        base = best.rung if best else _named(material.base or OLD_BASE)
        attempt = _try(_upon(rung, base), network, material, judge, clip, scope)
        attempts.append(attempt)
        if attempt.agreement is None:
            return attempts
        if attempt.agreement >= least:
            if len(attempts) > 1:
                say(f"{rung.name}: {attempt.agreement:.2%} agreement, enough ({rung.what})")
            return attempts
        say(f"{rung.name}: {attempt.agreement:.2%} agreement, less than {least:.2%} ({rung.what})")
    best = max(attempts, key=lambda a: a.agreement or 0)
    raise TooLittleAgreement(
        f"no way to int8 reaches the agreement asked for, {least:.2%}: the best is {best.rung.name!r} with "
        f"{best.agreement:.2%}; nothing was written. Calibrate on more or better representative images, keep the "
        "noisiest layers of the report in float (--keep-float NAME), "
        + ("" if scope.allow_int16 else "pass --allow-int16 (slower than float on a CPU), ")
        + "take --schemes float16, write the best of them all the same (--write-best), or lower --min-agreement",
        attempts,
    )


def plain(network: FloatNetwork, scheme_name: str, material: Material | None) -> bytes:
    """A flatbuffer in a scheme other than int8: float enough to need no rung.

    Raises:
        ConversionError: the scheme needs ranges and there are none, or lacks a kernel.
    """
    if scheme_name not in scheme.CALIBRATED or material is None:
        return scheme.quantise(network.tflite, scheme_name)
    known = acts.by_tensor(material.activations, network)
    return scheme.quantise(network.tflite, scheme_name, {name: a.range(RUNGS[0].clip) for name, a in known.items()})


def _named(name: str) -> Rung:
    return next((rung for rung in RUNGS if rung.name == name), RUNGS[0])


def _upon(rung: Rung, base: Rung) -> Rung:
    """A wide rung does all that the best one so far does."""
    if not rung.wide:
        return rung
    return replace(rung, corrected=base.corrected, equalised=base.equalised, base=base.base or base.name)


def _lacking(rung: Rung, material: Material, scope: Scope) -> str:
    """What a rung would need and there is not; empty when it can be tried."""
    full = all(a.is_full for layer, a in material.activations.items() if layer != acts.INPUT)
    if rung.name != RUNGS[0].name and not full:
        return "the ranges say no more than lowest and highest; pass --calibration, or record them again"
    if rung.wide and not scope.allow_int16 and not _recorded_wide(rung, material):
        return "16 bits are slower than float on a CPU; pass --allow-int16 to take them all the same"
    if rung.wide and material.pictures is None and not _recorded_wide(rung, material):
        return "which layers are noisiest is seen on images alone; pass --calibration"
    return ""


def _try(
    rung: Rung,
    network: FloatNetwork,
    material: Material,
    judge: Callable[[bytes], float] | None,
    best: str,
    scope: Scope,
) -> Attempt:
    clip, known = rung.clip or best, acts.by_tensor(material.activations, network)
    if rung.equalised:
        network, material, known = _equalised(network, material, clip)
    ranges = {name: a.range(clip) for name, a in known.items()}
    floats, always = _kept(network, scope)
    quantised = _quantise(rung, network, known, ranges, always, floats)
    wide: tuple[str, ...] = ()
    if rung.wide:
        wide = _recorded_wide(rung, material) or _noisiest(network, quantised, material.pictures, rung.wide)
        more = [name for name in _operations(network, wide) if name not in (*always, *floats)]
        quantised = _quantise(rung, network, known, ranges, [*always, *more], floats)
    return Attempt(rung, clip, network, material, quantised, judge(quantised) if judge else None, wide)


def _equalised(network: FloatNetwork, material: Material, clip: str) -> tuple[FloatNetwork, Material, Activations]:
    """The equalised network, its activations by tensor, and the material with the ranges that images showed of it."""
    tflite, known = equalise(network.tflite, acts.by_tensor(material.activations, network))
    network = replace(network, tflite=tflite)
    if material.pictures is not None and clip != RUNGS[0].clip:  # where values are clipped cannot be told from channels
        seen = acts.record(network, material.pictures)
        told = {
            layer: a.with_range(acts.EQUALISED, seen[layer].range(clip)) for layer, a in material.activations.items()
        }
        material = replace(material, activations=told)
    recorded = acts.by_tensor(material.activations, network)
    return (
        network,
        material,
        {t: a.with_range(clip, recorded[t].ranges.get(acts.EQUALISED, a.range(clip))) for t, a in known.items()},
    )


def _recorded_wide(rung: Rung, material: Material) -> tuple[str, ...]:
    return material.wide if rung.name == material.rung else ()


def _quantise(
    rung: Rung,
    network: FloatNetwork,
    known: Activations,
    ranges: dict[str, acts.Range],
    wide: Sequence[str] = (),
    floats: Sequence[str] = (),
) -> bytes:
    quantised = scheme.quantise(network.tflite, "int8", ranges, wide, floats)
    return correct_biases(quantised, network.tflite, known) if rung.corrected else quantised


def _kept(network: FloatNetwork, scope: Scope) -> tuple[list[str], list[str]]:
    """The operations that stay in float, and those that stay in 16 bits, told by the tensor that they write."""
    named = acts.layers_of(list(acts.tensors_of(network.tflite)), network)
    floats = matching(scope.keep_float, named.values(), "--keep-float")
    wide = matching(scope.keep_int16, named.values(), "--keep-int16")
    kept = [tensor for tensor, layer in named.items() if layer in floats and layer != acts.INPUT]
    return kept, [name for name in _operations(network, wide) if name not in kept] if wide else []


def _noisiest(network: FloatNetwork, quantised: bytes, pictures: Any, share: float) -> tuple[str, ...]:
    found = layers.compare(network, quantised, pictures[:PROBES])
    ends = {*network.output_tensors.values()}  # these and the image stay 8 bits
    inner = [layer for layer in found if layer.operation != "INPUT" and layer.tensor not in ends]
    worst = sorted(inner, key=lambda layer: -layer.lost)  # those that make noise, not those that inherit it
    return tuple(layer.name for layer in worst[: max(1, round(share * len(worst)))])


def _operations(network: FloatNetwork, wide: Sequence[str]) -> list[str]:
    """The operations that write or read the named layers' activations, told by the tensor that they write."""
    editor = Editor(network.tflite)
    index = {editor.name(i): i for i in range(len(editor.tensors))}
    named = acts.layers_of(list(acts.tensors_of(network.tflite)), network)
    operations = []
    for tensor, layer in named.items():
        if layer in wide:
            operations += [tensor] if editor.producer(index[tensor]) is not None else []
            operations += [editor.name(int(o.outputs[0])) for o in editor.readers(index[tensor])]
    ends = {editor.name(t) for t in editor.outputs}  # stay 8 bits: int8 out is what readers expect
    return [name for name in dict.fromkeys(operations) if name not in ends]
