from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float_networks import answers, decibels, known, of_keras, pictures, plain, ranges, unequal

from convert.quantisation import activations, ladder, layers, material, scheme
from convert.quantisation.ladder import RUNGS, Attempt, TooLittleAgreement, climb
from convert.quantisation.material import Material
from convert.quantisation.scope import Scope
from convert.source.network import FloatNetwork
from convert.tflite_file.flatbuffer import read
from covidnet_lite.errors import ConversionError

NAMES = [rung.name for rung in RUNGS]
WIDE = Scope(allow_int16=True)


@pytest.fixture(scope="module")
def net() -> FloatNetwork:
    return of_keras(unequal(plain("relu")))


@pytest.fixture(scope="module")
def given(net: FloatNetwork) -> Material:
    return Material(activations.record(net, pictures()), "noise", pictures())


def silent(text: str) -> None:
    pass


def scores(*values: float) -> Callable[[bytes], float]:
    """A judge that finds one graph after the other as good as this."""
    left = iter(values)
    return lambda graph: next(left)


def numbers_only(given: Material, attempt: Attempt, folder: Path) -> Material:
    """What is recorded of an attempt, read again."""
    path = folder / "n.ranges.json"
    path.write_text(
        material.to_json(attempt.material, attempt.rung.name, attempt.clip, attempt.wide, attempt.rung.base)
    )
    return material.read(path)


def test_the_plainest_rung_that_is_good_enough_is_kept_in_silence(net: FloatNetwork, given: Material) -> None:
    said: list[str] = []
    (attempt,) = climb(net, given, scores(0.99), 0.99, said.append)
    assert (attempt.rung, attempt.clip, attempt.agreement, attempt.wide) == (RUNGS[0], "min-max", 0.99, ())
    assert attempt.quantised == scheme.quantise(net.tflite, "int8", ranges(known(net)))
    assert said == []


def test_rungs_are_tried_in_order_until_one_is_good_enough(net: FloatNetwork, given: Material) -> None:
    assert NAMES == ["min-max", "percentile", "mse", "bias", "equalised", "int16 10 %", "int16 25 %"]
    said: list[str] = []
    attempts = climb(net, given, scores(0.7, 0.8, 0.75, 0.9, 0.96), 0.95, said.append)
    assert [a.rung.name for a in attempts] == NAMES[:5]
    assert [a.agreement for a in attempts] == [0.7, 0.8, 0.75, 0.9, 0.96]
    assert [line.split(":")[0] for line in said] == NAMES[:5]
    assert "80.00% agreement, less than 95.00%" in said[1]
    assert "96.00% agreement, enough (cross-layer equalisation" in said[4]


def test_the_best_way_to_clip_is_carried_on(net: FloatNetwork, given: Material) -> None:
    for values, best in (((0.7, 0.8, 0.75), "percentile"), ((0.7, 0.6, 0.8), "mse"), ((0.7, 0.7, 0.7), "min-max")):
        attempts = climb(net, given, scores(*values, 0.5, 1.0), 0.95, silent)
        assert [a.clip for a in attempts] == ["min-max", "percentile", "mse", best, best]


def test_each_rung_does_what_it_says(net: FloatNetwork, given: Material) -> None:
    attempts = climb(net, given, scores(*[0.5] * 4, 0.6, 0.5, 1.0), 0.95, silent, WIDE)
    by_name = {a.rung.name: a for a in attempts}
    assert [a.network is net for a in attempts] == [True] * 4 + [False] * 3
    assert len({a.quantised for a in attempts}) == len(attempts)
    sixteen = [types(a.quantised).count("INT16") for a in attempts]
    assert sixteen[:5] == [0] * 5
    assert 0 < sixteen[5] <= sixteen[6]
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


def test_when_nothing_is_good_enough_the_best_is_named_with_the_ways_out(net: FloatNetwork, given: Material) -> None:
    with pytest.raises(
        TooLittleAgreement, match=r"98.00%: the best is 'bias' with 97.00%; nothing was written.*--min-agreement"
    ) as told:
        climb(net, given, scores(0.1, 0.2, 0.3, 0.97, 0.5, 0.6, 0.7), 0.98, silent, WIDE)
    assert [a.rung.name for a in told.value.attempts] == NAMES
    assert isinstance(told.value, ConversionError)


def test_without_a_judge_there_is_one_attempt(net: FloatNetwork, given: Material) -> None:
    said: list[str] = []
    (attempt,) = climb(net, given, None, 0.99, said.append)
    assert (attempt.rung.name, attempt.agreement, said) == ("min-max", None, [])


@pytest.mark.parametrize("best", ["min-max", "mse"])
@pytest.mark.parametrize("until", range(1, len(RUNGS) + 1))
def test_recorded_numbers_make_the_same_bytes_without_pictures(
    until: int, best: str, net: FloatNetwork, given: Material, tmp_path: Path
) -> None:
    values = [0.6 if RUNGS[i].clip == best else 0.5 for i in range(until - 1)]
    kept = climb(net, given, scores(*values, 1.0), 0.95, silent, WIDE)[-1]
    recorded = numbers_only(given, kept, tmp_path)
    assert recorded.pictures is None
    for judge in (None, scores(1.0)):
        (again,) = climb(net, recorded, judge, 0.95, silent)
        assert (again.rung, again.clip, again.wide) == (kept.rung, kept.clip, kept.wide)
        assert again.quantised == kept.quantised
    (twice,) = climb(net, numbers_only(recorded, again, tmp_path), None, 0.95, silent)
    assert twice.quantised == kept.quantised


