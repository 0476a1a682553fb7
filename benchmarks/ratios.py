"""The figures this package promises, as ratios in one run: ``python benchmarks/ratios.py``.

* ``classify(path)`` on a 2048 x 2048 JPEG against its floor: decoding at the scale
  needed plus one bare invoke;
* a fresh process that classifies one radiograph, against the same done with
  TensorFlow's interpreter (where TensorFlow is installed): time and peak memory;
* ``import covidnet_lite`` over bare Python plus numpy.

Needs a quiet machine; prints the load it found.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

import covidnet_lite
from covidnet_lite import model as models
from covidnet_lite.interpreter import Interpreter, available_cores

OURS = "import sys, covidnet_lite; covidnet_lite.classify(sys.argv[1])"
# As TensorFlow's guide writes it: Pillow, numpy, tf.lite.Interpreter.
THEIRS = """
import sys
import numpy as np
import tensorflow as tf
from PIL import Image
interpreter = tf.lite.Interpreter(model_path=sys.argv[2])
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
image = Image.open(sys.argv[1]).convert("L").resize(details["shape"][2:0:-1])
scale, zero_point = details["quantization"]
real = (np.asarray(image, np.float32) - 127) / 128
interpreter.set_tensor(details["index"], (real / scale + zero_point).astype(np.int8)[None, ..., None])
interpreter.invoke()
print([interpreter.get_tensor(o["index"]).shape for o in interpreter.get_output_details()])
"""


def picture(folder: Path, side: int = 2048) -> Path:
    """A gray picture as large and as busy as a radiograph."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    body = 140 + 60 * np.sin(9 * x) * np.cos(7 * y) + rng.normal(0, 6, (side, side))
    path = folder / "picture.jpg"
    Image.fromarray(np.clip(body, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def in_turn(*runs: Callable[[], object], rounds: int) -> list[float]:
    """Median milliseconds of each, taken in turn, so that noise hits all alike."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, times in zip(runs, taken):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(times[len(times) // 10 :]) for times in taken]


# Asked from inside: what the parent's rusage says of a child includes the parent's own memory.
PEAK = "\nimport re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"


def process(program: str, *args: object) -> tuple[float, float]:
    """Seconds and peak megabytes of a fresh Python process (Linux)."""
    start = time.perf_counter()
    command = [sys.executable, "-c", program + PEAK, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the process failed: {done.stderr[-500:]}")
    return seconds, int(done.stdout.split()[-1]) / 1024


def processes(*commands: tuple[object, ...], rounds: int) -> list[tuple[float, float]]:
    """Median seconds and megabytes of each command, taken in turn."""
    runs: list[list[tuple[float, float]]] = [[] for _ in commands]
    for _ in range(rounds):
        for command, found in zip(commands, runs):
            found.append(process(*command))  # type: ignore[arg-type]
    return [(statistics.median(s for s, _ in f), statistics.median(m for _, m in f)) for f in runs]


def classify_over_floor(path: Path, threads: int) -> dict[str, float]:
    """classify() against decoding at the needed scale plus one invoke."""
    classifier = covidnet_lite.Classifier(threads=threads)
    interpreter = Interpreter(models.load(), threads=threads)
    values = np.zeros(interpreter.input_shape, interpreter.input_dtype)

    def decode() -> None:
        with Image.open(path) as image:
            image.draft("L", classifier.manifest.input.at_least)
            image.load()

    whole, decoding, invoke = in_turn(
        lambda: classifier.classify(path), decode, lambda: interpreter.run(values), rounds=150
    )
    return {"classify_ms": whole, "decode_ms": decoding, "invoke_ms": invoke, "ratio": whole / (decoding + invoke)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    figures: dict[str, object] = {"cores": available_cores(), "load": os.getloadavg()[0]}
    print(f"{figures['cores']} cores, load {figures['load']:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = picture(Path(folder))
        found = classify_over_floor(path, threads=1)
        figures["classify"] = found
        print(
            f"classify(2048 x 2048 JPEG)  {found['classify_ms']:.2f} ms = {found['ratio']:.3f} x "
            f"(decode {found['decode_ms']:.2f} ms + invoke {found['invoke_ms']:.2f} ms)"
        )
        (bare, _), (ours, _) = processes(("import numpy",), ("import numpy, covidnet_lite",), rounds=25)
        figures["import_ms"] = (ours - bare) * 1e3
        print(f"import covidnet_lite        {(ours - bare) * 1e3:.1f} ms over Python and numpy ({bare * 1e3:.0f} ms)")
        if find_spec("tensorflow") is None:
            print("a fresh process: TensorFlow is not installed, nothing to compare with")
        else:
            (t, m), (tf_t, tf_m) = processes((OURS, path), (THEIRS, path, models.load().path), rounds=7)
            figures["process"] = {"seconds": t, "megabytes": m, "tf_seconds": tf_t, "tf_megabytes": tf_m}
            print(
                f"a fresh process             {t:.3f} s and {m:.0f} MB; with TensorFlow's interpreter "
                f"{tf_t:.3f} s and {tf_m:.0f} MB: 1/{tf_t / t:.1f} of the time, 1/{tf_m / m:.1f} of the memory"
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
