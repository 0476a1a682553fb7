"""Calibration without data: ``python benchmarks/without_data.py --pictures DIR [--only NAME ...] [--json FILE]``.

Small networks in colour learn to tell photographs apart by crops of them, and are converted three times: with ranges
from other crops, from plain 1/f noise, and from noise changed until the network sees the statistics that its batch
normalisation remembers. Each is judged by how often int8 names the class that float names, on crops of parts of the
photographs that nothing else has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from PIL import Image

from convert.judge.network_outputs import outputs
from convert.quantisation import synthetic
from convert.quantisation.activations import by_tensor, record
from convert.quantisation.scheme import quantise
from convert.source import network
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify

SIDE, SHAPE = 64, (64, 64, 3)
SECONDS, JUDGED, CALIBRATION, MADE = 40, 400, 100, 32
CLIPS = ("min-max", "percentile", "mse")
TILES = 6  # a photograph is cut into so many by so many; every third diagonal is for judging
Pictures = npt.NDArray[np.uint8]


def block(x: Any, filters: int, stride: int, activation: Callable[[Any], Any]) -> Any:
    x = layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x)
    return activation(layers.BatchNormalization()(x))


def residual() -> keras.Model:
    image = keras.Input(SHAPE)
    x = block(image, 16, 2, layers.ReLU())
    for filters in (24, 32, 48):
        short = layers.BatchNormalization()(layers.Conv2D(filters, 1, 2, use_bias=False)(x))
        y = block(block(x, filters, 2, layers.ReLU()), filters, 1, lambda v: v)
        x = layers.ReLU()(layers.Add()([short, y]))
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def dense() -> keras.Model:
    image = keras.Input(SHAPE)
    x = block(image, 16, 2, layers.ReLU())
    for _ in range(3):
        for _ in range(3):
            y = layers.Conv2D(12, 3, padding="same", use_bias=False)(layers.ReLU()(layers.BatchNormalization()(x)))
            x = layers.Concatenate()([x, y])
        x = layers.AveragePooling2D(2)(block(x, 24, 1, layers.ReLU()))
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def leaky() -> keras.Model:
    x = image = keras.Input(SHAPE)
    for filters in (16, 24, 32, 48):
        x = block(x, filters, 2, layers.LeakyReLU(negative_slope=0.1))
    return keras.Model(image, layers.GlobalMaxPooling2D()(x))


def application(name: str, **more: Any) -> Callable[[], keras.Model]:
    return lambda: getattr(keras.applications, name)(
        input_shape=SHAPE, include_top=False, weights=None, pooling="avg", **more
    )


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "residual": residual,
    "dense": dense,
    "LeakyReLU and maximum": leaky,
    "MobileNet 0.25": application("MobileNet", alpha=0.25),
    "MobileNetV2 0.35": application("MobileNetV2", alpha=0.35),
    "MobileNetV3Small": application("MobileNetV3Small", minimalistic=False, include_preprocessing=False),
}


def crops(
    photographs: list[Image.Image], count: int, judged: bool, seed: int
) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """``(count, 64, 64, 3)`` crops, at random from tiles that judge or from all others, and whose they are."""
    rng = np.random.default_rng(seed)
    pictures, targets = [], []
    for i in range(count):
        which = i % len(photographs)
        image = photographs[which]
        tiles = [(r, c) for r in range(TILES) for c in range(TILES) if ((r + c) % 3 == 0) == judged]
        row, column = tiles[rng.integers(len(tiles))]
        width, height = image.width / TILES, image.height / TILES
        share = rng.uniform(0.7, 1)
        left, top = (column + rng.uniform(0, 1 - share)) * width, (row + rng.uniform(0, 1 - share)) * height
        box = (left, top, left + share * width, top + share * height)
        made = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))
        pictures.append(made[:, ::-1] if rng.random() < 0.5 else made)
        targets.append(which)
    return np.stack(pictures), np.array(targets)


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration without data, network by network.")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="photographs, one a class")
    parser.add_argument("--only", nargs="*", default=[*NETWORKS], choices=NETWORKS, help="names (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures too")
    args = parser.parse_args()
    photographs = [Image.open(p).convert("RGB") for p in args.pictures]
    found = {}
    for name in args.only:
        found[name] = measure(NETWORKS[name], photographs)
        print(name, json.dumps(found[name]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")


def measure(make: Callable[[], keras.Model], photographs: list[Image.Image]) -> dict[str, Any]:
    """Share of crops on which int8 agrees with float, by what it was calibrated on and by how ranges are clipped."""
    keras.utils.set_random_seed(2020)
    labels = tuple(f"photograph {i}" for i in range(len(photographs)))
    base = make()
    model = keras.Model(base.input, layers.Dense(len(labels))(base.output))
    train(model, *crops(photographs, 3000, False, 1))
    pictures, targets = crops(photographs, JUDGED, True, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.keras"
        model.save(path)
        net = network.load(path, labels, (-1, 1), colour="rgb")
    manifest = Manifest("net", labels, net.spec, net.outputs)

    def answers(graph: bytes) -> npt.NDArray[np.int64]:
        return outputs(verify(seal(graph, manifest), Path("net")), pictures)["logits"].argmax(1)

    floats = answers(net.tflite)
    began = time.process_time()
    matched = synthetic.make(net.model, net.spec, MADE)
    spent = time.process_time() - began
    given = {
        "pictures": crops(photographs, CALIBRATION, False, 3)[0],
        "noise": synthetic.make(None, net.spec, MADE).images,
        "matching": matched.images,
    }
    told: dict[str, Any] = {"right": float((floats == targets).mean()), "seconds of matching": round(spent)}
    for what, images in given.items():
        known = by_tensor(record(net, images), net)
        shares = [
            float(
                (answers(quantise(net.tflite, "int8", {t: a.range(clip) for t, a in known.items()})) == floats).mean()
            )
            for clip in CLIPS
        ]
        told[what] = dict(zip(CLIPS, shares))
    return told


def train(model: keras.Model, pictures: Pictures, targets: npt.NDArray[np.int64]) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # the usual 0.99 needs more steps than there are here
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
    end = time.monotonic() + SECONDS
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", time.monotonic() > end)
    )
    model.fit(pictures / np.float32(127.5) - 1, targets, batch_size=32, epochs=6, verbose=0, callbacks=[stop])


if __name__ == "__main__":
    main()
