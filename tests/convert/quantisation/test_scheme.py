from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from float_networks import answers, decibels, image, known, of_keras, plain, ranges, unequal
from keras import layers as K

from convert.quantisation import activations, scheme
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor
from convert.tflite_file.flatbuffer import portable, read
from covidnet_lite.errors import ConversionError


def ends(data: bytes) -> set[str]:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    return {np.dtype(d["dtype"]).name for d in (*interpreter.get_input_details(), *interpreter.get_output_details())}


@pytest.mark.parametrize(
    ("name", "stored", "nearest"), [("int8", "int8", 25), ("int16", "int16", 30), ("float16", "float32", 50), ("dynamic", "float32", 25), ("weights8", "float32", 30), ("weights4", "float32", 12), ("float32", "float32", 250)]
)  # fmt: skip
def test_each_scheme_runs_and_is_near_float(
    name: str, stored: str, nearest: int, net: FloatNetwork, recorded: activations.Activations
) -> None:
    assert set(scheme.SCHEMES) == {"int8", "int16", "float16", "dynamic", "weights8", "weights4", "float32"}
    known = ranges(recorded, bits=8 if name == "int8" else 16)
    quantised = scheme.quantise(net.tflite, name, known)
    assert ends(quantised) == {stored}
    assert decibels(answers(net)[0], answers(net, quantised)[0]) > nearest
    assert portable(quantised) == quantised
    assert scheme.quantise(net.tflite, name, known) == quantised


def test_schemes_that_need_no_ranges_take_none(net: FloatNetwork) -> None:
    sizes = {name: len(scheme.quantise(net.tflite, name)) for name in scheme.SCHEMES if name not in scheme.CALIBRATED}
    assert max(sizes, key=lambda name: sizes[name]) == "float32"


def test_weights_are_as_small_as_the_scheme_says(net: FloatNetwork, recorded: activations.Activations) -> None:
    kinds = {"int8": "INT8", "int16": "INT8", "float16": "FLOAT16", "dynamic": "INT8", "float32": "FLOAT32"}
    kinds |= {"weights8": "INT8", "weights4": "INT4"}
    for name, kind in kinds.items():
        graph = read(scheme.quantise(net.tflite, name, ranges(recorded)), name)
        largest = max((t for node in graph.nodes for t in node.tensors if t.constant), key=lambda t: np.prod(t.shape))
        assert largest.type == kind, name


def test_int8_and_int16_compute_in_integers_alone(net: FloatNetwork, recorded: activations.Activations) -> None:
    for name in scheme.CALIBRATED:
        graph = read(scheme.quantise(net.tflite, name, ranges(recorded)), name)
        assert {t.type for node in graph.nodes for t in node.activations} == {name.upper()}
        assert not {"QUANTIZE", "DEQUANTIZE"} & {node.name for node in graph.nodes}


def test_another_process_makes_the_same_bytes(
    net: FloatNetwork, recorded: activations.Activations, tmp_path: Path
) -> None:
    (tmp_path / "n.tflite").write_bytes(net.tflite)
    program = (
        "import sys, json; from pathlib import Path; from convert.quantisation import scheme\n"
        "folder = Path(sys.argv[1]); ranges = json.loads((folder / 'ranges.json').read_text())\n"
        "for name in ('int8', 'int16', 'float16', 'dynamic', 'weights4'):\n"
        "    (folder / name).write_bytes(scheme.quantise((folder / 'n.tflite').read_bytes(), name, ranges))\n"
        "wide = list(ranges)[2:4]\n"
        "(folder / 'wide').write_bytes(scheme.quantise((folder / 'n.tflite').read_bytes(), 'int8', ranges, wide))\n"
    )
    (tmp_path / "ranges.json").write_text(json.dumps(ranges(recorded)))
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=root, timeout=120,
        env={"PYTHONPATH": str(root), "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("int8", "int16", "float16", "dynamic"):
        assert (tmp_path / name).read_bytes() == scheme.quantise(net.tflite, name, ranges(recorded))
    wide = set(list(recorded)[2:4])
    assert (tmp_path / "wide").read_bytes() == scheme.quantise(net.tflite, "int8", ranges(recorded), wide)


LEFT_IN_FLOAT: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("int8", "SIN", keras.ops.sin),
    ("int8", "FLOOR", keras.ops.floor),
    ("int16", "HARD_SWISH", K.Activation("hard_swish")),
]


@pytest.mark.parametrize(("name", "operation", "step"), LEFT_IN_FLOAT)
def test_an_operation_without_a_kernel_is_named_with_the_way_out(
    name: str, operation: str, step: Callable[[Any], Any]
) -> None:
    given = image()
    x = step(K.Conv2D(4, 3, name="one")(given))
    x = K.Conv2D(4, 3, name="two")(x)
    net = of_keras(keras.Model(given, K.Dense(2)(K.GlobalAveragePooling2D()(x))))
    found = ranges(known(net))
    with pytest.raises(
        ConversionError,
        match=rf"{name}: there is no {name} kernel for 1 operation: {operation} \(.*--schemes dynamic or float16",
    ):
        scheme.quantise(net.tflite, name, found)
    for other in ("dynamic", "float16"):
        assert decibels(answers(net)[0], answers(net, scheme.quantise(net.tflite, other))[0]) > 20


