"""The classifiers of :mod:`benchmarks.families`: built as people build them, in Keras 3 and in Keras 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.shapes import COLOURED, SHAPES

RAW, UNIT, TF, TORCH, CAFFE = "raw", "0-1", "tf", "imagenet-torch", "caffe"
Build = Callable[[Any, tuple[int, int, int], int], Any]  # Keras, the input's shape, classes -> a model


@dataclass(frozen=True)
class Member:
    """One network.

    Attributes:
        keras: the major version that builds and saves it.
        build: makes the untrained model.
        preset: how it is given pictures; see :data:`convert.source.scaling.PRESETS`.
        said: whether the converter has to be told that.
        suffix: of the file; empty for a SavedModel.
        labels: of its classes.
        side: of its images, in pixels.
        rate: of learning.
    """

    keras: int
    build: Build
    preset: str = RAW
    said: bool = True
    suffix: str = ".keras"
    labels: tuple[str, ...] = COLOURED
    side: int = 64
    rate: float = 1e-3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gray where its classes are, ``(height, width, channels)``."""
        return (self.side, self.side, 3 if self.labels is COLOURED else 1)


TWO = ("disc", "ring")


def application(name: str, ends: str = "softmax", rescaled: bool = False, **more: Any) -> Build:
    """A family of ``keras.applications`` under a head, functional; perhaps with augmentation and scaling inside."""

    def build(keras: Any, shape: tuple[int, int, int], classes: int) -> Any:
        layers = keras.layers
        image = x = keras.Input(shape)
        if rescaled:
            x = layers.Rescaling(1 / 127.5, -1.0)(layers.RandomFlip("horizontal")(x))
        if shape[2] == 1:
            x = layers.Concatenate()([x, x, x])
        base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(*shape[:2], 3), **more)
        x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(base(x)))
        return keras.Model(image, layers.Dense(classes, None if ends == "logits" else ends)(x))

    return build


def sequential(name: str, **more: Any) -> Build:
    """The same as a Sequential around a network."""

    def build(keras: Any, shape: tuple[int, int, int], classes: int) -> Any:
        layers = keras.layers
        base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=shape, **more)
        head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.1), layers.Dense(classes, "softmax")]
        return keras.Sequential([keras.Input(shape), base, *head])

    return build


def teachable(keras: Any, shape: tuple[int, int, int], classes: int) -> Any:
    """As Teachable Machine saves them: MobileNetV2 0.35 and a head, Sequentials in a Sequential."""
    layers = keras.layers
    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=shape, alpha=0.35)
    features = keras.Sequential([base, layers.GlobalAveragePooling2D()])
    head = keras.Sequential([layers.Dense(100, "relu"), layers.Dense(classes, "softmax", use_bias=False)])
    return keras.Sequential([features, head])


def preprocessed(keras: Any, shape: tuple[int, int, int], classes: int) -> Any:
    """TensorFlow's tutorial of transfer learning: ``preprocess_input`` as operations, one logit for two classes."""
    layers = keras.layers
    image = keras.Input(shape)
    x = keras.applications.mobilenet_v2.preprocess_input(layers.RandomFlip("horizontal")(image))
    if shape[2] == 1:
        x = layers.Concatenate()([x, x, x])
    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(*shape[:2], 3), alpha=0.5)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(base(x)))
    return keras.Model(image, layers.Dense(1 if classes == 2 else classes)(x))


def plain(ends: str = "softmax", activation: str = "relu", flat: bool = False) -> Build:
    """A few convolutions, as in a first tutorial."""

    def build(keras: Any, shape: tuple[int, int, int], classes: int) -> Any:
        layers = keras.layers
        image = x = keras.Input(shape)
        for filters in (16, 32, 64):
            x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, activation=activation)(x))
        x = layers.Dense(48, activation)(layers.Flatten()(x)) if flat else layers.GlobalMaxPooling2D()(x)
        units = 1 if ends == "sigmoid" else classes
        return keras.Model([image], [layers.Dense(units, ends)(x)])

    return build


def residual(keras: Any, shape: tuple[int, int, int], classes: int) -> Any:
    """Residual blocks with LeakyReLU and ``Normalization`` inside, for gray pictures."""
    layers = keras.layers
    image = keras.Input(shape)
    x = layers.Conv2D(16, 3, 2, "same")(layers.Normalization(mean=[110.0], variance=[55.0**2])(image))
    for filters in (24, 32, 48):
        short = layers.Conv2D(filters, 1, 2, use_bias=False)(x)
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x))
        y = layers.LeakyReLU(0.1)(y)
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        x = layers.LeakyReLU(0.1)(layers.Add()([short, y]))
    return keras.Model(image, layers.Dense(classes, "softmax")(layers.GlobalAveragePooling2D()(x)))


NETWORKS: dict[str, Member] = {
    "Teachable Machine": Member(2, teachable, TF, suffix=".h5"),
    "MobileNetV2 0.5, preprocess_input, one logit": Member(2, preprocessed, said=False, suffix=".h5", labels=TWO),
    "MobileNet 0.5, Sequential": Member(3, sequential("MobileNet", alpha=0.5), TF),
    "MobileNetV2 0.5, Rescaling": Member(3, application("MobileNetV2", rescaled=True, alpha=0.5), said=False),
    "MobileNetV3Small": Member(3, application("MobileNetV3Small"), said=False),
    "plain, one sigmoid": Member(3, plain("sigmoid"), UNIT, labels=TWO),
    "plain, flattened, HDF5 named .keras": Member(2, plain(flat=True), UNIT),
    "plain, ELU": Member(3, plain(activation="elu"), UNIT, suffix=".h5"),
    "residual, LeakyReLU, Normalization": Member(3, residual, said=False, labels=SHAPES),
    "MobileNet 0.25, SavedModel": Member(2, sequential("MobileNet", alpha=0.25), TF, suffix=""),
    "MobileNetV2 0.35, gray": Member(3, application("MobileNetV2", alpha=0.35), TF, labels=SHAPES),
    "MobileNetV3Large": Member(2, application("MobileNetV3Large"), said=False, suffix=".h5"),
    "EfficientNetB0": Member(3, application("EfficientNetB0"), said=False),
    "EfficientNetV2B0, logits": Member(3, application("EfficientNetV2B0", "logits"), said=False),
    "NASNetMobile": Member(3, application("NASNetMobile"), TF),
    "DenseNet121": Member(3, application("DenseNet121"), TORCH, side=32),
    "ResNet50": Member(3, application("ResNet50"), CAFFE, side=32),
    "ResNet50V2": Member(2, application("ResNet50V2"), TF, suffix=".h5", side=32),
    "VGG16": Member(3, application("VGG16"), CAFFE, side=32, rate=2e-4),
    "InceptionV3": Member(3, application("InceptionV3"), TF, side=80),
    "Xception": Member(3, application("Xception"), TF, side=80),
    "ConvNeXtTiny": Member(3, application("ConvNeXtTiny"), said=False, side=32, rate=2e-4),
    "EfficientNetB0, Keras 2": Member(2, application("EfficientNetB0"), said=False),
    "DenseNet121, gray, Keras 2": Member(2, application("DenseNet121"), UNIT, suffix=".h5", labels=SHAPES, side=32),
    "MobileNet 0.5, Keras 2": Member(2, sequential("MobileNet", alpha=0.5), TF),
}
