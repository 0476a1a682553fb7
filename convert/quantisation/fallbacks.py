"""Ways to quantise, the plainest first; the next is tried when the last one agrees too little with float.

Each fallback keeps what improved the ones before it. A network whose plain int8 is good enough stays plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from convert.quantisation import activations as acts
from convert.quantisation import layers, scheme
from convert.quantisation.activations import Activations
from convert.quantisation.bias_correction import correct_biases
from convert.quantisation.calibration_data import CalibrationData
from convert.quantisation.equalise import equalise
from convert.quantisation.scope import EVERYTHING, Scope, matching
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError

PROBES = 32  # images for finding the noisiest layers


@dataclass(frozen=True)
class Fallback:
    """One way to quantise.

    Attributes:
        name: short, for reports and recorded ranges.
        description: in words.
        clip: how activation ranges are chosen, a method of :class:`convert.quantisation.activations.Activation`;
            empty where all tried so far are tried anew and the best is kept, or where nothing tells which, that of the
            best fallback so far.
        corrected: whether biases are corrected.
        equalised: whether channels are equalised first.
        wide: share of the activations, the noisiest, that keep 16 bits.
        base: name of the fallback that a wide one extends, the best so far; else empty.
    """

    name: str
    description: str
    clip: str = ""
    corrected: bool = False
    equalised: bool = False
    wide: float = 0.0
    base: str = ""


FALLBACKS = (
    Fallback("min-max", "the whole range of each activation but the logits", "min-max"),
    Fallback("percentile", f"activations clipped to {acts.PERCENTILE} % of their values", "percentile"),
    Fallback("typical", f"activations clipped to what {acts.TYPICAL:.0%} of the images keep to", "typical"),
    Fallback("per image", "activations clipped for the best signal to noise of the mean image", acts.PER_IMAGE),
    Fallback("mean ends", "activations, the logits too, clipped to the mean of the images' ends", acts.MEAN_ENDS),
    Fallback("halfway", "activations clipped halfway between the last two", acts.HALFWAY),
    Fallback("bias", "the best of these, with biases corrected for the rounding of weights", corrected=True),
    Fallback(
        "equalised", "the best of these, with channels equalised and biases corrected", corrected=True, equalised=True
    ),
    Fallback("int16 10 %", "the best of these, and the noisiest tenth of the layers in 16 bits", wide=0.10),
    Fallback("int16 25 %", "the best of these, and the noisiest quarter of the layers in 16 bits", wide=0.25),
)
DEFAULT_BASE = "equalised"  # of wide fallbacks recorded by versions that did not record it


class TooLittleAgreement(ConversionError):
    """No fallback agrees well enough with float; ``attempts`` has those that were tried."""

    def __init__(self, message: str, attempts: list[Attempt]) -> None:
        super().__init__(message)
        self.attempts = attempts


@dataclass(frozen=True, eq=False)
class Attempt:
    """One fallback, tried.

    Attributes:
        fallback: which.
        clip: how the activation ranges were chosen.
        network: the float network it was made from, equalised where the fallback says so.
        calibration: enough to make the same again without images.
        quantised: the int8 flatbuffer.
        agreement: share of the held-out images with float's class; ``None`` where there were none.
        wide: layers that keep 16 bits.
        distance: from float on copies of the representative images; ``None`` where it was not measured.
    """

    fallback: Fallback
    clip: str
    network: FloatNetwork
    calibration: CalibrationData
    quantised: bytes
    agreement: float | None
    wide: tuple[str, ...] = ()
    distance: float | None = None


def best_of(attempts: Sequence[Attempt]) -> Attempt:
    """The nearest to float by ``distance``, as images that judge must not choose; else what agrees best."""
    if all(a.distance is not None for a in attempts):
        return min(attempts, key=lambda a: a.distance or 0)
    return max(attempts, key=lambda a: a.agreement or 0)


def search(
    network: FloatNetwork,
    calibration: CalibrationData,
    measure: Callable[[bytes], float] | None,
    target: float,
    log: Callable[[str], Any] = print,
    scope: Scope = EVERYTHING,
    distance: Callable[[bytes], float] | None = None,
) -> list[Attempt]:
    """Tries one fallback after another until one agrees well enough; the last attempt is the one to keep.

    Args:
        network: to quantise.
        calibration: to quantise it with.
        measure: an int8 flatbuffer -> its top-1 agreement with float on held-out images; ``None`` where there are none.
        target: agreement that is enough.
        log: receives a line for each fallback, unless the first one is enough.
        scope: layers kept off 8 bits.
        distance: an int8 flatbuffer -> its distance from float on copies of the representative images, by which the
            best fallback is chosen; ``None`` where there are no images.

    Raises:
        TooLittleAgreement: no fallback agrees well enough.
    """
    start = next((i for i, fallback in enumerate(FALLBACKS) if fallback.name == calibration.fallback), 0)
    if _obstacle(FALLBACKS[start], calibration, scope):
        start = 0
    workshop = _Workshop(network, calibration, scope)
    attempts: list[Attempt] = []
    for fallback in FALLBACKS[start:]:
        obstacle = _obstacle(fallback, calibration, scope)
        if obstacle:
            log(f"{fallback.name}: not tried, {obstacle}")
            continue
        best = best_of(attempts) if attempts else None
        base = best.fallback if best else _by_name(calibration.base or DEFAULT_BASE)
        clips = [fallback.clip or (best.clip if best else calibration.clip or FALLBACKS[0].clip)]
        if distance and best and not (fallback.clip or fallback.wide):
            clips = list(dict.fromkeys(attempt.clip for attempt in attempts))
        tries = [workshop.make(_on_base(fallback, base), clip) for clip in clips]
        if distance and len(tries) > 1:
            tries = [replace(attempt, distance=distance(attempt.quantised)) for attempt in tries]
        attempt = best_of(tries)
        if measure is None:
            return [*attempts, attempt]
        agreement = measure(attempt.quantised)
        if agreement >= target:
            if attempts:
                log(f"{fallback.name}: {agreement:.2%} agreement, enough ({fallback.description})")
            return [*attempts, replace(attempt, agreement=agreement)]
        if distance and attempt.distance is None:
            attempt = replace(attempt, distance=distance(attempt.quantised))
        attempts.append(replace(attempt, agreement=agreement))
        log(f"{fallback.name}: {agreement:.2%} agreement, less than {target:.2%} ({fallback.description})")
    best = best_of(attempts)
    raise TooLittleAgreement(
        f"no way to int8 reaches the agreement asked for, {target:.2%}: the best is {best.fallback.name!r} with "
        f"{best.agreement:.2%}; nothing was written. Calibrate on more or better representative images, keep the "
        "noisiest layers of the report in float (--keep-float NAME), "
        + ("" if scope.allow_int16 else "pass --allow-int16 (slower than float on a CPU), ")
        + "take --schemes float16, write the best of them all the same (--write-best), or lower --min-agreement",
        attempts,
    )


def plain(network: FloatNetwork, scheme_name: str, calibration: CalibrationData | None) -> bytes:
    """A flatbuffer in a scheme other than int8, near enough to float to need no fallback.

    Raises:
        ConversionError: the scheme needs ranges and there are none, or lacks a kernel.
    """
    if scheme_name not in scheme.CALIBRATED or calibration is None:
        return scheme.quantise(network.tflite, scheme_name)
    activations = acts.by_tensor(calibration.activations, network)
    ranges = {name: a.range(FALLBACKS[0].clip) for name, a in activations.items()}
    return scheme.quantise(network.tflite, scheme_name, ranges)


def _by_name(name: str) -> Fallback:
    return next((fallback for fallback in FALLBACKS if fallback.name == name), FALLBACKS[0])


def _on_base(fallback: Fallback, base: Fallback) -> Fallback:
    """A wide fallback does all that the best one so far does."""
    if not fallback.wide:
        return fallback
    return replace(fallback, corrected=base.corrected, equalised=base.equalised, base=base.base or base.name)


def _obstacle(fallback: Fallback, calibration: CalibrationData, scope: Scope) -> str:
    """Why a fallback cannot be tried; empty when it can be."""
    has_channels = all(a.is_full for layer, a in calibration.activations.items() if layer != acts.INPUT)
    if fallback.name != FALLBACKS[0].name and not has_channels:
        return "the ranges say no more than lowest and highest; pass --calibration, or record them again"
    if _is_unknown(fallback.clip, calibration):
        return "a version that did not know these ranges recorded them; pass --calibration, or record them again"
    if fallback.wide and not scope.allow_int16 and not _recorded_wide(fallback, calibration):
        return "16 bits are slower than float on a CPU; pass --allow-int16 to take them all the same"
    if fallback.wide and calibration.images is None and not _recorded_wide(fallback, calibration):
        return "which layers are noisiest is seen on images alone; pass --calibration"
    return ""


def _is_unknown(clip: str, calibration: CalibrationData) -> bool:
    """Whether the ranges were recorded by a version without this way to choose them."""
    return bool(clip) and not any(clip in a.ranges for a in calibration.activations.values())


class _Workshop:
    """Makes a network by one fallback after another, and keeps what several of them need."""

    def __init__(self, network: FloatNetwork, calibration: CalibrationData, scope: Scope) -> None:
        self._network, self._calibration, self._scope = network, calibration, scope
        self._rounded: dict[str, bytes] = {}  # by clip, channels as they are

    def make(self, fallback: Fallback, clip: str) -> Attempt:
        """By one fallback, with its ranges chosen in one way; not measured yet."""
        network, calibration = self._network, self._calibration
        activations = acts.by_tensor(calibration.activations, network)
        if fallback.equalised:
            network, calibration, activations = self._equalise(clip)
        ranges = {name: a.range_in_8_bits(clip) for name, a in activations.items()}
        floats, wide_by_scope = _outside_int8(network, self._scope)

        def rounded(noisy: Sequence[str] = ()) -> bytes:
            return scheme.quantise(network.tflite, "int8", ranges, [*wide_by_scope, *noisy], floats)

        def corrected(quantised: bytes) -> bytes:
            return correct_biases(quantised, network.tflite, activations) if fallback.corrected else quantised

        if not fallback.equalised and clip not in self._rounded:
            self._rounded[clip] = rounded()
        quantised = corrected(rounded() if fallback.equalised else self._rounded[clip])
        wide: tuple[str, ...] = ()
        if fallback.wide:
            wide = _recorded_wide(fallback, calibration)
            wide = wide or _noisiest(network, quantised, calibration.images, fallback.wide)
            noisy = [name for name in _operations(network, wide) if name not in (*wide_by_scope, *floats)]
            quantised = corrected(rounded(noisy))
        return Attempt(fallback, clip, network, calibration, quantised, None, wide)

    def _equalise(self, clip: str) -> tuple[FloatNetwork, CalibrationData, Activations]:
        """The equalised network, calibration data with the ranges that the images gave, and activations by tensor."""
        network, activations = self._equalised
        calibration = self._calibration
        # Where values are clipped does not follow from the ranges of channels.
        if calibration.images is not None and clip != FALLBACKS[0].clip:
            by_layer = {
                layer: a.with_range(acts.EQUALISED, self._observed[layer].range(clip))
                for layer, a in calibration.activations.items()
            }
            calibration = replace(calibration, activations=by_layer)
        recorded = acts.by_tensor(calibration.activations, network)
        ends = {t: recorded[t].ranges.get(acts.EQUALISED, a.range(clip)) for t, a in activations.items()}
        return network, calibration, {t: a.with_range(clip, ends[t]) for t, a in activations.items()}

    @cached_property
    def _equalised(self) -> tuple[FloatNetwork, Activations]:
        tflite, activations = equalise(
            self._network.tflite, acts.by_tensor(self._calibration.activations, self._network)
        )
        return replace(self._network, tflite=tflite), activations

    @cached_property
    def _observed(self) -> Activations:
        """What the equalised network's activations are on the representative images, by layer."""
        assert self._calibration.images is not None
        return acts.record(self._equalised[0], self._calibration.images)