def types(data: bytes) -> dict[str, str]:
    """Layer's tensor -> the type that its operation writes."""
    graph = read(data, "n")
    return {node.outputs[0].name: node.outputs[0].type for node in graph.nodes if node.name != "QUANTIZE"}


def test_wide_tensors_keep_16_bits_and_no_other(net: FloatNetwork, recorded: activations.Activations) -> None:
    names = activations.layers_of(list(recorded), net)
    wide = [tensor for tensor, layer in names.items() if layer in ("depth", "skip")]
    quantised = scheme.quantise(net.tflite, "int8", ranges(recorded), wide)
    written = types(quantised)
    assert {t for t, kind in written.items() if kind == "INT16"} == set(wide)
    assert set(written.values()) == {"INT8", "INT16"}
    assert ends(quantised) == {"int8"}
    narrow = scheme.quantise(net.tflite, "int8", ranges(recorded))
    assert (
        decibels(answers(net)[0], answers(net, quantised)[0]) > decibels(answers(net)[0], answers(net, narrow)[0]) - 3
    )


def test_a_wide_tensor_does_not_widen_another_whose_name_begins_like_its_own() -> None:
    given = image()
    x = K.Conv2D(4, 3, name="one")(given)
    y = K.Conv2D(4, 3, padding="same", name="two")(x)
    x = keras.ops.add(y, x)
    x = keras.ops.add(K.Conv2D(4, 3, padding="same", name="three")(x), y)
    net = of_keras(keras.Model(given, K.Dense(2)(K.GlobalAveragePooling2D()(x))))
    editor = Editor(net.tflite)
    adds = [int(o.outputs[0]) for o in editor.operators if editor.kind(o) == "ADD"]
    editor.tensors[adds[0]].name, editor.tensors[adds[1]].name = b"net/add/Add", b"net/add/Add_1"
    changed = editor.finish()
    found = {**ranges(known(net)), "net/add/Add": (-9.0, 9.0), "net/add/Add_1": (-9.0, 9.0)}
    written = types(scheme.quantise(changed, "int8", found, ["net/add/Add"]))
    assert (written["net/add/Add"], written["net/add/Add_1"]) == ("INT16", "INT8")


@pytest.mark.parametrize("name", scheme.CALIBRATED)
def test_a_layer_that_is_always_nothing_is_quantised_so_that_it_runs(name: str) -> None:
    model = plain("relu")
    for layer in ("one", "skip"):
        kernel, bias = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([-np.abs(kernel) * 0, bias - 1])
    net = of_keras(model)
    recorded = known(net)
    assert (0.0, 0.0) in ranges(recorded).values()
    quantised = scheme.quantise(net.tflite, name, ranges(recorded))
    editor = Editor(quantised)
    assert all(editor.scales(int(o.outputs[0])) > 1e-6 for o in editor.operators)  # no kernel takes less for sure
    interpreter = Interpreter(model_content=quantised)  # by fast kernels too
    interpreter.allocate_tensors()
    interpreter.invoke()
    np.testing.assert_allclose(answers(net, quantised)[0], answers(net)[0], atol=0.02)


@pytest.mark.parametrize("weight", [0.0, 1e-9, 1e-7])
@pytest.mark.parametrize("layer", ["one", "depth"])
def test_a_bias_beside_weights_that_are_next_to_nothing_is_kept(layer: str, weight: float) -> None:
    model = unequal(plain(), by=0.1)
    kernel, bias = model.get_layer(layer).get_weights()
    if layer == "depth":
        kernel[:, :, 3, 0] *= weight
    else:
        kernel[..., 3] *= weight
    bias[3] = 5.0
    model.get_layer(layer).set_weights([kernel, bias])
    net = of_keras(model)
    recorded = known(net)
    exact = answers(net)[0]
    for name, least in (("int8", 25), ("int16", 35)):
        quantised = scheme.quantise(net.tflite, name, ranges(recorded))
        assert decibels(exact, answers(net, quantised)[0]) > least, name
    editor = Editor(scheme.quantise(net.tflite, "int8", ranges(recorded)))
    operator = editor.operators[("one", "depth").index(layer)]
    given, weights, place = (int(t) for t in operator.inputs)
    stored = editor.constant(place)[3] * editor.scales(given)[0] * editor.scales(weights)[3]
    assert stored == pytest.approx(5.0, rel=1e-3)


def test_what_the_quantiser_does_not_take_is_told(net: FloatNetwork) -> None:
    with pytest.raises(ConversionError, match="int8: "):
        scheme.quantise(net.tflite, "int8", {})
