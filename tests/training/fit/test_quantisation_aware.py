from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import drawn_chest

from covidnet_lite.errors import RecipeError
from covidnet_lite.prediction import softmax
from training import dataset
from training.fit import backbones, heads
from training.fit import quantisation_aware as qa


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    result = backbones.with_head(backbones.build("EfficientNetLite0", side=32, weights="none"), ("a", "b"))
    rng = np.random.default_rng(0)
    for layer in result.layers:  # statistics that folding must get right
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights(
                [rng.uniform(0.5, 1.5, n), rng.normal(0, 0.3, n), rng.normal(0, 0.3, n), rng.uniform(0.5, 2, n)]
            )
    return result


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (16, 32, 32, 1)).astype(np.float32)


def test_folding_changes_no_output_and_leaves_no_normalisation(network: keras.Model, inputs: np.ndarray) -> None:
    folded = qa.fold_batch_norm(network)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    before, after = network(inputs, training=False), folded(inputs, training=False)
    for name in before:
        np.testing.assert_allclose(before[name], after[name], atol=2e-4 * float(np.abs(before[name]).max() + 1))


def test_kernels_are_rounded_to_255_levels_per_output_channel() -> None:
    kernel = np.random.default_rng(0).normal(0, 1, (3, 3, 8, 4)).astype(np.float32) * np.float32([1, 10, 100, 0.01])
    layer = keras.layers.Conv2D(4, 3)
    layer.build((None, 9, 9, 8))
    layer.kernel.assign(kernel)
    rounded = np.asarray(qa.round_kernel(layer))
    step = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    assert (np.abs(rounded - kernel).max(axis=(0, 1, 2)) <= step / 2 * 1.001).all()
    np.testing.assert_allclose(rounded / step, np.rint(rounded / step), atol=1e-3)


def test_the_imitation_rounds_what_int8_rounds_and_shares_the_weights(network: keras.Model, inputs: np.ndarray) -> None:
    folded = qa.fold_batch_norm(network)
    imitated = qa.imitate_int8(folded, inputs)
    ranges = imitated.ranges()
    # A convolution whose ReLU6 is fused is rounded once, behind it; one without is rounded itself.
    assert "stem_relu" in ranges
    assert "stem" not in ranges
    assert "block0_project" in ranges
    assert {"logits", "evidence", "embedding"} <= set(ranges)
    assert all(low <= 0 < high for low, high in ranges.values())
    plain, rounded = folded(inputs)["embedding"], imitated.whole(inputs)["embedding"]
    step = (ranges["embedding"][1] - ranges["embedding"][0]) / 255
    np.testing.assert_allclose(np.asarray(rounded) / step, np.rint(np.asarray(rounded) / step), atol=1e-2)
    assert 0 < float(np.abs(plain - rounded).mean()) < 0.3 * float(np.abs(plain).mean())
    shared = {id(v) for v in folded.trainable_variables}
    assert shared <= {id(v) for v in imitated.whole.trainable_variables}


