"""Runs inside the emulated Pi, and on x86-64 for what it is compared with; imports what the installed wheel needs only.

    inside.py answers OUT.npz --networks base nano --pictures FILE... [--beside X86.npz] [--reference-kernels]
    inside.py counts --networks base nano OTHER.tflite --pictures FILE --runs N

``answers`` keeps what :func:`covidnet_lite.classify` said and every output of every network it ran. With ``--beside``
each network is also given the very input it had on x86-64, and those outputs are kept: the lungs are found by a network
too, so that one step there moves the crop and is magnified behind it, which is no property of the kernels.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL

import covidnet_lite
from covidnet_lite.network import interpreter, model


class Calls:
    """Every run of every network, as it happens."""

    def __init__(self) -> None:
        self.run = run = interpreter.Interpreter.run
        self.recorded = recorded_calls = []  # type: list[tuple[interpreter.Interpreter, Any, list[Any]]]

        def recorded(self: interpreter.Interpreter, values: Any) -> list[Any]:
            outputs = run(self, values)
            recorded_calls.append((self, values, outputs))
            return outputs

        interpreter.Interpreter.run = recorded  # type: ignore[method-assign]


def use_reference_kernels() -> None:
    """Plain C++ that computes the same everywhere, in place of XNNPACK."""
    _, module = interpreter.find_runtime(None)
    plain = module.OpResolverType.BUILTIN_REF
    module.Interpreter = functools.partial(module.Interpreter, experimental_op_resolver_type=plain)


def answers(args: argparse.Namespace) -> None:
    if args.reference_kernels:
        use_reference_kernels()
    reference = np.load(args.beside) if args.beside else {}
    calls, arrays, predictions = Calls(), {}, {}
    for network in args.networks:
        for path in args.pictures:
            calls.recorded.clear()
            name = f"{network}/{os.path.basename(path)}"
            prediction = covidnet_lite.classify(path, model=network)
            predictions[name] = {k: getattr(prediction, k) for k in ("status", "label", "most_likely", "confidence")}
            for turn, (network_run, values, outputs) in enumerate(calls.recorded):
                key = f"{name}/{turn}"
                arrays[f"{key}/input"] = values
                input_values = reference.get(f"{key}/input", values)
                if not np.array_equal(input_values, values):
                    outputs = calls.run(network_run, input_values)
                arrays.update({f"{key}/{position}": output for position, output in enumerate(outputs)})
    predictions["about"] = about()
    np.savez(args.out, told=np.array(json.dumps(predictions)), **arrays)


def about() -> dict[str, Any]:
    """Where this ran."""
    versions = {"python": sys.version.split()[0], "numpy": np.__version__, "pillow": PIL.__version__}
    return {**versions, "runtime": interpreter.find_runtime(None)[0], "machine": platform.machine()}


def counts(args: argparse.Namespace) -> None:
    """Asks for the count after the first run and after the last, of each network's stages in turn."""
    (path,) = args.pictures
    for network in args.networks:
        try:
            classifier = covidnet_lite.Classifier(network, threads=1)
        except covidnet_lite.ModelError:  # not one of ours: it has no manifest, and can only be invoked
            with open(network, "rb") as file:
                _, runtime = interpreter.find_runtime(None)
                bare = runtime.Interpreter(model_content=file.read(), num_threads=1)
            bare.allocate_tensors()
            between("invoke", network, bare.invoke, args.runs)
            continue
        between("classify", network, functools.partial(classifier.classify, path), args.runs)
        ours = interpreter.Interpreter(model.load(network), threads=1)
        values = np.zeros(ours.input_shape, ours.input_dtype)
        between("invoke", network, functools.partial(ours.run, values), args.runs)


def between(stage: str, network: str, run: Callable[[], object], runs: int) -> None:
    """getppid() is what ``count.c`` looks out for."""
    run()
    os.getppid()
    for _ in range(runs - 1):
        run()
    os.getppid()
    print(json.dumps([network, stage]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("answers", "counts"))
    parser.add_argument("out", nargs="?")
    parser.add_argument("--networks", nargs="+", required=True)
    parser.add_argument("--pictures", nargs="+", required=True)
    parser.add_argument("--beside")
    parser.add_argument("--reference-kernels", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    {"answers": answers, "counts": counts}[args.what](args)


if __name__ == "__main__":
    main()
