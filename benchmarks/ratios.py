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
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

import covidnet_lite
from benchmarks.measure import in_turn, processes, python
from covidnet_lite.machine.benchmark import synthetic_radiograph
from covidnet_lite.network import model as models
from covidnet_lite.network.interpreter import Interpreter, available_cores

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


def classify_over_floor(path: Path, threads: int) -> dict[str, float]:
    """classify() against decoding at the needed scale plus one invoke."""
    classifier = covidnet_lite.Classifier(threads=threads)
    interpreter = Interpreter(models.load(), threads=threads)
    values = np.zeros(interpreter.input_shape, interpreter.input_dtype)

    def decode() -> None:
        with Image.open(path) as image:
            image.draft("L", classifier.manifest.input.at_least)
            image.load()

    classify, decoding, invoke = in_turn(
        lambda: classifier.classify(path), decode, lambda: interpreter.run(values), rounds=150
    )
    return {
        "classify_ms": classify,
        "decode_ms": decoding,
        "invoke_ms": invoke,
        "ratio": classify / (decoding + invoke),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    figures: dict[str, object] = {"cores": available_cores(), "load": os.getloadavg()[0]}
    print(f"{figures['cores']} cores, load {figures['load']:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic_radiograph(Path(folder) / "picture.jpg")
        result = classify_over_floor(path, threads=1)
        figures["classify"] = result
        print(
            f"classify(2048 x 2048 JPEG)  {result['classify_ms']:.2f} ms = {result['ratio']:.3f} x "
            f"(decode {result['decode_ms']:.2f} ms + invoke {result['invoke_ms']:.2f} ms)"
        )
        (bare_python, _), (ours, _) = processes(
            python("import numpy"), python("import numpy, covidnet_lite"), rounds=25
        )
        figures["import_ms"] = (ours - bare_python) * 1e3
        print(
            f"import covidnet_lite        {(ours - bare_python) * 1e3:.1f} ms over Python and numpy "
            f"({bare_python * 1e3:.0f} ms)"
        )
        if find_spec("tensorflow") is None:
            print("a fresh process: TensorFlow is not installed, nothing to compare with")
        else:
            (t, m), (tf_t, tf_m) = processes(python(OURS, path), python(THEIRS, path, models.load().path), rounds=7)
            figures["process"] = {"seconds": t, "megabytes": m, "tf_seconds": tf_t, "tf_megabytes": tf_m}
            print(
                f"a fresh process             {t:.3f} s and {m:.0f} MB; with TensorFlow's interpreter "
                f"{tf_t:.3f} s and {tf_m:.0f} MB: 1/{tf_t / t:.1f} of the time, 1/{tf_m / m:.1f} of the memory"
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
