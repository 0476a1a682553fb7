"""int8 of every family of networks: ``python benchmarks/families.py --data DIR [--write docs/families.md]``.

Each network is trained on the radiographs for a minute at 96 x 96 and converted by the same code as
``convert/quantize.py``. EfficientNet-Lite starts from its ImageNet weights; those of ``keras.applications`` need a
download (``--weights imagenet``), without it they start from random ones. That is enough for weights that mean
something, not for a good classifier: the table is about int8, not about accuracy.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from convert.float_input import normalise
from convert.judge.agreement import latencies
from convert.judge.network_outputs import outputs
from convert.quantisation import ladder, material
from convert.quantisation.calibration import choose, pixels
from convert.quantisation.scope import Scope
from convert.source.network import FloatNetwork, load
from covidnet_lite import files
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify
from training.fit import backbones, checkpoint

FAMILIES = (
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "VGG16", "ResNet50", "ResNet50V2",
    "DenseNet121", "InceptionV3", "Xception", "NASNetMobile", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny",
    "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2",
)  # fmt: skip
SIDE, EPOCHS, SECONDS = 96, 4, 60  # of training, whichever comes first
CALIBRATION, JUDGED = 100, 346  # radiographs
ENOUGH = 0.99  # agreement


@dataclass(frozen=True)
class Row:
    """One family.

    Attributes:
        accuracy: of the float network on the images judged on.
        plain: agreement of the first rung; ``best`` of the rung that was kept, or the best one where none was enough.
    """

    name: str
    weights: str
    megabytes: tuple[float, float]
    speed: float
    images: int
    accuracy: float
    plain: float
    best: float
    rung: str
    enough: bool


def main() -> None:
    parser = argparse.ArgumentParser(description="int8 of every family of networks.")
    parser.add_argument("--data", type=Path, required=True, help="a folder or manifest with train and test splits")
    parser.add_argument("--weights", choices=("none", "imagenet"), default="none", help="of keras.applications")
    parser.add_argument("--only", nargs="*", default=FAMILIES, help="names of families (default: all)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown")
    args = parser.parse_args()
    cases = read_cases(args.data)
    rows = []
    for name in args.only:
        rows.append(measure(name, args.weights, cases))
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
        if args.write:
            files.write(args.write, document(rows))
        keras.utils.clear_session()
        gc.collect()
    print(f"median agreement {statistics.median(r.best for r in rows):.2%}, least {min(r.best for r in rows):.2%}")


def measure(name: str, weights: str, cases: list[Case]) -> Row:
    """Builds, fits, converts and judges one family."""
    keras.utils.set_random_seed(2020)
    lite = name.startswith("EfficientNetLite")
    weights = "imagenet" if lite else weights
    backbone = backbones.build(name, side=SIDE, weights=weights, equalise=False)
    labels = tuple(sorted({c.label for c in cases if c.split == "test"}))
    network = backbones.with_head(backbone, labels)
    train([c for c in cases if c.split == "train" and c.label in labels], network, backbone.spec, labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.keras"
        checkpoint.save(network, path, labels, backbone.spec, {"name": name})
        net = load(path)
    attempts, images, accuracy = climb(net, cases)
    best = max(attempts, key=lambda a: a.agreement or 0)
    enough = (attempts[-1].agreement or 0) >= ENOUGH
    kept = attempts[-1] if enough else best
    manifest = Manifest(name, net.labels, net.spec, net.outputs)
    sizes = len(net.tflite), len(kept.quantised)
    both = (verify(seal(graph, manifest), path) for graph in (net.tflite, kept.quantised))
    float_ms, int8_ms = latencies([Interpreter(model, threads=1) for model in both])
    return Row(
        name, weights, (sizes[0] / 1e6, sizes[1] / 1e6), float_ms / int8_ms, images, accuracy,
        attempts[0].agreement or 0,
        kept.agreement or 0, kept.rung.name, enough,
    )  # fmt: skip


def climb(net: FloatNetwork, cases: list[Case]) -> tuple[list[ladder.Attempt], int, float]:
    """The rungs that the network took, on how many images they were judged, and float's accuracy on them."""
    known = [c for c in cases if c.label in net.labels]
    test = choose([replace(c, split="") for c in known if c.split == "test"], JUDGED)
    pictures = pixels(test, net.spec)
    manifest = Manifest(net.facts["name"], net.labels, net.spec, net.outputs)

    def answers(graph: bytes) -> npt.NDArray[np.int64]:
        return outputs(verify(seal(graph, manifest), Path(manifest.name)), pictures)["logits"].argmax(1)

    def judge(graph: bytes) -> float:
        return float((answers(graph) == expected).mean())

    expected = answers(net.tflite)
    accuracy = float((expected == [net.labels.index(c.label) for c in test]).mean())
    given = material.from_cases(net, choose(known, CALIBRATION))
    try:
        attempts = ladder.climb(net, given, judge, ENOUGH, scope=Scope(allow_int16=True))
    except ladder.TooLittleAgreement as error:
        attempts = error.attempts
    return attempts, len(test), accuracy


def train(cases: list[Case], network: keras.Model, spec: InputSpec, labels: tuple[str, ...]) -> None:
    """A few epochs, plainly, as long as the time allows."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the usual 0.99 needs more steps than there are here
    images = normalise(pixels(cases, spec), spec)
    targets = np.array([labels.index(c.label) for c in cases])
    classifier = keras.Model(network.inputs[0], network.output["logits"])
    bounded = any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(1e-3 if bounded else 1e-4, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    end = time.monotonic() + SECONDS

    def stop_in_time(batch: int, logs: object = None) -> None:
        classifier.stop_training = time.monotonic() > end

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=stop_in_time)
    classifier.fit(images, targets, batch_size=32, epochs=EPOCHS, verbose=2, callbacks=[watch])


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| network | weights | float | int8 | times as fast | float is right | plain agrees | kept rung | agrees |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        kept = r.rung if r.enough else f"none is enough; best: {r.rung}"
        sizes = " | ".join(f"{m:.1f} MB" for m in r.megabytes)
        lines.append(
            f"| {r.name} | {r.weights} | {sizes} | {r.speed:.1f} | {r.accuracy:.0%} | {r.plain:.1%} | {kept} "
            f"| {r.best:.1%} |"
        )
    return "\n".join(lines)


def document(rows: list[Row]) -> str:
    """The page in docs/."""
    agreements, enough = [r.best for r in rows], sum(r.enough for r in rows)
    return f"""# int8 of every family

{(__doc__ or "").split(chr(10), 2)[2].strip()}

`python benchmarks/families.py --data DIR --write docs/families.md` on {rows[0].images} test radiographs
({CALIBRATION} others for calibration). *Agrees* is the share of them on which int8 names the
class that float names: *plain* on the first rung, min-max, and on the rung that was kept, the first to reach 99 %.

{markdown(rows)}

Median agreement {statistics.median(agreements):.1%}, least {min(agreements):.1%}; {enough} of {len(rows)} reach 99 %.
Every network is full-integer and ran in LiteRT through this package's own runtime. Read it with the sixth column: a
network that has hardly learned answers in near ties, which any rounding turns, or always the same, which none does.
Where no rung is enough `convert/quantize.py` says so and writes nothing. On trained networks see the shipped one and
the ladder in [converting.md](converting.md). Kept 16-bit layers are slow: TFLite has plain kernels for them.
"""


if __name__ == "__main__":
    main()
