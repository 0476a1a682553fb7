"""int8 of 25 networks: ``python benchmarks/families.py --write docs/families.md``.

Networks as people have them, of Keras 3 and 2, each learn for a short time to tell made-up images apart, are
saved, and converted as ``python convert/quantize.py`` does, with 200 images. The same networks go through
TensorFlow's ``TFLiteConverter`` and through ``litert-quantizer`` with its own recipe. ``python benchmarks/families.py``
keeps what it measured of each network as JSON in ``--folder``, does not measure it again, and writes this page from it
(``--write FILE``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import shapes
from benchmarks.family_networks import NETWORKS, Member
from convert.quiet import quiet
from convert.source import frozen
from convert.source.scaling import PRESETS
from covidnet_lite import files

ROOT = Path(__file__).resolve().parent.parent

TRAINED, CALIBRATION, JUDGED, GRAY = 4000, 200, 1000, 60  # images
SECONDS = 60  # of training, of processor time
SEED = 2026  # of weights and images
SEEN = (  # while rules that are in use were settled
    "Teachable Machine",
    "MobileNet 0.5, Sequential",
    "MobileNet 0.25, SavedModel",
    "MobileNetV2 0.35, gray",
    "EfficientNetB0",
    "EfficientNetV2B0, logits",
    "NASNetMobile",
    "ResNet50V2",
    "EfficientNetB0, Keras 2",
    "MobileNet 0.5, Keras 2",
)
RULES = 2  # of the converter, counted up when they change: what older ones measured is named on the page
WITHIN = 1e-2  # of probability: what float may differ by from Keras and count as the same
Array = npt.NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="int8 of 25 networks.")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/families", help="networks and measurements")
    parser.add_argument("--only", nargs="*", default=[*NETWORKS], choices=NETWORKS, help="names (default: all)")
    parser.add_argument("--again", action="store_true", help="convert again what was measured, without training")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    args = parser.parse_args()
    for name in args.only:
        result = args.folder / f"{slug(name)}.json"
        if args.here:
            files.write(result, json.dumps(measure(name, NETWORKS[name], args.folder), indent=1) + "\n")
        elif args.again or not result.is_file():
            # By itself: Keras 2 and 3 keep much in memory, and one that is ended must not end the others.
            command = [sys.executable, __file__, "--here", "--folder", str(args.folder), "--only", name]
            code = subprocess.run(command, check=False).returncode
            print(f"{name}: {'measured' if not code else f'exited with {code}'}", flush=True)
        if args.write and not args.here:
            files.write(args.write, document(results(args.folder)))


def slug(name: str) -> str:
    """A name for files."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name)


def measure(name: str, member: Member, folder: Path) -> dict[str, Any]:
    """Trains a network and asks the other converters, unless that is done; then converts and compares."""
    answers, others = folder / f"{slug(name)}-keras.npz", folder / f"{slug(name)}-others.json"
    if not (answers.is_file() and others.is_file()):
        files.write(others, json.dumps(prepare(name, member, folder, answers), indent=1) + "\n")
    with np.load(answers) as archive:
        by_keras = {kind: archive[kind] for kind in ("judged", "gray")}
    measured: dict[str, Any] = json.loads(others.read_text())
    return measured | ours(folder / f"{slug(name)}{member.suffix}", member, by_keras, folder)


def prepare(name: str, member: Member, folder: Path, answers: Path) -> dict[str, Any]:
    """Trains, saves, stores Keras' answers, and measures what other converters make of the network."""
    model = trained(name, member, folder)
    calibration, judged, grays = images(member, folder)
    scaled = [scale([read(path, member) for path in paths], member) for paths in (calibration, judged, grays)]
    samples, seen, _ = scaled
    by_keras, by_keras_in_gray = (probabilities(run_keras(model, values)) for values in scaled[1:])
    np.savez(answers, judged=by_keras, gray=by_keras_in_gray)
    expected = by_keras.argmax(1)
    right = float(np.mean([member.labels[e] == path.parent.name for e, path in zip(expected, judged)]))
    result: dict[str, Any] = {"right": right, "classes": len(set(expected)), "near": near(by_keras)}
    for key, make in (("TFLiteConverter", of_tensorflow), ("litert-quantizer", of_litert)):
        with quiet():
            result[key] = agreement(partial(make, model, samples), seen, expected)
    return result


