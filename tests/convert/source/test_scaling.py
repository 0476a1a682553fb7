"""How pictures are scaled: told, named, or read from a network's first layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from convert import quantize
from convert.float_input import normalise
from convert.source import network, scaling
from convert.source.scaling import PRESETS, RAW, TO_ONE, Scaling
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.input_spec import InputSpec

SHAPE = (12, 12, 3)


def beginning(*front: Callable[[Any], Any], channels: int = 3) -> keras.Model:
    x = image = keras.Input((*SHAPE[:2], channels))
    for layer in front:
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same")(x))
    return keras.Model(image, layers.Dense(2)(x))


def load(model: keras.Model, folder: Path, **more: Any) -> network.FloatNetwork:
    model.save(folder / "own.keras")
    return network.load(folder / "own.keras", ("a", "b"), **more)


FRONTS: dict[str, tuple[tuple[Callable[[Any], Any], ...], Scaling]] = {
    "rescaling to 0..1": ((layers.Rescaling(1 / 255),), RAW),
    "rescaling to -1..1": ((layers.Rescaling(1 / 127.5, -1),), RAW),
    "augmentation first": ((layers.RandomFlip(), layers.RandomRotation(0.1), layers.Rescaling(1 / 127.5, -1)), RAW),
    "as EfficientNet": ((layers.Rescaling(1 / 255), layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05, 0.05, 0.05])), RAW),
    "preprocess_input of MobileNet": ((keras.applications.mobilenet.preprocess_input,), RAW),
    "preprocess_input of VGG16": ((keras.applications.vgg16.preprocess_input,), RAW),
    "normalisation of 0..1": ((layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05, 0.05, 0.05]),), TO_ONE),
    "normalisation of 0..255": ((layers.Normalization(mean=[124.0, 117.0, 104.0], variance=[3400.0, 3400.0, 3400.0]),), RAW),
}  # fmt: skip


@pytest.mark.parametrize("front", FRONTS)
def test_what_a_network_does_first_tells_what_it_takes(front: str, tmp_path: Path) -> None:
    result, expected = FRONTS[front]
    net = load(beginning(*result), tmp_path)
    assert (net.spec.mean, net.spec.std) == expected.of_channels(3)
    assert "scale images of 0 to" in net.assumed[0]


@pytest.mark.parametrize("front", [(), (layers.ReLU(),), (layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3),)])
def test_what_says_nothing_must_be_told(front: tuple[Any, ...], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="pass --input-range LOW HIGH.*--preset imagenet-torch"):
        load(beginning(*front), tmp_path)


def test_what_is_told_goes_before_what_is_read(tmp_path: Path) -> None:
    net = load(beginning(layers.Rescaling(1 / 255)), tmp_path, input_range=(0, 1))
    assert net.spec.std == (255.0,) * 3


@pytest.mark.parametrize(
    ("preset", "white"),
    [
        ("imagenet-torch", [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("caffe", [255 - 103.939, 255 - 116.779, 255 - 123.68]),
        ("tf", [1, 1, 1]),
        ("0-1", [1, 1, 1]),
        ("raw", [255, 255, 255]),
    ],
)
def test_a_preset_is_what_keras_and_torchvision_do(preset: str, white: list[float]) -> None:
    mean, std = PRESETS[preset].of_channels(3)
    spec = InputSpec(1, 1, 3, mean, std, colour=PRESETS[preset].colour or "rgb")
    np.testing.assert_allclose(normalise(np.full((1, 1, 3), 255, np.uint8), spec)[0, 0], white, rtol=1e-5)


def test_a_preset_says_the_order_of_the_colours(tmp_path: Path) -> None:
    net = load(beginning(), tmp_path, scaled=PRESETS["caffe"])
    assert (net.spec.colour, net.spec.mean, net.assumed) == ("bgr", (103.939, 116.779, 123.68), ())


def test_an_order_that_nobody_told_is_assumed_aloud(tmp_path: Path) -> None:
    net = load(beginning(), tmp_path, input_range=(0, 1))
    assert net.spec.colour == "rgb"
    assert net.assumed == ("its channels are red, green and blue in this order; --colour bgr or gray says otherwise",)
    assert load(beginning(), tmp_path, input_range=(0, 1), colour="gray").assumed == ()


def test_equalisation_is_for_gray_alone(tmp_path: Path) -> None:
    assert load(beginning(), tmp_path, input_range=(0, 1), equalise=True).spec.colour == "gray"
    with pytest.raises(ConversionError, match="neither equalise nor lungs"):
        load(beginning(), tmp_path, input_range=(0, 1), equalise=True, colour="rgb")
    with pytest.raises(ConversionError, match="needs 3 channels"):
        load(beginning(channels=1), tmp_path, input_range=(0, 1), colour="rgb")


def asked(*more: str) -> Any:
    return quantize.options(quantize.build_parser().parse_args(["net.keras", *more]))


def test_the_command_takes_one_way_to_say_it() -> None:
    assert asked("--mean", "1", "2", "3", "--std", "4").scaled == Scaling((1, 2, 3), (4,))
    assert asked("--preset", "tf").scaled == PRESETS["tf"]
    assert asked("--input-range", "0", "1").scaled is None
    with pytest.raises(ConversionError, match="give one of them"):
        asked("--preset", "tf", "--input-range", "0", "1")
    with pytest.raises(ConversionError, match="belong together"):
        asked("--mean", "1")


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.485], [0.229], r"meant for images from 0 to 1.*--mean 123.675 --std 58.395"),
        ([0.0], [0.0], "above 0"),
        ([float("nan")], [1.0], "finite"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(mean: list[float], std: list[float], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        scaling.of_numbers(mean, std)


def test_as_many_numbers_as_channels_are_needed() -> None:
    with pytest.raises(ConversionError, match="has 2 values, but the network takes 3 channels"):
        scaling.of_numbers([1, 2], [3]).of_channels(3)
