"""Fine-tuning with int8 arithmetic imitated, so that int8 costs next to nothing.

Batch normalisation is folded into the convolutions first. Then weights are
rounded as int8 stores them (symmetric, per output channel) and activations as
int8 passes them on (asymmetric, per tensor), gradients going straight through
(Jacob et al., CVPR 2018); the ends of the activation ranges are learned too (as
in Choi et al., PACT, 2018).

Three networks look at each batch: the float network as it was (the teacher), the
one with rounded weights, and that with rounded activations as well. The last two
learn to say what the teacher says (Hinton et al., 2015) and, more strictly, to
agree with each other. In the end the weights stay where rounding put them: the
float network that is kept has no other weights than its int8 copy, and all that
is left between the two is the rounding of activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from convert.quantisation.ranges import clipped_range
from covidnet_lite.errors import RecipeError
from training.fit.equalise_channels import CONVOLUTIONS, WEIGHTED, consumers
from training.fit.losses import opacity

_ACTIVATIONS = (layers.ReLU, layers.Activation)
_PASSING = (layers.InputLayer, layers.Dropout, layers.SpatialDropout2D)  # change no value at inference


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """The same function with every batch normalisation that follows a convolution folded into it."""
    folded = {
        layer.name: norm
        for layer in model.layers
        if isinstance(layer, CONVOLUTIONS)
        for norm in consumers(layer)
        if isinstance(norm, layers.BatchNormalization)
    }
    folded_away = {norm.name for norm in folded.values()}

    def clone(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if layer.name in folded:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in folded_away else layer(*args, **kwargs)

    new = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in new.layers:
        old = model.get_layer(layer.name)
        if layer.name in folded:
            layer.set_weights(_fold(old, folded[layer.name]))
        elif layer.weights:
            layer.set_weights(old.get_weights())
    return new


def _fold(conv: layers.Layer, norm: layers.BatchNormalization) -> list[npt.NDArray[np.float32]]:
    kernel = conv.get_weights()[0]
    bias = conv.get_weights()[1] if conv.use_bias else 0.0
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    gamma = norm.gamma.numpy() if norm.scale else 1.0
    beta = norm.beta.numpy() if norm.center else 0.0
    factor = gamma / np.sqrt(variance + norm.epsilon)
    depthwise = isinstance(conv, layers.DepthwiseConv2D)
    return [kernel * (factor[:, None] if depthwise else factor), (bias - mean) * factor + beta]


class Rounded(layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Rounds activations to 256 levels between two learned ends."""

    # Ends move by factors, and faster than weights: exp(20 x) turns a step that is right for a
    # weight into a few percent of a range, whatever its size.
    GAIN = 20.0

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = (min(low, 0.0), max(high, 1e-3))  # int8 must hold a true zero
        self.moves = self.add_weight(shape=(2,), initializer="zeros", name="moves")

    def ends(self) -> Any:
        """``(low, high)`` as they are now, float32."""
        return tf.constant(self.start, tf.float32) * tf.exp(self.GAIN * self.moves)

    def call(self, x: Any) -> Any:
        low, high = tf.unstack(self.ends())
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


class RoundedWeights(layers.Layer):  # type: ignore[misc]
    """A convolution or dense layer of another model with its kernel rounded to int8; the variables stay the other's."""

    def __init__(self, original: layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.original = original

    def call(self, x: Any) -> Any:
        original, kernel = self.original, round_kernel(self.original)
        if isinstance(original, layers.Dense):
            x = keras.ops.matmul(x, kernel)
        else:
            run = keras.ops.depthwise_conv if isinstance(original, layers.DepthwiseConv2D) else keras.ops.conv
            padding, dilation = original.padding, original.dilation_rate
            x = run(x, kernel, strides=original.strides, padding=padding, dilation_rate=dilation)
        return original.activation(x + original.bias if original.use_bias else x)


def round_kernel(layer: layers.Layer) -> Any:
    """A layer's kernel in symmetric per-channel int8, with a straight-through gradient."""
    kernel = tf.convert_to_tensor(layer.kernel)
    # The channels of the output come last, but a depthwise kernel has one for each of the last two axes.
    axes = tuple(range(len(kernel.shape) - (2 if isinstance(layer, layers.DepthwiseConv2D) else 1)))
    scale = tf.maximum(tf.reduce_max(tf.abs(kernel), axes, keepdims=True), 1e-12) / 127.0
    rounded = tf.round(kernel / scale) * scale
    return kernel + tf.stop_gradient(rounded - kernel)


@dataclass(frozen=True)
class Imitation:
    """A float network and its imitations over the same weights.

    Attributes:
        network: the float network that is being fine-tuned.
        weights: its imitation with rounded weights.
        whole: its imitation with rounded weights and activations.
        points: name of the layer whose output is rounded -> how.
    """

    network: keras.Model
    weights: keras.Model
    whole: keras.Model
    points: dict[str, Rounded]

    def ranges(self) -> dict[str, list[float]]:
        """Layer name -> the range of its output, for the quantiser."""
        return {name: [float(end) for end in point.ends()] for name, point in sorted(self.points.items())}

    def trainable_variables(self, frozen: str = "") -> list[Any]:
        """The weights above the layer ``frozen``, and the ends of all ranges."""
        names = [layer.name for layer in self.network.layers]
        above = self.network.layers[names.index(frozen) + 1 :] if frozen else self.network.layers
        return [v for layer in above for v in layer.trainable_variables] + [p.moves for p in self.points.values()]

    def settle(self) -> None:
        """Leaves the network's kernels where int8 puts them."""
        for layer in self.network.layers:
            if isinstance(layer, WEIGHTED):
                layer.kernel.assign(round_kernel(layer))


def imitate_int8(model: keras.Model, calibration: npt.NDArray[np.float32]) -> Imitation:
    """Builds the imitation of a batch-norm-free model; its ranges start from ``calibration`` inputs.

    Raises:
        RecipeError: another layer than a convolution or dense layer has weights.
    """
    rounded_layers = {layer.name: layer for layer in model.layers if _is_rounded(layer)}
    probe = keras.Model(model.input, {name: layer.output for name, layer in rounded_layers.items()})
    samples: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in rounded_layers}
    rng = np.random.default_rng(0)
    for start in range(0, len(calibration), 16):
        for name, values in probe(calibration[start : start + 16], training=False).items():
            flat = values.numpy().ravel()
            samples[name] += [rng.choice(flat, min(len(flat), 8192)), np.array([flat.min(), flat.max()])]
    points = {
        name: Rounded(*clipped_range(np.concatenate(samples[name]), min_high=1e-3), name=f"{name}_rounded")
        for name in rounded_layers
    }

    def clone(layer: layers.Layer) -> layers.Layer:
        if isinstance(layer, WEIGHTED):
            return RoundedWeights(layer, name=f"{layer.name}_imitated")
        if layer.weights:  # a copy would begin with weights of its own
            raise RecipeError(
                f"{layer.name}: int8 cannot be imitated for a layer {type(layer).__name__} with weights; "
                "use convolutions and dense layers, or leave quantisation_aware out"
            )
        return type(layer).from_config(layer.get_config())

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Any:
        out = layer(*args, **kwargs)
        name = layer.name.removesuffix("_imitated")
        return points[name](out) if name in points else out

    weights = keras.models.clone_model(model, clone_function=clone)
    whole = keras.models.clone_model(model, clone_function=clone, call_function=call)
    return Imitation(model, weights, whole, points)