def images(member: Member, folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Image files to calibrate on, to judge on, and the first of the latter in gray."""
    judged = drawn("judged", JUDGED, SEED + 2, member, folder)
    grays = gray_copies(judged[:GRAY], folder / f"gray-{len(member.labels)}-{member.side}")
    return drawn("calibration", CALIBRATION, SEED + 1, member, folder), judged, grays


def drawn(use: str, count: int, seed: int, member: Member, folder: Path) -> list[Path]:
    """Image files of a network's classes, drawn where they do not lie there yet."""
    place = folder / f"{use}-{len(member.labels)}-{member.side}"
    there = sorted(place.glob("*/*.png"), key=lambda path: path.name)
    return there if len(there) == count else shapes.write(place, member.labels, count, member.side, seed)


def trained(name: str, member: Member, folder: Path) -> Any:
    """The model, which it also saves."""
    if member.keras == 2:
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(SEED)
    network = folder / f"{slug(name)}{member.suffix}"
    model = member.build(keras, member.shape, len(member.labels))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the usual 0.99 needs more steps than there are here
    pixels, targets = shapes.arrays(member.labels, TRAINED, member.side, SEED)
    inputs = scale([pixel if member.shape[2] == 3 else gray(pixel) for pixel in pixels], member)
    last = model.layers[-1]
    logits = getattr(getattr(last, "activation", None), "__name__", "softmax") == "linear"
    one = model.output_shape[-1] == 1 if not isinstance(model.output_shape, list) else model.output_shape[0][-1] == 1
    losses = keras.losses
    loss = losses.BinaryCrossentropy(logits) if one else losses.SparseCategoricalCrossentropy(logits)
    model.compile(keras.optimizers.Adam(member.rate), loss, metrics=["accuracy"], jit_compile=False)
    started: list[float] = []  # when the graph was traced and the first step done

    def stop_in_time(batch: int, logs: Any = None) -> None:
        started.append(time.process_time())
        model.stop_training = started[-1] - started[0] > SECONDS

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=stop_in_time)
    model.fit(inputs, targets, batch_size=32, epochs=12, verbose=0, callbacks=[watch])
    network.parent.mkdir(parents=True, exist_ok=True)
    if not member.suffix:
        model.save(network, save_format="tf")
    elif "HDF5" in name:
        model.save(network.with_suffix(".h5"))
        network.with_suffix(".h5").replace(network)
    else:
        model.save(network)
    return model


