"""Each stage, end to end, cold start, memory, throughput: ``make bench``. No test: pytest-benchmark measures here.

Milliseconds on one machine say nothing about another, nor about the same one on a busier day. So each run is paired
with a yardstick right before it, and the ratio is what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.figures import Figure
from benchmarks.measure import process, python
from covidnet_lite import Classifier, radiograph
from covidnet_lite.fit import fit
from covidnet_lite.network import model
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.preprocess import look_up
from covidnet_lite.prediction import judge

NETWORKS = list(model.shipped())
THREADS = (1, 2)
FILE = "2048 JPEG"
DECODE = f"decoding the {FILE} in full"
NUMPY = "a process that imports numpy"
FILES = 8  # files of a throughput


@pytest.fixture(scope="session")
def decode(kinds: dict[str, Path]) -> Callable[[], object]:
    """The yardstick of the stages: Pillow and libjpeg, none of our code."""
    return lambda: Image.open(kinds[FILE]).load()


@pytest.mark.parametrize("name", NETWORKS)
def test_read(paired: Any, decode: Any, kinds: dict[str, Path], name: str) -> None:
    at_least = model.load(name).manifest.input.at_least
    paired(f"read for {name}", lambda: radiograph.read(kinds[FILE], at_least), DECODE, decode, 60)


@pytest.mark.parametrize("name", NETWORKS)
def test_fit(paired: Any, decode: Any, kinds: dict[str, Path], name: str) -> None:
    network = model.load(name)
    spec, tables = network.manifest.input, Interpreter(network, threads=1).tables
    image = radiograph.read(kinds[FILE], spec.at_least).image
    paired(f"fit for {name}, finding the lungs", lambda: look_up(tables, fit(image, spec)), DECODE, decode, 60)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", NETWORKS)
def test_run(paired: Any, decode: Any, name: str, threads: int) -> None:
    interpreter = Interpreter(model.load(name), threads=threads)
    values = np.zeros(interpreter.input_shape, interpreter.input_dtype)
    paired(f"run {name}, {thread_count(threads)}", lambda: interpreter.run(values), DECODE, decode, 60)


@pytest.mark.parametrize("name", NETWORKS)
def test_judge(paired: Any, decode: Any, name: str) -> None:
    network = model.load(name)
    interpreter, manifest = Interpreter(network, threads=1), network.manifest
    raw = interpreter.run(np.zeros(interpreter.input_shape, interpreter.input_dtype))

    def run() -> object:
        real = {output: interpreter.dequantise(i, raw[i])[0] for output, i in manifest.outputs.items()}
        if manifest.guard is None:
            return judge(real["logits"], None, manifest, None)
        embedding = real["embedding"]
        distance = float(manifest.guard.distance(embedding))
        return judge(real["logits"], distance, manifest, manifest.guard.display_fault(embedding))

    paired(f"judge {name}", run, DECODE, decode, 60)


@pytest.mark.parametrize("kind", [FILE, "2048 PNG", "1955 x 1841 DICOM"])
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", NETWORKS)
def test_classify(paired: Any, decode: Any, kinds: dict[str, Path], name: str, threads: int, kind: str) -> None:
    if kind not in kinds:
        pytest.skip("needs pydicom-data")
    classifier = Classifier(name, threads=threads)
    run = lambda: classifier.classify(kinds[kind])  # noqa: E731
    paired(f"classify a {kind}, {name}, {thread_count(threads)}", run, DECODE, decode, 40)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", NETWORKS)
def test_classify_many(paired: Any, kinds: dict[str, Path], name: str, threads: int) -> None:
    classifier = Classifier(name, threads=threads)
    paths = [kinds[FILE]] * FILES
    batch, one_by_one = lambda: list(classifier.classify_many(paths)), lambda: [*map(classifier.classify, paths)]
    paired(f"classify_many {FILES}, {name}, {thread_count(threads)}", batch, "the same one by one", one_by_one, 15)


@pytest.mark.parametrize("name", ["import", *NETWORKS])
def test_whole_process(benchmark: Any, kinds: dict[str, Path], quick: bool, name: str) -> None:
    """Time and peak memory, Python's start included."""
    program = "import sys, numpy, covidnet_lite\n"
    if name != "import":
        program += "covidnet_lite.classify(sys.argv[1], model=sys.argv[2])"
    command, baseline = python(program, kinds[FILE], name), python("import numpy")
    ours: list[tuple[float, float]] = []
    baseline_rounds: list[tuple[float, float]] = []
    process(command)
    process(baseline)
    benchmark.pedantic(
        lambda: ours.append(process(command)),
        setup=lambda: baseline_rounds.append(process(baseline)),
        rounds=2 if quick else 15,
    )
    name_ = "import numpy and covidnet_lite" if name == "import" else f"classify in a new process, {name}"
    (seconds, memory), (baseline_seconds, baseline_memory) = zip(*ours), zip(*baseline_rounds)
    benchmark.extra_info["figures"] = [
        Figure.of(name_, "ms", [s * 1e3 for s in seconds], NUMPY, [s * 1e3 for s in baseline_seconds]).to_dict(),
        Figure.of(f"memory: {name_}", "MB", memory, NUMPY, baseline_memory).to_dict(),
    ]


def thread_count(threads: int) -> str:
    """In words."""
    return f"{threads} thread{'s' * (threads > 1)}"
