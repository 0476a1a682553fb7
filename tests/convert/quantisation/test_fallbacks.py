from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float_networks import answers, decibels, known, of_keras, pictures, plain, ranges, unequal

from convert.quantisation import activations, calibration_data, fallbacks, layers, scheme
from convert.quantisation.calibration_data import CalibrationData
from convert.quantisation.fallbacks import FALLBACKS, Attempt, TooLittleAgreement, search
from convert.quantisation.scope import Scope
from convert.source.network import FloatNetwork
from convert.tflite_file.flatbuffer import read
from covidnet_lite.errors import ConversionError

NAMES = [fallback.name for fallback in FALLBACKS]
CLIPS = ["min-max", "percentile", "typical", "per image", "mean ends", "halfway"]
WIDE = Scope(allow_int16=True)


@pytest.fixture(scope="module")
def net() -> FloatNetwork:
    return of_keras(unequal(plain("relu")))


@pytest.fixture(scope="module")
def given(net: FloatNetwork) -> CalibrationData:
    return CalibrationData(activations.record(net, pictures()), "noise", pictures())


def silent(text: str) -> None:
    pass


def scores(*values: float) -> Callable[[bytes], float]:
    """A judge that finds one graph after the other as good as this."""
    left = iter(values)
    return lambda graph: next(left)


def numbers_only(given: CalibrationData, attempt: Attempt, folder: Path) -> CalibrationData:
    """What is recorded of an attempt, read again."""
    path = folder / "n.ranges.json"
    path.write_text(
        calibration_data.to_json(
            attempt.calibration, attempt.fallback.name, attempt.clip, attempt.wide, attempt.fallback.base
        )
    )
    return calibration_data.read(path)


def test_the_plainest_fallback_that_is_good_enough_is_kept_in_silence(
    net: FloatNetwork, given: CalibrationData
) -> None:
    said: list[str] = []
    (attempt,) = search(net, given, scores(0.99), 0.99, said.append)
    assert (attempt.fallback, attempt.clip, attempt.agreement, attempt.wide) == (FALLBACKS[0], "min-max", 0.99, ())
    assert attempt.quantised == scheme.quantise(net.tflite, "int8", ranges(known(net)))
    assert said == []


def test_fallbacks_are_tried_in_order_until_one_is_good_enough(net: FloatNetwork, given: CalibrationData) -> None:
    assert NAMES == [*CLIPS, "bias", "equalised", "int16 10 %", "int16 25 %"]
    said: list[str] = []
    attempts = search(net, given, scores(0.7, 0.8, 0.75, 0.7, 0.7, 0.7, 0.9, 0.96), 0.95, said.append)
    assert [a.fallback.name for a in attempts] == NAMES[:8]
    assert [a.agreement for a in attempts] == [0.7, 0.8, 0.75, 0.7, 0.7, 0.7, 0.9, 0.96]
    assert [line.split(":")[0] for line in said] == NAMES[:8]
    assert "80.00% agreement, less than 95.00%" in said[1]
    assert "96.00% agreement, enough (the best of these, with channels equalised" in said[7]


def test_the_best_way_to_clip_is_carried_on(net: FloatNetwork, given: CalibrationData) -> None:
    for values, best in (
        ((0.7, 0.8, 0.75, 0.7, 0.7, 0.7), "percentile"),
        ((0.7, 0.6, 0.7, 0.7, 0.7, 0.8), "halfway"),
        ((0.7,) * 6, "min-max"),
    ):
        attempts = search(net, given, scores(*values, 0.5, 1.0), 0.95, silent)
        assert [a.clip for a in attempts] == [*CLIPS, best, best]


def test_where_images_calibrate_the_ranges_are_those_nearest_to_float_on_them(
    net: FloatNetwork, given: CalibrationData
) -> None:
    alone = [0.3, 0.2, 0.3, 0.3, 0.3, 0.3]
    corrected = [0.5, 0.5, 0.1, 0.5, 0.5, 0.5]  # each is tried, not only the best of those alone
    equalised = [0.4, 0.4, 0.4, 0.4, 0.25, 0.4]
    distances, judge = iter(alone + corrected + equalised), scores(0.7, 0.5, 0.9, 0.7, 0.7, 0.7, 0.6, 0.8)
    with pytest.raises(TooLittleAgreement, match="the best is 'bias' with 60.00%") as raised:
        search(net, given, judge, 0.95, silent, distance=lambda graph: next(distances))
    attempts = raised.value.attempts
    assert [a.clip for a in attempts] == [*CLIPS, "typical", "mean ends"]
    assert [a.distance for a in attempts] == [*alone, 0.1, 0.25]
    assert attempts[-1].calibration.activations["one"].ranges[activations.EQUALISED] != pytest.approx(
        given.activations["one"].ranges["typical"]
    )


def test_a_fallback_that_is_good_enough_needs_no_distance(net: FloatNetwork, given: CalibrationData) -> None:
    def distance(graph: bytes) -> float:
        raise AssertionError("not needed")

    (attempt,) = search(net, given, scores(0.99), 0.99, silent, distance=distance)
    assert attempt.distance is None


