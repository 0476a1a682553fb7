"""Trains the small network that finds the lungs: ``python training/locate_lungs.py --data MANIFEST [MANIFEST ...]``.

It learns the box around both lungs of the radiographs in the split ``train``: the drawn one where the manifest has
``lung_boxes`` (``x0 y0 x1 y1`` for each lung, in fractions of the image, joined by semicolons), and elsewhere the
one that an earlier finder, the teacher, finds on average over several windows of the radiograph (distillation: Hinton
et al., 2015). Behind its first convolution it halves the side by averaging (a low-pass, as in Zhang, ICML 2019), and it
computes in floating point, as the rounding of int8 alone moves a box by a third of a percent.

Writes ``lungs.tflite``, whose four outputs are the box; ``training/finetune.py`` puts it into the networks of recipes
with ``lungs = true``. The teacher that ships, ``lungs_teacher.tflite``, is an int8 network that learnt from drawn boxes
alone: right, but slower, and its box trembles.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from PIL import Image

from convert.conversion import convert
from convert.float_input import normalise
from convert.options import Options
from covidnet_lite import files
from covidnet_lite.box import WHOLE, Box
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.fit import fit
from covidnet_lite.network import lungs
from covidnet_lite.network import model as models
from covidnet_lite.network.input_spec import InputSpec
from training import dataset
from training.data.augmentation import Matrix, Pixels, Strength, variant
from training.data.lung_boxes import lung_boxes
from training.fit import checkpoint

ROOT = Path(__file__).resolve().parent.parent

TEACHER = ROOT / "training/checkpoints/lungs_teacher.tflite"
WINDOWS = 5  # of a radiograph, over which the teacher's box is averaged
SPEC = InputSpec(48, 48, equalise=True)
DECODE_SIDE = 256
SIDE = 192  # pixels a side of a radiograph of which views are made, square as the network sees it
VIEW = 128  # pixels a side of a view, before it is fitted to the network
VIEWS = 20_000  # of all radiographs together, made once; each is learnt either way round
STRENGTH = Strength(flip=0.0, whole=0.0)
# How far a view is from its radiograph: from as radiographs of one hospital differ to farther than any should.
SCALE = (0.2, 1.4)
ANYWHERE = 0.4  # the share of views that hold the lungs at any place and size
BATCH = 64
LEARNING_RATE = 3e-3

Boxes = npt.NDArray[np.float32]  # (..., 4): left, top, right, bottom, in fractions


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train the network that finds the lungs.")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="manifest.csv files, at least one with a column lung_boxes"
    )
    parser.add_argument("--teacher", type=Path, default=TEACHER, help="an earlier finder (default: as shipped)")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the views (default: 8)")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "training/checkpoints/lungs.tflite",
        help="the file to write (default: training/checkpoints/lungs.tflite)",
    )
    args = parser.parse_args(argv)
    try:
        run(args.data, args.teacher, args.out, args.epochs)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(data: Sequence[Path], teacher: Path, out: Path, epochs: int) -> None:
    """Trains, converts, and prints how near its boxes are to the drawn ones of radiographs that it did not see.

    Raises:
        DatasetError: there is no radiograph in the training split, or none with a drawn box in another, or a box is
            none.
        ModelError, BackendError: the teacher cannot be used.
    """
    cases = [case for manifest in data for case in read_dataset(manifest)]
    train_cases = [c for c in cases if c.split == "train"]
    test_cases = [c for c in cases if c.split != "train" and lung_boxes(c)]
    if not train_cases or not test_cases:
        raise DatasetError(
            f"{', '.join(map(str, data))}: {len(train_cases)} films of the train split and {len(test_cases)} others "
            "with lung_boxes; some of both are needed, to learn from and to judge on: fill in the columns split and "
            "lung_boxes"
        )
    # TensorFlow's own order of addition is left free, for speed: a second run differs in the last digits.
    keras.utils.set_random_seed(2020)
    images, held_out = dataset.decode(train_cases, DECODE_SIDE), dataset.decode(test_cases, DECODE_SIDE)
    boxes = target_boxes(train_cases, images, models.load(teacher).data)
    square = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    network = build()
    train(network, *random_views(square, boxes, VIEWS, np.random.default_rng(2020)), epochs)
    finder = to_tflite(network)
    files.write(out, finder)
    predicted_boxes = np.array([lungs.find(image, finder, margin=0.0) for image in held_out], np.float32)
    overlap = intersection_over_union(predicted_boxes, np.stack([box_around_lungs(c) for c in test_cases]))
    print(f"wrote {out}: {len(finder) / 1e6:.2f} MB")
    print(summary(train_cases, test_cases, overlap))


def summary(
    train_cases: Sequence[LabelledImage], test_cases: Sequence[LabelledImage], overlap: npt.NDArray[np.float64]
) -> str:
    """How well boxes were found, and where the radiographs are from: of other hospitals it says nothing."""
    return (
        f"trained on {len(train_cases)} films of {_sources(train_cases)}; intersection over union on "
        f"{len(test_cases)} others of {_sources(test_cases)}: mean {overlap.mean():.3f}, least {overlap.min():.3f}, "
        f"{(overlap > 0.7).mean():.0%} above 0.7"
    )


def _sources(cases: Sequence[LabelledImage]) -> str:
    return ", ".join(sorted({c.source or "an unnamed source" for c in cases}))


def box_around_lungs(case: LabelledImage) -> Boxes:
    """The box around all lungs of a radiograph that has some, ``(4,)``.

    Raises:
        DatasetError: its ``lung_boxes`` are no boxes.
    """
    boxes = np.array(lung_boxes(case), np.float32)
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def target_boxes(cases: Sequence[LabelledImage], images: Sequence[Image.Image], teacher: bytes) -> Boxes:
    """The box to learn of each radiograph, ``(n, 4)``: the drawn one, or else the teacher's."""
    return np.stack(
        [box_around_lungs(c) if lung_boxes(c) else teacher_box(image, teacher) for c, image in zip(cases, images)]
    )