def read(path: Path, member: Member) -> Array:
    """Levels ``(height, width, channels)`` as Pillow reads them."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels if member.shape[2] == 3 else gray(pixels)


def gray(pixels: Array) -> Array:
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def scale(levels: list[Array], member: Member) -> Array:
    """The input that the network was trained on: as ``keras.applications`` scale it."""
    scaled = PRESETS[member.preset]
    stacked = np.stack(levels).astype(np.float32)
    stacked = stacked[..., ::-1] if scaled.colour == "bgr" else stacked
    return np.asarray((stacked - np.array(scaled.mean, np.float32)) / np.array(scaled.std, np.float32), np.float32)


def run_keras(model: Any, seen: Array) -> Array:
    rows = [np.asarray(model(seen[at : at + 32], training=False)) for at in range(0, len(seen), 32)]
    return np.concatenate([row.reshape(-1, row.shape[-1]) for row in rows])


def probabilities(answers: Array) -> Array:
    """Of every class, from logits or probabilities, also of one output for two classes."""
    inside = (answers >= 0).all() and (answers <= 1).all()
    if answers.shape[1] == 1:
        one = answers if inside else 1 / (1 + np.exp(-answers))
        return np.hstack([1 - one, one])
    if inside and np.allclose(answers.sum(1), 1, atol=1e-2):
        return answers
    powers = np.exp(answers - answers.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def near(answers: Array) -> float:
    """Share of pictures whose two best classes are within 10 points of probability."""
    best = np.sort(answers, axis=1)[:, -2:]
    return float((best[:, 1] - best[:, 0] < 0.1).mean())


def ours(network: Path, member: Member, by_keras: dict[str, Array], folder: Path) -> dict[str, Any]:
    """int8 and float of our converter, run by the runtime on the files themselves."""
    from convert import quantize
    from convert.conversion import convert
    from covidnet_lite import Classifier

    _, judged, grays = images(member, folder)
    out = folder / f"{network.stem}-out.tflite"
    size = f"{len(member.labels)}-{member.side}"
    command = [str(network), "--labels", ",".join(member.labels), "--calibration", str(folder / f"calibration-{size}")]
    command += ["--data", str(folder / f"judged-{size}"), "--schemes", "int8,float32", "--force"]
    command += ["--min-agreement", "1", "--write-best"]  # all fallbacks, and the one that calibration finds best
    command += ["--preset", member.preset] if member.said else []
    began = time.process_time()
    try:
        report = convert(quantize.options(quantize.build_parser().parse_args([*command, "-o", str(out)])), print)
    except Exception as error:  # whatever it is, the table states it
        return {"loads": False, "why": f"{type(error).__name__}: {error}"}
    result: dict[str, Any] = {"loads": True, "rules": RULES, "seconds": round(time.process_time() - began, 1)}
    result["rung"] = report.attempts[-1].fallback.name
    int8, plain = (Classifier(out.with_name(f"{out.stem}_{scheme}.tflite")) for scheme in ("int8", "float32"))
    result["int8"] = float(np.mean(answers(int8, judged, member).argmax(1) == by_keras["judged"].argmax(1)))
    for kind, paths, expected in (("colour", judged, by_keras["judged"]), ("gray", grays, by_keras["gray"])):
        result[f"float differs in {kind}"] = float(np.abs(answers(plain, paths, member) - expected).max())
    return result


def gray_copies(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    copies = [folder / path.name for path in paths]
    for path, copy in zip(paths, copies):
        if not copy.is_file():
            Image.open(path).convert("L").save(copy)
    return copies


def answers(classifier: Any, paths: list[Path], member: Member) -> Array:
    rows = [classifier.classify(path).probabilities for path in paths]
    return np.array([[row[label] for label in member.labels] for row in rows])


def of_tensorflow(model: Any, samples: Array) -> bytes:
    """Full int8 by TFLiteConverter."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen_of(model, samples).function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def of_litert(model: Any, samples: Array) -> bytes:
    """int8 by litert-quantizer's own recipe and calibration."""
    from litert_quantizer import quantizer, recipe

    tflite = frozen.to_tflite(frozen_of(model, samples), Path("the network"))
    worker = quantizer.Quantizer(tflite, recipe.static_wi8_ai8())
    known = worker.calibrate({"serving_default": [{"radiograph": sample[None]} for sample in samples]})
    return bytes(worker.quantize(known).quantized_model)


def frozen_of(model: Any, samples: Array) -> frozen.Frozen:
    """Its function with the weights in it."""
    return frozen.freeze(lambda image: model(image, training=False), samples.shape[1:], Path("the network"))