def _recorded_wide(fallback: Fallback, calibration: CalibrationData) -> tuple[str, ...]:
    return calibration.wide if fallback.name == calibration.fallback else ()


def _outside_int8(network: FloatNetwork, scope: Scope) -> tuple[list[str], list[str]]:
    """Operations that stay in float, and those that stay in 16 bits, each named by the tensor that it writes."""
    layer_of = acts.layers_of(list(acts.tensors_of(network.tflite)), network)
    floats = matching(scope.keep_float, layer_of.values(), "--keep-float")
    wide = matching(scope.keep_int16, layer_of.values(), "--keep-int16")
    outside = [tensor for tensor, layer in layer_of.items() if layer in floats and layer != acts.INPUT]
    return outside, [name for name in _operations(network, wide) if name not in outside] if wide else []


def _noisiest(network: FloatNetwork, quantised: bytes, images: Any, share: float) -> tuple[str, ...]:
    compared = layers.compare(network, quantised, images[:PROBES])
    ends = {*network.output_tensors.values()}  # these and the image stay 8 bits
    inner = [layer for layer in compared if layer.operation != "INPUT" and layer.tensor not in ends]
    worst = sorted(inner, key=lambda layer: -layer.lost)  # those that make noise, not those that inherit it
    return tuple(layer.name for layer in worst[: max(1, round(share * len(worst)))])


def _operations(network: FloatNetwork, wide: Sequence[str]) -> list[str]:
    """Operations that write or read the activations of these layers, each named by the tensor that it writes."""
    editor = Editor(network.tflite)
    index = {editor.name(i): i for i in range(len(editor.tensors))}
    layer_of = acts.layers_of(list(acts.tensors_of(network.tflite)), network)
    operations = []
    for tensor, layer in layer_of.items():
        if layer in wide:
            operations += [tensor] if editor.producer(index[tensor]) is not None else []
            operations += [editor.name(int(o.outputs[0])) for o in editor.readers(index[tensor])]
    ends = {editor.name(t) for t in editor.outputs}  # stay 8 bits: int8 out is what readers expect
    return [name for name in dict.fromkeys(operations) if name not in ends]
