"""int8 of 25 networks: ``python benchmarks/families.py --write docs/families.md``.

Networks as people have them, of Keras 3 and 2, each learn for a short time to tell made-up pictures apart, are
saved, and converted as ``python convert/quantize.py`` does, with 200 pictures. The same networks go through
TensorFlow's ``TFLiteConverter`` and through ``litert-quantizer`` with its own recipe. What was measured is kept in
``--folder``, a JSON a network: what is there is not measured again, and the page is written from it.
"""

from __future__ import annotations

import argparse
import json
import os
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

TRAINED, CALIBRATION, JUDGED, GRAY = 1500, 200, 300, 60  # pictures
SECONDS = 60  # of training, of processor time
WITHIN = 1e-2  # of probability: what float may differ by from Keras and count as the same
Array = npt.NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="int8 of 25 networks.")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/families", help="what was measured, and networks")
    parser.add_argument("--only", nargs="*", default=[*NETWORKS], choices=NETWORKS, help="names (default: all)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    args = parser.parse_args()
    for name in args.only:
        kept = args.folder / f"{slug(name)}.json"
        if args.here:
            files.write(kept, json.dumps(measure(name, NETWORKS[name], args.folder), indent=1) + "\n")
        elif not kept.is_file():
            # By itself: Keras 2 and 3 keep much in memory, and one that is ended must not end the others.
            command = [sys.executable, __file__, "--here", "--folder", str(args.folder), "--only", name]
            ended = subprocess.run(command, check=False).returncode
            print(f"{name}: {'measured' if not ended else f'ended with {ended}'}", flush=True)
        if args.write and not args.here:
            files.write(args.write, document(results(args.folder)))


def slug(name: str) -> str:
    """A name for files."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in name)


def measure(name: str, member: Member, folder: Path) -> dict[str, Any]:
    """Trains, saves, converts in three ways, and compares with what Keras says."""
    model, network = trained(name, member, folder)
    calibration = shapes.write(
        folder / f"calibration-{len(member.labels)}-{member.side}", member.labels, CALIBRATION, member.side, 2
    )
    judged = shapes.write(folder / f"judged-{len(member.labels)}-{member.side}", member.labels, JUDGED, member.side, 3)
    seen = given([read(path, member) for path in judged], member)
    float_answers = probabilities(run_keras(model, seen))
    expected = float_answers.argmax(1)
    right = float(np.mean([member.labels[e] == path.parent.name for e, path in zip(expected, judged)]))
    told: dict[str, Any] = {"right": right, "classes": len(set(expected)), "near": near(float_answers)}
    told |= ours(network, member, judged, float_answers, model, folder)
    samples = given([read(path, member) for path in calibration], member)
    for key, make in (("TFLiteConverter", of_tensorflow), ("litert-quantizer", of_litert)):
        began = time.monotonic()
        with quiet():
            told[key] = agreement(partial(make, model, samples), seen, expected)
        told[f"{key} seconds"] = round(time.monotonic() - began, 1)
    return told


def trained(name: str, member: Member, folder: Path) -> tuple[Any, Path]:
    """The model and the file it was saved in."""
    if member.keras == 2:
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(2020)
    network = folder / f"{slug(name)}{member.suffix}"
    model = member.build(keras, member.shape, len(member.labels))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the usual 0.99 needs more steps than there are here
    pixels, targets = shapes.arrays(member.labels, TRAINED, member.side, 1)
    pictures = given([pixel if member.shape[2] == 3 else gray(pixel) for pixel in pixels], member)
    ends = model.layers[-1]
    logits = getattr(getattr(ends, "activation", None), "__name__", "softmax") == "linear"
    one = model.output_shape[-1] == 1 if not isinstance(model.output_shape, list) else model.output_shape[0][-1] == 1
    losses = keras.losses
    loss = losses.BinaryCrossentropy(logits) if one else losses.SparseCategoricalCrossentropy(logits)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], jit_compile=False)
    end = time.process_time() + SECONDS

    def enough(batch: int, logs: Any = None) -> None:
        model.stop_training = time.process_time() > end

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=enough)
    model.fit(pictures, targets, batch_size=32, epochs=12, verbose=0, callbacks=[watch])
    network.parent.mkdir(parents=True, exist_ok=True)
    if not member.suffix:
        model.save(network, save_format="tf")
    elif "HDF5" in name:
        model.save(network.with_suffix(".h5"))
        network.with_suffix(".h5").replace(network)
    else:
        model.save(network)
    return model, network


def read(path: Path, member: Member) -> Array:
    """Levels ``(height, width, channels)`` as Pillow reads them."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels if member.shape[2] == 3 else gray(pixels)


def gray(pixels: Array) -> Array:
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def given(levels: list[Array], member: Member) -> Array:
    """What the network was trained on: as ``keras.applications`` scale it."""
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


def ours(
    network: Path, member: Member, judged: list[Path], expected: Array, model: Any, folder: Path
) -> dict[str, Any]:
    """int8 and float of our converter, run by the runtime on the files themselves."""
    from convert import quantize
    from convert.conversion import convert
    from covidnet_lite import Classifier

    out = folder / f"{network.stem}-out.tflite"
    size = f"{len(member.labels)}-{member.side}"
    command = [str(network), "--labels", ",".join(member.labels), "--calibration", str(folder / f"calibration-{size}")]
    command += ["--data", str(folder / f"judged-{size}"), "--schemes", "int8,float32", "--write-best", "--force"]
    command += ["--preset", member.preset] if member.said else []
    began = time.monotonic()
    said: list[str] = []
    try:
        done = convert(quantize.options(quantize.build_parser().parse_args([*command, "-o", str(out)])), said.append)
    except Exception as error:  # whatever it is, the table tells it
        return {"loads": False, "why": f"{type(error).__name__}: {error}"}
    told: dict[str, Any] = {"loads": True, "seconds": round(time.monotonic() - began, 1), "load": os.getloadavg()[0]}
    told["rung"] = done.attempts[-1].rung.name
    grays = gray_copies(judged[:GRAY], folder / f"gray-{size}")
    int8, plain = (Classifier(out.with_name(f"{out.stem}_{scheme}.tflite")) for scheme in ("int8", "float32"))
    told["int8"] = float(np.mean(answers(int8, judged, member).argmax(1) == expected.argmax(1)))
    by_keras = probabilities(run_keras(model, given([read(path, member) for path in grays], member)))
    off = [np.abs(answers(plain, paths, member) - e).max() for paths, e in ((judged, expected), (grays, by_keras))]
    told["float differs in colour"], told["float differs in gray"] = map(float, off)
    return told


def gray_copies(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for path in paths:
        Image.open(path).convert("L").save(folder / f"{path.name}")
    return [folder / path.name for path in paths]


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
    kept = {name: folder / f"{slug(name)}.json" for name in NETWORKS}
    return {name: json.loads(path.read_text()) for name, path in kept.items() if path.is_file()}


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| network | Keras | float is right | near ties | int8 agrees | `TFLiteConverter` | `litert-quantizer` "
        "| kept rung | float off, colour | gray | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        head = f"| {name} | {NETWORKS[name].keras} | {row['right']:.0%} | {row['near']:.0%} "
        others = " | ".join(percent(row[key]) for key in ("TFLiteConverter", "litert-quantizer"))
        if not row["loads"]:
            lines.append(f"{head}| does not load | {others} | {row['why'][:80]} | | | |")
            continue
        off = " | ".join(f"{row[f'float differs in {kind}']:.4f}" for kind in ("colour", "gray"))
        lines.append(f"{head}| {row['int8']:.1%} | {others} | {row['rung']} | {off} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def percent(share: float | None) -> str:
    return "not made" if share is None else f"{share:.1%}"


def document(found: dict[str, dict[str, Any]]) -> str:
    """The page in docs/."""
    loaded = {name: row for name, row in found.items() if row["loads"]}
    best = {n: max(r["TFLiteConverter"] or 0, r["litert-quantizer"] or 0) for n, r in loaded.items()}
    behind = [n for n, r in loaded.items() if r["int8"] < best[n]]
    wrong = [n for n, r in loaded.items() if max(r["float differs in colour"], r["float differs in gray"]) > WITHIN]
    gains = [
        r["int8"] - statistics.median([r["TFLiteConverter"] or 0, r["litert-quantizer"] or 0]) for r in loaded.values()
    ]
    middle = 100 * statistics.median(gains or [0])
    return f"""# int8 of {len(NETWORKS)} networks

{(__doc__ or "").split(chr(10), 2)[2].strip()}

They learn for {SECONDS} s of processor time at most, from random weights, on pictures of 64 x 64 or 80 x 80: enough for
weights that mean something, not for a good classifier. *Float is right* says how much was learned; *near ties* are
pictures whose two best classes float holds to be within 10 points of probability, which any rounding may turn.
*Agrees* is the share of {JUDGED} pictures of which int8 names the class that Keras names. *Float off* is the largest
difference of a probability between Keras and `covidnet_lite.classify` on the same files, of {JUDGED} pictures in colour
and of {GRAY} in gray: what a wrong order of channels or a wrong scaling would show. *Seconds* are those of
`convert/quantize.py` with {CALIBRATION} pictures, all rungs and the judging included, on two shared cores.

{markdown(found)}

Measured: {len(found)} of {len(NETWORKS)}. {len(loaded)} load. int8 agrees less than the better of the other two on
{len(behind)}{_names(behind)};
on the median network it is {middle:+.1f} points from the mean of the other two. Float differs from Keras by more than
{WITHIN:g} on {len(wrong)}{_names(wrong)}.
{_missing(found)}"""


def _missing(found: dict[str, dict[str, Any]]) -> str:
    left = [name for name in NETWORKS if name not in found]
    return f"Not measured yet, and added by the same command: {'; '.join(left)}.\n" if left else ""


def _names(names: list[str]) -> str:
    return f" ({'; '.join(names)})" if names else ""


if __name__ == "__main__":
    main()