def agreement(make: Callable[[], bytes], seen: Array, expected: Array) -> float | None:
    """Share of pictures with Keras' class; ``None`` where it cannot be made or run."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=make())
        interpreter.allocate_tensors()
        (taken,), (end, *_) = interpreter.get_input_details(), interpreter.get_output_details()
        rows = []
        for picture in seen:
            interpreter.set_tensor(taken["index"], _stored(picture[None], taken))
            interpreter.invoke()
            rows.append(_real(interpreter.get_tensor(end["index"]), end))
        return float((probabilities(np.concatenate(rows)).argmax(1) == expected).mean())
    except Exception as error:  # whatever it is, it cannot be had that way
        print(f"  {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None


def _stored(values: Array, details: Any) -> Array:
    if details["dtype"] == np.float32:
        return values
    scale, zero = details["quantization"]
    return np.asarray(np.clip(np.rint(values / scale) + zero, -128, 127), np.int8)


def _real(values: Array, details: Any) -> Array:
    if details["dtype"] == np.float32:
        return np.array(values)
    scale, zero = details["quantization"]
    return np.asarray((values.astype(np.float64) - zero) * scale)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What has been measured, in the order of the networks."""
    paths = {name: folder / f"{slug(name)}.json" for name in NETWORKS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| network | Keras | side | float is right | near ties | int8 agrees | `TFLiteConverter` | `litert-quantizer` "
        "| fallback | float off, colour | gray | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        head = f"| {name} | {NETWORKS[name].keras} | {NETWORKS[name].side} | {row['right']:.0%} | {row['near']:.0%} "
        others = " | ".join(percent(row[key]) for key in ("TFLiteConverter", "litert-quantizer"))
        if not row["loads"]:
            lines.append(f"{head}| does not load | {others} | {row['why'][:80]} | | | |")
            continue
        off = " | ".join(f"{row[f'float differs in {kind}']:.4f}" for kind in ("colour", "gray"))
        lines.append(f"{head}| {row['int8']:.1%} | {others} | {row['rung']} | {off} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def percent(share: float | None) -> str:
    return "not made" if share is None else f"{share:.1%}"


def document(rows: dict[str, dict[str, Any]]) -> str:
    """The page in docs/."""
    loaded = {name: row for name, row in rows.items() if row["loads"]}
    wrong = [n for n, r in loaded.items() if max(r["float differs in colour"], r["float differs in gray"]) > WITHIN]
    others = {name: row for name, row in loaded.items() if name not in SEEN}
    return (
        f"""# int8 of {len(NETWORKS)} networks

{(__doc__ or "").split(chr(10), 2)[2].strip()}

They learn for {SECONDS} s of processor time at most (a few for 35 s), from random weights, on {TRAINED} images of
32 x 32 to 80 x 80 pixels: enough for weights that mean something, not for a good classifier. *Float is right* says how
much was learned; *near ties* are images whose two best classes float holds to be within 10 points of probability,
which any rounding may turn. *Agrees* is the share of {JUDGED} images of which int8 names the class that Keras names;
the converter tries every fallback (`--min-agreement 1 --write-best`) and chooses among them on copies of the
{CALIBRATION} calibration images alone. *Float off* is the largest difference of a probability between Keras and
`covidnet_lite.classify` on the same files, of {JUDGED} images in colour and of {GRAY} in gray: what a wrong order of
channels or a wrong scaling would show. *Seconds* are the processor time of `convert/quantize.py`, all fallbacks and
the judging included. The rows were measured on several days and machines: a slower one teaches a network less.

{markdown(rows)}

Measured: {len(rows)} of {len(NETWORKS)}. {len(loaded)} load. {_comparison(loaded)}
Float differs from Keras by more than {WITHIN:g} on {len(wrong)}{_names(wrong)}.

The first rules of the converter were settled by hand on networks of these families with other weights and other
images, and so was the last change, that of the fallbacks and of the choice among them: on EfficientNetB0 of Keras 2,
MobileNet 0.25 and MobileNetV2 0.35 in gray. But networks of this very table were seen too, while these or earlier
rules were settled: {"; ".join(SEEN)}.
On the others, which say more of yours, {_comparison(others)}

{_older(rows)}{_missing(rows)}""".rstrip()
        + "\n"
    )


def _comparison(rows: dict[str, dict[str, Any]]) -> str:
    """On how many, and on which, int8 agrees less than the better of the others; by how much it agrees more."""
    pairs = {name: [row["TFLiteConverter"] or 0, row["litert-quantizer"] or 0] for name, row in rows.items()}
    behind = [name for name, row in rows.items() if row["int8"] < max(pairs[name])]
    gains = [row["int8"] - statistics.median(pairs[name]) for name, row in rows.items()]
    middle = 100 * statistics.median(gains or [0])
    return (
        "int8 agrees less than the better of the other two on\n"
        f"{len(behind)} of {len(rows)}{_names(behind)};\n"
        f"on the median network it is {middle:+.1f} points from the mean of the other two."
    )


def _older(rows: dict[str, dict[str, Any]]) -> str:
    older = [name for name, row in rows.items() if row["loads"] and row.get("rules", 1) < RULES]
    if not older:
        return ""
    return (
        "Measured with earlier rules of the converter, without the fallbacks `mean ends` and `halfway`, and with\n"
        f"another choice among the fallbacks, on {len(older)} of {len(rows)} networks: {'; '.join(older)}.\n"
        "With the rules of today, " + _comparison({name: row for name, row in rows.items() if name not in older}) + "\n"
    )


def _missing(rows: dict[str, dict[str, Any]]) -> str:
    left = [name for name in NETWORKS if name not in rows]
    return f"Not measured yet, and added by the same command: {'; '.join(left)}.\n" if left else ""


def _names(names: list[str]) -> str:
    return f" ({'; '.join(names)})" if names else ""


if __name__ == "__main__":
    main()
