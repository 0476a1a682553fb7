"""Trains the small network that finds the lungs: ``python training/locate_lungs.py --data MANIFEST``.

It learns the box around both lungs from the column ``lung_boxes`` of the manifest (``x0 y0 x1 y1`` for each lung, in
fractions of the picture, joined by semicolons), on the split ``train``, and writes ``lungs.tflite``: an int8 network
whose four outputs are that box. ``training/finetune.py`` puts it into the networks of recipes with ``lungs = true``.

The file that ships was trained on variants made with Pillow; it has not been trained again on those of
``training/variant.py``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from PIL import Image, ImageOps

from convert.conversion import convert
from convert.options import Options
from covidnet_lite import files, lungs
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.fit import InputSpec, fit, normalise
from training import backbones, checkpoint, dataset
from training.lung_boxes import lung_boxes
from training.variant import CHANGES, Strength

SPEC = InputSpec(96, 96, equalise=True)
BLOCKS = 5  # of EfficientNet-Lite0: down to an eighth of the side
DECODE_SIDE = 256
WINDOW = 160  # pixels of a variant
BATCH = 32
LEARNING_RATE = 2e-3
# A detector's gray scale, noise and letters; the geometry is changed here, with the box.
DETECTOR = ("corners", "sharpness", "contrast", "gamma", "illumination", "noise", "border")

Boxes = npt.NDArray[np.float32]  # (n, 4): left, top, right, bottom, in fractions


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train the network that finds the lungs.")
    parser.add_argument("--data", type=Path, required=True, help="a manifest.csv with a column lung_boxes")
    parser.add_argument("--epochs", type=int, default=120, help="passes over the training films (default: 120)")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "training/checkpoints/lungs.tflite",
        help="the file to write (default: training/checkpoints/lungs.tflite)",
    )
    args = parser.parse_args(argv)
    try:
        run(args.data, args.out, args.epochs)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(data: Path, out: Path, epochs: int) -> None:
    """Trains, quantises, and prints how well the int8 network finds the boxes of the films that it did not see.

    Raises:
        DatasetError: no film of the training split, or of the others, has a box, or a box is none.
    """
    cases = [c for c in read_cases(data) if lung_boxes(c)]
    seen, unseen = ([c for c in cases if (c.split == "train") == train] for train in (True, False))
    if not seen or not unseen:
        raise DatasetError(
            f"{data}: {len(seen)} films of the train split and {len(unseen)} others have lung_boxes; some of both are "
            "needed, to learn from and to judge on: fill in the column, or the column split"
        )
    keras.utils.set_random_seed(2020)
    films, held_out = (dataset.decode(chosen, DECODE_SIDE) for chosen in (seen, unseen))
    targets, wanted = (np.stack([around(c) for c in chosen]) for chosen in (seen, unseen))
    network = _network()
    _train(network, films, targets, epochs)
    with tempfile.TemporaryDirectory() as folder:
        kept, pictures = Path(folder) / "lungs.keras", Path(folder) / "pictures.npz"
        checkpoint.save(network, kept, lungs.SIDES, SPEC, {"name": "lungs", "version": "1"})
        np.savez(pictures, np.stack([fit(film, InputSpec(256, 256)) for film in films]))
        made = Path(folder) / "lungs.tflite"
        convert(Options(kept, made, calibration=pictures), say=lambda text: None)
        found = np.array([lungs.find(film, made.read_bytes(), margin=0.0) for film in held_out])
        files.write(out, made.read_bytes())
    print(f"wrote {out}: {out.stat().st_size / 1e6:.2f} MB")
    print(words(seen, unseen, intersection_over_union(found, wanted)))


def words(seen: Sequence[Case], unseen: Sequence[Case], overlap: npt.NDArray[np.float64]) -> str:
    """How well boxes were found, and where the films are from: of other hospitals it says nothing."""
    return (
        f"trained on {len(seen)} films of {_sources(seen)}; intersection over union on {len(unseen)} others of "
        f"{_sources(unseen)}: mean {overlap.mean():.3f}, least {overlap.min():.3f}, "
        f"{(overlap > 0.7).mean():.0%} above 0.7"
    )


def _sources(cases: Sequence[Case]) -> str:
    return ", ".join(sorted({c.source or "an unnamed source" for c in cases}))


def around(case: Case) -> Boxes:
    """The box around all lungs of a film that has some, ``(4,)``.

    Raises:
        DatasetError: its ``lung_boxes`` are no boxes.
    """
    boxes = np.array(lung_boxes(case), np.float32)
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def variant(image: Image.Image, box: Boxes, rng: np.random.Generator) -> tuple[Image.Image, Boxes]:
    """Another view of the same chest, and where its lungs are there."""
    size = np.array(image.size, float)
    low, high = box[:2] * size, box[2:] * size
    view = np.maximum(size * np.exp(rng.uniform(-0.35, 0.35) + rng.uniform(-0.2, 0.2, 2)), (high - low) * 0.98)
    ends = low - 0.02 * (high - low), high + 0.02 * (high - low) - view  # of views that hold the lungs
    within = np.minimum(*ends), np.maximum(*ends)
    start = np.clip(rng.uniform(*within), np.minimum(0, size - view), np.maximum(0, size - view))
    start = np.clip(start, *within)
    angle = np.deg2rad(rng.normal(0, 4))
    cos, sin = np.cos(angle), np.sin(angle)
    (sx, sy), centre = view / WINDOW, start + view / 2
    turn = np.array([[cos * sx, -sin * sy], [sin * sx, cos * sy]])
    c, f = centre - turn @ np.full(2, WINDOW / 2)
    fill = int(rng.choice([0, 0, rng.integers(256)]))
    image = image.transform(
        (WINDOW, WINDOW),
        Image.Transform.AFFINE,
        (turn[0, 0], turn[0, 1], c, turn[1, 0], turn[1, 1], f),
        Image.Resampling.BILINEAR,
        fillcolor=fill,
    )
    middle = np.array([[cos, sin], [-sin, cos]]) @ ((low + high) / 2 - centre)
    moved = np.concatenate([middle - (high - low) / 2, middle + (high - low) / 2]) / np.tile(view, 2) + 0.5
    if rng.random() < 0.5:
        image, moved = ImageOps.mirror(image), np.array([1 - moved[2], moved[1], 1 - moved[0], moved[3]])
    pixels, strength = np.array(image), Strength()
    for name in DETECTOR:
        if rng.random() < getattr(strength, name):
            pixels = CHANGES[name](pixels, rng, strength.scale)
    return Image.fromarray(pixels), moved.astype(np.float32)


def intersection_over_union(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """Of each pair of boxes, ``(n,)``."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    both = np.prod(np.maximum(sides, 0), axis=1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return np.asarray(both / (areas[0] + areas[1] - both), np.float64)


def _network() -> keras.Model:
    """``(batch, 96, 96, 1)`` -> ``(batch, 4)``; begins as EfficientNet-Lite0 does."""
    whole = backbones.build("EfficientNetLite0", side=SPEC.height).network
    x = whole.get_layer(f"block{BLOCKS - 1}_add").output
    for filters, kernel, stride in ((64, 3, 2), (32, 1, 1)):
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.97)(x))
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    return keras.Model(whole.inputs[0], layers.Dense(4, name="box")(x), name="lungs")


def _train(network: keras.Model, films: Sequence[Image.Image], targets: Boxes, epochs: int) -> None:
    rng = np.random.default_rng(2020)
    steps = -(-len(films) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=5.0)
    network.compile(optimizer, keras.losses.Huber(delta=0.03), jit_compile=False)
    for epoch in range(epochs):
        order = np.resize(rng.permutation(len(films)), steps * BATCH)
        losses = []
        for chosen in np.split(order, steps):
            made = [variant(films[i], targets[i], rng) for i in chosen]
            pixels = np.stack([fit(image, SPEC) for image, _ in made])
            losses.append(network.train_on_batch(normalise(pixels, SPEC), np.stack([box for _, box in made])))
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {float(np.mean(losses)):.5f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