def _is_rounded(layer: layers.Layer) -> bool:
    """Whether int8 rounds this layer's output: all but those whose activation is fused behind them."""
    if isinstance(layer, _PASSING):
        return False
    after = consumers(layer)
    return not (
        isinstance(layer, (*CONVOLUTIONS, layers.Add)) and after and all(isinstance(a, _ACTIVATIONS) for a in after)
    )


def mean_of(networks: Sequence[keras.Model]) -> keras.Model:
    """One network whose logits and evidence are the mean of several networks' (copies, which no training changes)."""
    image = keras.Input(networks[0].input.shape[1:])
    outputs = []
    for i, network in enumerate(networks):
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
        copy.trainable = False
        outputs.append(keras.Model(copy.inputs[0], copy.output, name=f"teacher{i}")(image))
    mean = {
        name: keras.layers.Average()([o[name] for o in outputs]) if len(outputs) > 1 else outputs[0][name]
        for name in ("logits", "evidence")
    }
    return keras.Model(image, mean, name="teacher")


def mix(inputs: Any) -> Any:
    """A batch whose first half is mixed with its second half, in random shares (Zhang et al., mixup, 2018).

    A teacher repeats the labels of the radiographs that it was trained on; of mixtures it says what it sees (Beyer et
    al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022).
    """
    inputs = tf.random.shuffle(tf.cast(inputs, tf.float32))
    half = tf.shape(inputs)[0] // 2
    share = tf.random.uniform((half, 1, 1, 1))
    mixtures = share * inputs[:half] + (1 - share) * inputs[half : 2 * half]
    return tf.concat([mixtures, inputs[half:]], 0)


def distances(
    teacher: keras.Model, imitation: Imitation, inputs: Any, consistency: float, map_weight: float
) -> dict[str, Any]:
    """How far the imitations are from the teacher and from each other, in logits and in the map of opacities.

    Inference mode throughout: no dropout, so that only rounding tells the networks apart.
    """
    teacher_outputs = teacher(inputs, training=False)
    plain, whole = imitation.weights(inputs, training=False), imitation.whole(inputs, training=False)

    def distance_of(one: Any, other: Any) -> Any:
        logits = tf.reduce_mean(_divergence(one["logits"], other["logits"]))
        return logits + map_weight * tf.reduce_mean(_local_divergence(one["evidence"], other["evidence"]))

    distance, disagreement = (
        distance_of(teacher_outputs, plain) + distance_of(teacher_outputs, whole),
        distance_of(plain, whole),
    )
    return {"loss": distance + consistency * disagreement, "distance": distance, "disagreement": disagreement}


def _divergence(p: Any, q: Any) -> Any:
    """Kullback-Leibler divergence KL(p || q) of two batches of logits, per radiograph."""
    share = tf.nn.softmax(p)
    return tf.reduce_sum(share * (tf.nn.log_softmax(p) - tf.nn.log_softmax(q)), axis=-1)


def _local_divergence(p: Any, q: Any) -> Any:
    """The same of the local probabilities of an opacity in two evidence maps, mean over the places."""
    one, other = opacity(p), opacity(q)
    share = tf.sigmoid(one)
    return tf.reduce_mean(share * (one - other) - tf.nn.softplus(one) + tf.nn.softplus(other), (1, 2))