def test_the_imitation_of_a_trained_head_is_the_network_but_for_rounding(inputs: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    backbone = backbones.build("EfficientNetLite0", side=32, weights="none").network
    network = qa.fold_batch_norm(heads.with_evidence(backbone, ["block10_add", "block14_add"], ("a", "b", "c"), 0.1))
    dense = network.get_layer("logits")
    dense.kernel.assign(np.random.default_rng(2).normal(0, 1, dense.kernel.shape))  # as training leaves it
    dense.bias.assign([3.0, -2.0, 1.0])
    imitated = qa.imitate_int8(network, inputs)
    expected, measured = network(inputs)["logits"], imitated.weights(inputs)["logits"]
    np.testing.assert_allclose(measured, expected, atol=0.02 * float(np.abs(expected).max()))
    assert {id(v) for v in network.trainable_variables} <= {id(v) for v in imitated.whole.trainable_variables}
    imitated.settle()
    np.testing.assert_allclose(dense.kernel, qa.round_kernel(dense), atol=1e-6)


def test_a_layer_whose_weights_it_cannot_share_is_named() -> None:
    image = keras.Input((32, 32, 1))
    network = keras.Model(image, {"logits": keras.layers.PReLU(name="odd")(image)})
    with pytest.raises(RecipeError, match="odd: int8 cannot be imitated for a layer PReLU"):
        qa.imitate_int8(network, np.zeros((1, 32, 32, 1), np.float32))


@pytest.mark.slow
def test_training_brings_float_and_int8_together_and_settles_on_weights_int8_can_hold() -> None:
    keras.utils.set_random_seed(0)
    backbone = backbones.build("EfficientNetLite0", side=64)  # ImageNet weights: something to lose
    folded = qa.fold_batch_norm(backbones.with_head(backbone, ("clear", "clouded")))
    images = [drawn_chest(i, opaque=bool(i % 2), side=64) for i in range(16)]
    inputs = dataset.network_inputs(images, backbone.spec)
    taught = np.asarray(folded(inputs)["logits"])
    imitated = qa.imitate_int8(folded, inputs)
    teacher = qa.mean_of([folded])
    optimizer = keras.optimizers.Adam(3e-5)
    variables = imitated.trainable_variables()

    def gap() -> float:
        return float(np.abs(imitated.weights(inputs)["logits"] - imitated.whole(inputs)["logits"]).mean())

    def distance() -> float:
        told = (softmax(np.asarray(x)) for x in (imitated.whole(inputs)["logits"], taught))
        return float(np.abs(next(told) - next(told)).mean())

    before, started_at = gap(), distance()
    for _ in range(25):
        with tf.GradientTape() as tape:
            loss = qa.distances(teacher, imitated, inputs, consistency=20.0, map_weight=0.5)["loss"]
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply_gradients([(g, v) for g, v in zip(gradients, variables) if g is not None])
    assert gap() < 0.8 * before
    imitated.settle()
    expand = folded.get_layer("block3_expand")
    np.testing.assert_allclose(qa.round_kernel(expand), expand.kernel, atol=1e-6)
    np.testing.assert_allclose(folded(inputs)["logits"], imitated.weights(inputs)["logits"], atol=1e-4)
    assert distance() < started_at  # from the teacher


def test_the_teacher_says_the_mean_of_several_and_keeps_its_weights(network: keras.Model, inputs: np.ndarray) -> None:
    folded = qa.fold_batch_norm(network)
    other = keras.models.clone_model(folded)
    other.set_weights([w * 0.9 for w in folded.get_weights()])
    teacher = qa.mean_of([folded, other])
    both = [np.asarray(n(inputs)["evidence"]) for n in (folded, other)]
    np.testing.assert_allclose(teacher(inputs)["evidence"], np.mean(both, axis=0), rtol=1e-3, atol=1e-4)
    before = np.asarray(teacher(inputs)["logits"])
    folded.get_layer("evidence").kernel.assign(np.zeros_like(folded.get_layer("evidence").kernel))
    np.testing.assert_allclose(teacher(inputs)["logits"], before, atol=1e-6)
    assert not teacher.trainable_variables


def test_half_of_a_batch_is_mixed_each_with_another_and_half_stays_as_it_is() -> None:
    keras.utils.set_random_seed(0)
    plain = np.eye(8, dtype=np.float32)[:, None, None, :]  # each image has a channel of its own
    mixed = qa.mix(plain).numpy()[:, 0, 0]
    assert mixed.shape == (8, 8)
    np.testing.assert_allclose(mixed.sum(1), 1, atol=1e-6)
    mixtures, others = mixed[:4], mixed[4:]
    assert ((mixtures > 0).sum(1) == 2).all()
    assert ((others > 0).sum(1) == 1).all()
    assert not np.allclose(mixtures.max(1), mixtures.max())  # a share of its own for each
    assert not np.array_equal(qa.mix(plain).numpy()[4:, 0, 0], others)  # other pairs the next time


def test_layers_below_the_frozen_one_learn_only_their_ranges(network: keras.Model, inputs: np.ndarray) -> None:
    folded = qa.fold_batch_norm(network)
    imitated = qa.imitate_int8(folded, inputs)
    above = {id(v) for v in imitated.trainable_variables("block4_add")}
    assert id(folded.get_layer("block4_project").kernel) not in above
    assert id(folded.get_layer("block5_expand").kernel) in above
    assert {id(p.moves) for p in imitated.points.values()} <= above


def test_a_range_clips_what_costs_least() -> None:
    values = np.random.default_rng(0).normal(0, 1, 400_000).astype(np.float32)
    values[0] = 60.0
    low, high = qa.clipped_range(values)
    assert 4 < high < 50
    assert -6 < low < -3
    flat = np.random.default_rng(0).uniform(0, 6, 20_000).astype(np.float32)
    assert qa.clipped_range(flat)[1] == pytest.approx(6, rel=0.02)