def test_with_ranges_alone_the_finer_rungs_are_not_tried_and_it_says_why(net: FloatNetwork, given: Material) -> None:
    bare = {layer: activations.of_range(*a.range("min-max")) for layer, a in given.activations.items()}
    said: list[str] = []
    with pytest.raises(TooLittleAgreement) as told:
        climb(net, Material(bare, "ranges"), scores(0.5), 0.99, said.append)
    assert [a.rung.name for a in told.value.attempts] == ["min-max"]
    assert [line.split(":")[0] for line in said] == NAMES
    assert all(
        "not tried, the ranges say no more than lowest and highest; pass --calibration" in line for line in said[1:]
    )


def test_with_numbers_alone_no_layer_is_widened_and_it_says_why(net: FloatNetwork, given: Material) -> None:
    said: list[str] = []
    with pytest.raises(TooLittleAgreement) as told:
        climb(net, replace(given, pictures=None), scores(*[0.5] * 5), 0.99, said.append, WIDE)
    assert [a.rung.name for a in told.value.attempts] == NAMES[:5]
    assert ["seen on images alone; pass --calibration" in line for line in said] == [False] * 5 + [True] * 2


def test_from_recorded_numbers_it_goes_on_upwards_but_not_with_another_rung_s_layers(
    net: FloatNetwork, given: Material
) -> None:
    recorded = replace(given, pictures=None, rung="bias", clip="mse")
    attempts = climb(net, recorded, scores(0.5, 1.0), 0.99, silent)
    assert [(a.rung.name, a.clip) for a in attempts] == [("bias", "mse"), ("equalised", "mse")]
    said: list[str] = []
    with pytest.raises(TooLittleAgreement):
        climb(net, replace(recorded, rung="int16 10 %", wide=("two",)), scores(0.5), 0.99, said.append, WIDE)
    assert "int16 25 %: not tried" in said[-1]


@pytest.mark.parametrize("rung", ["int16 10 %", "of another age"])
def test_a_recorded_rung_that_cannot_be_followed_is_begun_from_below(
    rung: str, net: FloatNetwork, given: Material
) -> None:
    (attempt,) = climb(net, replace(given, pictures=None, rung=rung, wide=()), None, 0.99, silent)
    assert attempt.rung.name == "min-max"


def test_the_input_stays_in_8_bits_when_the_noisiest_layers_do_not(net: FloatNetwork, given: Material) -> None:
    kept = climb(net, replace(given, rung="int16 25 %", wide=("radiograph", "one"), pictures=None), None, 0.9, silent)[
        -1
    ]
    graph = read(kept.quantised, "n")
    assert graph.inputs[0].type == "INT8"
    assert types(kept.quantised)[:2] == ["INT16", "INT16"]


def test_schemes_other_than_int8_need_no_rung(net: FloatNetwork, given: Material) -> None:
    for name in ("float32", "float16", "dynamic"):
        assert ladder.plain(net, name, None) == ladder.plain(net, name, given) == scheme.quantise(net.tflite, name)
    found = ladder.plain(net, "int16", given)
    assert found == scheme.quantise(net.tflite, "int16", ranges(known(net)))
    assert np.isfinite(answers(net, found)[0]).all()


def test_where_an_equalised_activation_is_clipped_is_seen_on_the_pictures(net: FloatNetwork, given: Material) -> None:
    kept = climb(net, given, scores(0.5, 0.5, 0.6, 0.5, 1.0), 0.95, silent)[-1]
    assert (kept.rung.name, kept.clip) == ("equalised", "mse")
    seen = activations.record(kept.network, pictures())
    for layer, a in kept.material.activations.items():
        assert a.ranges[activations.EQUALISED] == seen[layer].range("mse")
    assert activations.EQUALISED not in given.activations["one"].ranges


@pytest.mark.parametrize(("best", "equalised"), [(2, False), (3, False), (4, True)])
def test_sixteen_bits_go_on_from_the_best_rung_so_far(
    best: int, equalised: bool, net: FloatNetwork, given: Material
) -> None:
    values = [0.6 if i == best else 0.5 for i in range(5)]
    last = climb(net, given, scores(*values, 1.0), 0.95, silent, WIDE)[-1]
    assert (last.rung.base, last.rung.equalised) == (RUNGS[best].name, equalised)
    assert (last.network is net) == (not equalised)


def test_sixteen_bits_are_not_taken_unasked(net: FloatNetwork, given: Material) -> None:
    said: list[str] = []
    with pytest.raises(TooLittleAgreement, match="pass --allow-int16") as told:
        climb(net, given, scores(*[0.5] * 5), 0.99, said.append)
    assert [a.rung.name for a in told.value.attempts] == NAMES[:5]
    assert "16 bits are slower than float on a CPU" in said[-1]


def test_a_layer_kept_by_name_stays_off_8_bits(net: FloatNetwork, given: Material) -> None:
    def kinds(**kept: tuple[str, ...]) -> dict[str, str]:
        (attempt,) = climb(net, given, scores(1.0), 0.9, silent, Scope(**kept))
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
        climb(net, given, None, 0.9, silent, Scope(keep_float=("dpeth",)))