def teacher_box(image: Image.Image, teacher: bytes) -> Boxes:
    """The box around both lungs of an 8-bit gray radiograph, ``(4,)``, on average over several windows of it.

    The first window is the whole radiograph, the others differ from it by some percent.
    """
    rng, boxes = np.random.default_rng(0), []
    for i in range(WINDOWS):
        sides = np.exp(rng.uniform(-0.03, 0.06, 2)) if i else np.ones(2)
        centre = 0.5 + (rng.uniform(-0.02, 0.02, 2) if i else np.zeros(2))
        (left, top), (right, bottom) = centre - sides / 2, centre + sides / 2
        corners = tuple(share * side for share, side in zip((left, top, right, bottom), image.size * 2))
        window = image.transform(image.size, Image.Transform.EXTENT, corners, Image.Resampling.BILINEAR)
        box = np.array(lungs.find(window, teacher, margin=0.0))
        boxes.append(box * np.tile((right - left, bottom - top), 2) + np.tile((left, top), 2))
    return np.asarray(np.mean(boxes, axis=0), np.float32)


def random_views(images: Sequence[Pixels], boxes: Boxes, count: int, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
    """Random views of the radiographs, each radiograph as often as any other, and the box in each.

    Returns:
        ``(count, height, width)`` uint8 as the network sees them, and ``(count, 4)``.
    """
    pixels, boxes_in_views = [], []
    for i in np.resize(rng.permutation(len(images)), count).tolist():
        strength = replace(STRENGTH, scale=rng.uniform(*SCALE))
        window = anywhere(boxes[i], rng) if rng.random() < ANYWHERE else WHOLE
        view, matrix = variant(images[i], window, VIEW, rng, strength, equalised=False)
        pixels.append(fit(Image.fromarray(view), SPEC))
        boxes_in_views.append(box_in_view(boxes[i], images[i].shape, matrix))
    return np.array(pixels), np.array(boxes_in_views)


def anywhere(box: Boxes, rng: np.random.Generator) -> Box:
    """A window, smaller or larger than the radiograph, that holds the box somewhere."""
    size = box[2:] - box[:2]
    sides = np.maximum(np.exp(rng.uniform(-0.2, 0.4) + rng.uniform(-0.1, 0.1, 2)), size)
    left, top = box[:2] - rng.uniform(0, 1, 2) * (sides - size)
    return left, top, left + sides[0], top + sides[1]


def box_in_view(box: Boxes, shape: tuple[int, ...], matrix: Matrix) -> Boxes:
    """The part of a radiograph's box that lies in a view.

    A view may be turned by some degrees; the box is not, and keeps its sides.

    Args:
        box: in fractions of the radiograph.
        shape: ``(height, width)`` of the radiograph.
        matrix: from places in the view to those in the radiograph, as :func:`training.data.augmentation.variant`
            returns it.
    """
    size = np.array(shape[::-1])
    turn, start = matrix[:, :2], matrix[:, 2]
    middle = np.linalg.solve(turn, (box[:2] + box[2:]) / 2 * size - 0.5 - start) + 0.5
    half = (box[2:] - box[:2]) / 2 * size / np.linalg.norm(turn, axis=0)
    return np.clip(np.concatenate([middle - half, middle + half]) / VIEW, 0, 1).astype(np.float32)


def intersection_over_union(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """Of each pair of boxes, ``(n,)``."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    both = np.prod(np.maximum(sides, 0), axis=1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return np.asarray(both / (areas[0] + areas[1] - both), np.float64)


def build() -> keras.Model:
    """``(batch, 48, 48, 1)`` -> ``(batch, 4)``, not yet trained: 3.4 million multiplications."""
    image = layers.Input((SPEC.height, SPEC.width, 1), name="radiograph")
    x = _halved(_convolved(image, 16, 5, 2))
    x = _halved(_residual(_convolved(x, 24)))
    x = _residual(_residual(_convolved(x, 48)))
    x = layers.Flatten()(_convolved(x, 16, 1))
    x = layers.Dense(64, activation="relu")(x)
    return keras.Model(image, layers.Dense(4, name="box")(x), name="lungs")


def _convolved(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x)
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.97)(x))


def _residual(x: Any) -> Any:
    return layers.Add()([x, _convolved(x, x.shape[-1])])


def _halved(x: Any) -> Any:
    """Half the side, behind a low-pass."""
    return layers.AveragePooling2D(3, 2, "same")(x)


def train(network: keras.Model, pixels: Pixels, boxes: Boxes, epochs: int) -> None:
    """Teaches a network the boxes of the views and of their mirror images."""
    left, top, right, bottom = boxes.T
    inputs = normalise(np.concatenate([pixels, pixels[:, :, ::-1]]), SPEC)
    targets = np.concatenate([boxes, np.stack([1 - right, top, 1 - left, bottom], axis=-1)])
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * -(-len(inputs) // BATCH))
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=5.0)
    network.compile(optimizer, keras.losses.Huber(delta=0.03), jit_compile=False)
    network.fit(inputs, targets, batch_size=BATCH, epochs=epochs, verbose=2)


def to_tflite(network: keras.Model) -> bytes:
    """The finder as it ships: weights in half precision, arithmetic in single."""
    with tempfile.TemporaryDirectory() as folder:
        keras_file, tflite_file = Path(folder) / "lungs.keras", Path(folder) / "lungs.tflite"
        checkpoint.save(network, keras_file, lungs.SIDES, SPEC, {"name": "lungs", "version": "2"})
        convert(Options(keras_file, tflite_file, schemes=("float16",)), log=lambda text: None)
        return tflite_file.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