def test_each_fallback_does_what_it_says(net: FloatNetwork, given: CalibrationData) -> None:
    attempts = search(net, given, scores(*[0.5] * 7, 0.6, 0.5, 1.0), 0.95, silent, WIDE)
    by_name = {a.fallback.name: a for a in attempts}
    assert [a.network is net for a in attempts] == [True] * 7 + [False] * 3
    assert len({a.quantised for a in attempts}) == len(attempts)
    sixteen = [types(a.quantised).count("INT16") for a in attempts]
    assert sixteen[:8] == [0] * 8
    assert 0 < sixteen[8] <= sixteen[9]
    assert len(by_name["int16 10 %"].wide) == 1
    assert len(by_name["int16 25 %"].wide) == 2
    worst = layers.compare(by_name["equalised"].network, by_name["equalised"].quantised, pictures())
    inner = [layer for layer in worst if layer.name not in ("radiograph", "logits")]
    lossy = sorted(inner, key=lambda layer: -layer.lost)
    assert by_name["int16 25 %"].wide == tuple(layer.name for layer in lossy[:2])
    exact = answers(net)[0]
    best = decibels(exact, answers(net, by_name["int16 25 %"].quantised)[0])
    assert best > decibels(exact, answers(net, by_name["min-max"].quantised)[0])


def types(data: bytes) -> list[str]:
    return [node.outputs[0].type for node in read(data, "n").nodes if node.name != "QUANTIZE"]


def test_when_nothing_is_good_enough_the_best_is_named_with_the_ways_out(
    net: FloatNetwork, given: CalibrationData
) -> None:
    with pytest.raises(
        TooLittleAgreement, match=r"98.00%: the best is 'bias' with 97.00%; nothing was written.*--min-agreement"
    ) as told:
        search(net, given, scores(0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.97, 0.5, 0.6, 0.7), 0.98, silent, WIDE)
    assert [a.fallback.name for a in told.value.attempts] == NAMES
    assert isinstance(told.value, ConversionError)


def test_without_a_judge_there_is_one_attempt(net: FloatNetwork, given: CalibrationData) -> None:
    said: list[str] = []
    (attempt,) = search(net, given, None, 0.99, said.append)
    assert (attempt.fallback.name, attempt.agreement, said) == ("min-max", None, [])


@pytest.mark.parametrize("best", ["min-max", "typical"])
@pytest.mark.parametrize("until", range(1, len(FALLBACKS) + 1))
def test_recorded_numbers_make_the_same_bytes_without_pictures(
    until: int, best: str, net: FloatNetwork, given: CalibrationData, tmp_path: Path
) -> None:
    values = [0.6 if FALLBACKS[i].clip == best else 0.5 for i in range(until - 1)]
    kept = search(net, given, scores(*values, 1.0), 0.95, silent, WIDE)[-1]
    recorded = numbers_only(given, kept, tmp_path)
    assert recorded.images is None
    for judge in (None, scores(1.0)):
        (again,) = search(net, recorded, judge, 0.95, silent)
        assert (again.fallback, again.clip, again.wide) == (kept.fallback, kept.clip, kept.wide)
        assert again.quantised == kept.quantised
    (twice,) = search(net, numbers_only(recorded, again, tmp_path), None, 0.95, silent)
    assert twice.quantised == kept.quantised


def test_with_ranges_alone_the_finer_fallbacks_are_not_tried_and_it_says_why(
    net: FloatNetwork, given: CalibrationData
) -> None:
    bare = {layer: activations.of_range(*a.range("min-max")) for layer, a in given.activations.items()}
    said: list[str] = []
    with pytest.raises(TooLittleAgreement) as told:
        search(net, CalibrationData(bare, "ranges"), scores(0.5), 0.99, said.append)
    assert [a.fallback.name for a in told.value.attempts] == ["min-max"]
    assert [line.split(":")[0] for line in said] == NAMES
    assert all(
        "not tried, the ranges say no more than lowest and highest; pass --calibration" in line for line in said[1:]
    )


def test_ranges_that_an_older_version_did_not_record_are_not_tried_and_it_says_why(
    net: FloatNetwork, given: CalibrationData
) -> None:
    old = {
        layer: replace(a, ranges={k: v for k, v in a.ranges.items() if k not in ("mean ends", "halfway")})
        for layer, a in given.activations.items()
    }
    said: list[str] = []
    with pytest.raises(TooLittleAgreement) as told:
        search(net, CalibrationData(old, "ranges"), scores(*[0.5] * 6), 0.99, said.append)
    assert [a.fallback.name for a in told.value.attempts] == [*CLIPS[:4], "bias", "equalised"]
    assert [line.split(":")[0] for line in said if "record them again" in line] == ["mean ends", "halfway"]


def test_with_numbers_alone_no_layer_is_widened_and_it_says_why(net: FloatNetwork, given: CalibrationData) -> None:
    said: list[str] = []
    with pytest.raises(TooLittleAgreement) as told:
        search(net, replace(given, images=None), scores(*[0.5] * 8), 0.99, said.append, WIDE)
    assert [a.fallback.name for a in told.value.attempts] == NAMES[:8]
    assert ["seen on images alone; pass --calibration" in line for line in said] == [False] * 8 + [True] * 2


