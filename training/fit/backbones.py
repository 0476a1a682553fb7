"""Networks to fine-tune: EfficientNet-Lite, and any of ``keras.applications``.

Every network here takes one gray channel and ends in the same head, with three
outputs of one pass:

* ``logits`` ``(batch, classes)``
* ``evidence`` ``(batch, h, w, classes)``: the class activation map (Zhou et al.,
  CVPR 2016). The classifier is a 1x1 convolution before global pooling, so the
  logits *are* the mean of the map and it costs nothing.
* ``embedding`` ``(batch, features)``: the pooled features, for the guard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from covidnet_lite.errors import ModelError
from covidnet_lite.network.input_spec import InputSpec
from training.fit import imagenet

# Channels and repeats of the stages: (repeats, kernel, stride, expansion, filters).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Width, depth, input side in pixels, as published.
_LITE = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260)}
_BN_EPSILON = 1e-3
HEAD_LAYERS = ("around", "mixed", "evidence", "logits")  # of with_head and heads.with_evidence


@dataclass(frozen=True)
class Backbone:
    """A feature extractor, ``(batch, side, side, 1)`` -> ``(batch, h, w, features)``, and its input."""

    network: keras.Model
    spec: InputSpec


def build(
    name: str,
    *,
    side: int | None = None,
    weights: str = "imagenet",
    equalise: bool = True,
    blocks: int | None = None,
) -> Backbone:
    """A backbone by name.

    Args:
        name: ``EfficientNetLite0``, ``1``, ``2``, or a class of ``keras.applications``
            such as ``MobileNet`` or ``VGG16``.
        side: input height and width in pixels; ``None`` for the published one.
        weights: ``imagenet``, ``none``, or for ``keras.applications`` a weights file.
        equalise: whether the radiograph's gray levels are equalised before it.
        blocks: of an EfficientNet-Lite, only the first so many, for smaller machines.

    Raises:
        ModelError: there is no such network, or its weights cannot be had.
    """
    if name.startswith("EfficientNetLite"):
        variant = name.removeprefix("EfficientNetLite")
        if variant not in {str(v) for v in _LITE}:
            raise ModelError(f"{name}: there are EfficientNetLite0, 1 and 2")
        return _efficientnet_lite_gray(int(variant), side, weights, equalise, blocks)
    if blocks is not None:
        raise ModelError(f"{name}: only an EfficientNet-Lite can be cut after some blocks; leave blocks out")
    return _keras_application(name, side, weights, equalise)


def with_head(backbone: Backbone, labels: tuple[str, ...], dropout: float = 0.2) -> keras.Model:
    """The whole classifier: backbone, 1x1 convolution, pooling."""
    features = backbone.network.output
    dropped = layers.SpatialDropout2D(dropout, name="dropout")(features)
    evidence = layers.Conv2D(len(labels), 1, name="evidence")(dropped)
    logits = layers.GlobalAveragePooling2D(name="logits")(evidence)
    embedding = layers.GlobalAveragePooling2D(name="embedding")(features)
    return keras.Model(
        backbone.network.inputs[0],
        {"logits": logits, "evidence": evidence, "embedding": embedding},
        name=backbone.network.name,
    )


def below(network: keras.Model, upto: str) -> keras.Model:
    """The part of a network up to the layer of this name, which keeps its weights while the rest is trained.

    Raises:
        ModelError: there is no such layer.
    """
    names = [layer.name for layer in network.layers]
    if upto not in names:
        raise ModelError(f"freeze = {upto!r}: {network.name} has no such layer; some are {', '.join(names[::12])}")
    return keras.Model(network.inputs[0], network.get_layer(upto).output, name="frozen")


def randomly_initialised(network: keras.Model) -> list[str]:
    """The names of the layers that have no ImageNet weights: all behind the backbone, and a neck."""
    return [
        layer.name
        for layer in network.layers
        if layer.name in HEAD_LAYERS or layer.name.endswith("_lateral") or layer.name.startswith("neck")
    ]


# --- EfficientNet-Lite -------------------------------------------------------------


def efficientnet_lite(
    variant: int, side: int | None = None, channels: int = 3, classes: int = 0, blocks: int | None = None
) -> keras.Model:
    """EfficientNet-Lite (Tan and Le, ICML 2019; Liu 2020): ReLU6, no squeeze-and-excite.

    With ``classes`` it ends in the ImageNet classifier's logits, else in features.
    With ``blocks`` it is cut after so many and ends in a neck of 256 features.
    Inputs are ``(gray - 127) / 128``.
    """
    width, _, published = _LITE[variant]
    side = side or published
    x = image = keras.Input((side, side, channels), name="radiograph")
    x = _conv(x, 32, 3, 2, "stem")
    block = 0
    for count, (_, kernel, stride, expansion, filters) in zip(_repeats(variant), _STAGES):
        for repeat in range(count):
            if block == blocks:
                break
            x = _mbconv(x, _round(filters, width), kernel, stride if repeat == 0 else 1, expansion, f"block{block}")
            block += 1
    whole = blocks is None or blocks == sum(_repeats(variant))
    x = _conv(x, 1280, 1, 1, "head") if whole else _conv(x, 256, 1, 1, "neck")
    if classes:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dense(classes, name="classifier")(x)
    return keras.Model(image, x, name=f"EfficientNetLite{variant}")


def _repeats(variant: int) -> list[int]:
    """Blocks in each stage. Lite scales neither the first nor the last stage in depth, nor stem and head in width."""
    depth, last = _LITE[variant][1], len(_STAGES) - 1
    return [stage[0] if i in (0, last) else math.ceil(depth * stage[0]) for i, stage in enumerate(_STAGES)]


def _round(filters: int, width: float) -> int:
    """Scales a channel count and rounds it to a multiple of 8, never down by more than 10 %."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _conv(x: Any, filters: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, momentum=0.97, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _mbconv(x: Any, filters: int, kernel: int, stride: int, expansion: int, name: str) -> Any:
    shortcut, channels = x, x.shape[-1]
    if expansion != 1:
        x = _conv(x, channels * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(epsilon=_BN_EPSILON, momentum=0.97, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = _conv(x, filters, 1, 1, f"{name}_project", relu=False)
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def load_imagenet(network: keras.Model, weights: imagenet.Weights) -> None:
    """Copies a PyTorch state dict into :func:`efficientnet_lite`, of one channel or three.

    A one-channel stem gets the three-channel one summed over colour, which is an
    exact identity for a gray image. A neck has no ImageNet weights.
    """
    for layer in network.layers:
        if not layer.weights or layer.name.startswith("neck"):
            continue
        prefix = _torch_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([weights[f"{prefix}.{n}"] for n in names])
        elif isinstance(layer, layers.Dense):
            layer.set_weights([weights[f"{prefix}.weight"].T, weights[f"{prefix}.bias"]])
        else:
            kernel = weights[f"{prefix}.weight"]  # out, in, h, w; depthwise: channels, 1, h, w
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            kernel = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)
            if layer.name == "stem" and layer.kernel.shape[2] == 1:
                kernel = kernel.sum(axis=2, keepdims=True)
            layer.set_weights([kernel])


def _torch_name(name: str) -> str:
    """``block3_project_bn`` -> ``_blocks.3._bn2``, and so on."""
    whole = {"stem": "_conv_stem", "stem_bn": "_bn0", "head": "_conv_head", "head_bn": "_bn1", "classifier": "_fc"}
    if name in whole:
        return whole[name]
    block, part = name.removeprefix("block").split("_", 1)
    parts = {
        "expand": "_expand_conv", "expand_bn": "_bn0",
        "depthwise": "_depthwise_conv", "depthwise_bn": "_bn1",
        "project": "_project_conv", "project_bn": "_bn2",
    }  # fmt: skip
    return f"_blocks.{block}.{parts[part]}"


def _efficientnet_lite_gray(
    variant: int, side: int | None, weights: str, equalise: bool, blocks: int | None
) -> Backbone:
    most = sum(_repeats(variant))
    if blocks is not None and not 1 <= blocks <= most:
        raise ModelError(f"blocks = {blocks}: EfficientNetLite{variant} has 1 to {most}")
    network = efficientnet_lite(variant, side, channels=1, blocks=blocks)
    if weights == "imagenet":
        load_imagenet(network, imagenet.efficientnet_lite_weights(variant))
    elif weights != "none":
        raise ModelError(f"weights = {weights!r}: EfficientNetLite{variant} knows 'imagenet' and 'none'")
    side = network.input.shape[1]
    return Backbone(network, InputSpec(side, side, 1, (127.0,), (128.0,), equalise))


# --- keras.applications ---------------------------------------------------------------

# What each family was trained to see, per RGB channel: (gray - mean) / std.
_TF = ((127.5,) * 3, (127.5,) * 3)
_TORCH = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CAFFE = ((123.68, 116.779, 103.939), (1.0,) * 3)  # and blue first
_RAW = ((0.0,) * 3, (1.0,) * 3)
_PREPROCESSING = {
    "VGG": _CAFFE, "ResNet50": _CAFFE, "ResNet101": _CAFFE, "ResNet152": _CAFFE,
    "DenseNet": _TORCH, "RegNet": _RAW, "EfficientNet": _RAW, "ConvNeXt": _RAW, "MobileNetV3": _RAW,
}  # fmt: skip


def _keras_application(name: str, side: int | None, weights: str, equalise: bool) -> Backbone:
    constructor = getattr(keras.applications, name, None)
    if not callable(constructor):
        known = sorted(n for n in dir(keras.applications) if n[0].isupper())
        raise ModelError(f"{name}: no such network; EfficientNetLite0, 1, 2 or one of {', '.join(known)}")
    side = side or 224
    image = keras.Input((side, side, 1), name="radiograph")
    network = constructor(include_top=False, weights=None, input_tensor=gray_to_colour(name)(image))
    if weights != "none":
        _copy_weights(_pretrained(constructor, name, side, weights), network)
    return Backbone(network, InputSpec(side, side, 1, (127.0,), (128.0,), equalise))


def _pretrained(constructor: Any, name: str, side: int, weights: str) -> keras.Model:
    try:
        return constructor(include_top=False, weights=weights, input_shape=(side, side, 3))
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}: cannot be built with weights = {weights!r} ({error})") from error
    except Exception as error:  # what keras.utils.get_file raises when a download fails
        if not str(error).startswith("URL fetch failure"):
            raise
        raise ModelError(
            f"{name}: its ImageNet weights could not be downloaded ({error}); "
            'give a weights file in the recipe, or weights = "none"'
        ) from error


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    with_weights = [layer for layer in target.layers if layer.weights and layer.name != "gray_to_colour"]
    for old, new in zip((layer for layer in source.layers if layer.weights), with_weights):
        new.set_weights(old.get_weights())


def gray_to_colour(name: str) -> layers.Layer:
    """``(gray - 127) / 128`` -> three channels as a family was trained to see them.

    A 1x1 convolution, so it is exact for every family, and the converter
    quantises it like any other.
    """
    mean, std = _preprocessing(name)
    layer = layers.Conv2D(3, 1, name="gray_to_colour")
    layer.build((None, None, None, 1))
    layer.set_weights([(128.0 / std).reshape(1, 1, 1, 3), (127.0 - mean) / std])
    return layer


def _preprocessing(name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if name.startswith("ResNet") and name.endswith("V2"):
        mean, std = _TF
    else:
        mean, std = next((p for prefix, p in _PREPROCESSING.items() if name.startswith(prefix)), _TF)
    if (mean, std) == _CAFFE:
        mean = mean[::-1]
    return np.asarray(mean), np.asarray(std)


def cells(network: keras.Model) -> int:
    """The side of a network's evidence map, in cells."""
    return int(network.output["evidence"].shape[1])


def copy_of(network: keras.Model) -> keras.Model:
    """The same network with weights of its own."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy
