from __future__ import annotations

import keras
import numpy as np
import pytest
from float_networks import answers, image, known, of_keras, ranges
from keras import layers as K

from convert.quantisation import activations, scheme
from convert.quantisation.bias_correction import correct_biases
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor


def biased(*steps: K.Layer) -> FloatNetwork:
    """A network whose int8 weights are all too small: each channel holds one large weight and many just below half a step."""
    given = image()
    x = K.Conv2D(8, 3, activation="relu", padding="same", name="one")(given)
    for step in steps:
        x = step(x)
    model = keras.Model(
        given, K.Dense(3, bias_initializer="ones", name="head")(K.GlobalAveragePooling2D(name="pool")(x))
    )
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        kernel, bias = weights
        kernel[:] = 1.45 / 127
        if isinstance(layer, K.DepthwiseConv2D):
            kernel[0, 0] = 1
        else:
            kernel.reshape(-1, kernel.shape[-1])[0] = 1
        layer.set_weights([kernel, bias + np.linspace(0.1, 4, bias.size)])
    return of_keras(model)


BIASED = {
    "convolution": [K.Conv2D(16, 3, activation="relu", name="two")],
    "depthwise": [K.DepthwiseConv2D(5, activation="relu", name="two")],
    "depth multiplier": [K.DepthwiseConv2D(5, depth_multiplier=3, activation="relu", name="two")],
    "fully connected": [K.Dense(32, activation="relu", name="two")],
    "groups": [K.Conv2D(16, 3, groups=2, activation="relu", name="two")],
}  # fmt: skip


@pytest.mark.parametrize("kind", BIASED)
def test_the_mean_shift_of_every_output_shrinks(kind: str) -> None:
    net = biased(*BIASED[kind])
    recorded = known(net)
    for to in ("int8", "int16"):
        quantised = scheme.quantise(net.tflite, to, ranges(recorded))
        corrected = correct_biases(quantised, net.tflite, recorded)
        exact, plainly, rightly = (answers(net, graph)[0] for graph in (None, quantised, corrected))
        before, after = (np.abs((found - exact).mean(axis=0)).max() for found in (plainly, rightly))
        step = 2 * np.abs(exact).max() / 255
        assert before > 3 * step
        assert after < max(0.25 * before, step), (to, before, after)


@pytest.mark.parametrize(("to", "kind"), [("int8", np.int32), ("int16", np.int64)])
def test_nothing_changes_but_biases(to: str, kind: type, net: FloatNetwork, recorded: activations.Activations) -> None:
    quantised = scheme.quantise(net.tflite, to, ranges(recorded))
    before, after = Editor(quantised), Editor(correct_biases(quantised, net.tflite, recorded))
    assert len(before.tensors) == len(after.tensors)
    biases = {int(o.inputs[2]) for o in before.operators if "CONV" in before.kind(o)}
    changed = set()
    for i in range(len(before.tensors)):
        assert (before.name(i), before.shape(i), before.tensors[i].type) == (
            after.name(i),
            after.shape(i),
            after.tensors[i].type,
        )
        np.testing.assert_array_equal(before.scales(i), after.scales(i))
        if before.is_constant(i) and not np.array_equal(before.constant(i), after.constant(i)):
            changed.add(i)
    assert changed
    assert changed <= biases
    assert all(after.constant(i).dtype == kind for i in changed)
    for old, new in zip(before.operators, after.operators):
        assert (before.kind(old), list(old.inputs), list(old.outputs)) == (
            after.kind(new),
            list(new.inputs),
            list(new.outputs),
        )


def test_a_correction_is_what_its_definition_says(net: FloatNetwork, recorded: activations.Activations) -> None:
    quantised = scheme.quantise(net.tflite, "int8", ranges(recorded))
    before, after, original = (
        Editor(quantised),
        Editor(correct_biases(quantised, net.tflite, recorded)),
        Editor(net.tflite),
    )
    operator = before.operators[2]  # the pointwise convolution behind the depthwise one
    source = original.operators[2]
    given, weights, bias = (int(t) for t in operator.inputs)
    rounded = before.constant(weights)[:, 0, 0] * before.scales(weights)[:, None]
    means = recorded[original.name(int(source.inputs[0]))].means
    shift = (rounded - original.constant(int(source.inputs[1]))[:, 0, 0]) @ means
    moved = (after.constant(bias) - before.constant(bias)) * before.scales(given) * before.scales(weights)
    np.testing.assert_allclose(moved, -shift, atol=float((before.scales(given) * before.scales(weights)).max()))


def test_layers_that_keep_16_bits_among_8_are_corrected_too() -> None:
    net = biased(K.Conv2D(16, 3, activation="relu", name="two"), K.Conv2D(8, 1, activation="relu", name="three"))
    recorded = known(net)
    wide = [tensor for tensor, layer in activations.layers_of(list(recorded), net).items() if layer == "two"]
    quantised = scheme.quantise(net.tflite, "int8", ranges(recorded), wide)
    before, after = Editor(quantised), Editor(correct_biases(quantised, net.tflite, recorded))
    assert "QUANTIZE" in [before.kind(o) for o in before.operators]
    biases = [(int(o.inputs[2]), before.name(int(o.outputs[0]))) for o in before.operators if "CONV" in before.kind(o)]
    kinds = {
        before.constant(i).dtype for i, name in biases if not np.array_equal(before.constant(i), after.constant(i))
    }
    assert kinds == {np.dtype("int32"), np.dtype("int64")}
    exact = answers(net)[0]
    shifts = [np.abs((answers(net, graph)[0] - exact).mean(axis=0)).max() for graph in (quantised, after.finish())]
    assert shifts[1] < 0.25 * shifts[0]


def test_without_means_nothing_is_corrected(net: FloatNetwork, recorded: activations.Activations) -> None:
    quantised = scheme.quantise(net.tflite, "int8", ranges(recorded))
    bare = {t: activations.of_range(*a.range("min-max")) for t, a in recorded.items()}
    for given in (bare, {}):
        found = correct_biases(quantised, net.tflite, given)
        assert all(
            np.array_equal(Editor(quantised).constant(i), Editor(found).constant(i))
            for i, t in enumerate(Editor(quantised).tensors) if Editor(quantised).is_constant(i)
        )  # fmt: skip


def test_a_bias_at_the_end_of_its_range_does_not_turn_round(
    net: FloatNetwork, recorded: activations.Activations
) -> None:
    editor = Editor(scheme.quantise(net.tflite, "int8", ranges(recorded)))
    ends = np.iinfo(np.int32)
    for end in (ends.max, ends.min):
        for operator in editor.operators[:4]:
            editor.set_constant(int(operator.inputs[2]), np.full(8, end))
        after = Editor(correct_biases(editor.finish(), net.tflite, recorded))
        for operator in after.operators[:4]:
            assert (np.sign(after.constant(int(operator.inputs[2]))) == np.sign(end)).all()


def test_the_same_bytes_every_time(net: FloatNetwork, recorded: activations.Activations) -> None:
    quantised = scheme.quantise(net.tflite, "int8", ranges(recorded))
    assert correct_biases(quantised, net.tflite, recorded) == correct_biases(quantised, net.tflite, recorded)