def test_from_recorded_numbers_it_goes_on_upwards_but_not_with_another_fallback_s_layers(
    net: FloatNetwork, given: CalibrationData
) -> None:
    recorded = replace(given, images=None, fallback="bias", clip="typical")
    attempts = search(net, recorded, scores(0.5, 1.0), 0.99, silent)
    assert [(a.fallback.name, a.clip) for a in attempts] == [("bias", "typical"), ("equalised", "typical")]
    said: list[str] = []
    with pytest.raises(TooLittleAgreement):
        search(net, replace(recorded, fallback="int16 10 %", wide=("two",)), scores(0.5), 0.99, said.append, WIDE)
    assert "int16 25 %: not tried" in said[-1]


@pytest.mark.parametrize("name", ["int16 10 %", "of another age"])
def test_a_recorded_fallback_that_cannot_be_followed_is_begun_from_below(
    name: str, net: FloatNetwork, given: CalibrationData
) -> None:
    (attempt,) = search(net, replace(given, images=None, fallback=name, wide=()), None, 0.99, silent)
    assert attempt.fallback.name == "min-max"


def test_the_input_stays_in_8_bits_when_the_noisiest_layers_do_not(net: FloatNetwork, given: CalibrationData) -> None:
    kept = search(
        net, replace(given, fallback="int16 25 %", wide=("radiograph", "one"), images=None), None, 0.9, silent
    )[-1]
    graph = read(kept.quantised, "n")
    assert graph.inputs[0].type == "INT8"
    assert types(kept.quantised)[:2] == ["INT16", "INT16"]


def test_schemes_other_than_int8_need_no_fallback(net: FloatNetwork, given: CalibrationData) -> None:
    for name in ("float32", "float16", "dynamic"):
        assert (
            fallbacks.plain(net, name, None) == fallbacks.plain(net, name, given) == scheme.quantise(net.tflite, name)
        )
    found = fallbacks.plain(net, "int16", given)
    whole = {tensor: a.range("min-max") for tensor, a in known(net).items()}
    assert found == scheme.quantise(net.tflite, "int16", whole)
    assert np.isfinite(answers(net, found)[0]).all()


def test_where_an_equalised_activation_is_clipped_is_seen_on_the_pictures(
    net: FloatNetwork, given: CalibrationData
) -> None:
    kept = search(net, given, scores(0.5, 0.5, 0.6, 0.5, 0.5, 0.5, 0.5, 1.0), 0.95, silent)[-1]
    assert (kept.fallback.name, kept.clip) == ("equalised", "typical")
    seen = activations.record(kept.network, pictures())
    for layer, a in kept.calibration.activations.items():
        assert a.ranges[activations.EQUALISED] == seen[layer].range("typical")
    assert activations.EQUALISED not in given.activations["one"].ranges


@pytest.mark.parametrize(("best", "equalised"), [(2, False), (6, False), (7, True)])
def test_sixteen_bits_go_on_from_the_best_fallback_so_far(
    best: int, equalised: bool, net: FloatNetwork, given: CalibrationData
) -> None:
    values = [0.6 if i == best else 0.5 for i in range(8)]
    last = search(net, given, scores(*values, 1.0), 0.95, silent, WIDE)[-1]
    assert (last.fallback.base, last.fallback.equalised) == (FALLBACKS[best].name, equalised)
    assert (last.network is net) == (not equalised)


def test_sixteen_bits_are_not_taken_unasked(net: FloatNetwork, given: CalibrationData) -> None:
    said: list[str] = []
    with pytest.raises(TooLittleAgreement, match="pass --allow-int16") as told:
        search(net, given, scores(*[0.5] * 8), 0.99, said.append)
    assert [a.fallback.name for a in told.value.attempts] == NAMES[:8]
    assert "16 bits are slower than float on a CPU" in said[-1]


def test_a_layer_kept_by_name_stays_off_8_bits(net: FloatNetwork, given: CalibrationData) -> None:
    def kinds(**kept: tuple[str, ...]) -> dict[str, str]:
        (attempt,) = search(net, given, scores(1.0), 0.9, silent, Scope(**kept))
        graph = read(attempt.quantised, "n")
        assert (graph.inputs[0].type, graph.outputs[0].type) == ("INT8", "INT8")
        assert decibels(answers(net)[0], answers(net, attempt.quantised)[0]) > 10
        return {n.name: n.outputs[0].type for n in graph.nodes if n.name not in ("QUANTIZE", "DEQUANTIZE")}

    assert set(kinds().values()) == {"INT8"}
    kept = kinds(keep_float=("dep*",))
    assert kept.pop("DEPTHWISE_CONV_2D") == "FLOAT32"
    assert set(kept.values()) == {"INT8"}
    assert kinds(keep_int16=("depth",))["DEPTHWISE_CONV_2D"] == "INT16"
    with pytest.raises(ConversionError, match="--keep-float dpeth: there is no such layer; there are depth"):
        search(net, given, None, 0.9, silent, Scope(keep_float=("dpeth",)))
