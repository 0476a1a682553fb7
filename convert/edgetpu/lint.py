"""Says what the Edge TPU compiler will do with an int8 ``.tflite``.

    python convert/edgetpu/lint.py covidnet_lite/models/base.tflite

No compiler is needed. The lint follows Coral's table of operations, the versions
of operations seen in models that compiled, and the way TFLite cuts a graph in
parts; where it cannot know, it says that an operation stays on the CPU. Only
``edgetpu_compiler`` itself can say that a model compiles.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from convert.edgetpu.ops import ON_CHIP, VERSIONS, refusal_of
from convert.tflite_file.flatbuffer import Graph, read
from covidnet_lite.errors import ConversionError, CovidNetLiteError, ModelError
from covidnet_lite.network.manifest import is_sealed, unseal

COMPILER = "edgetpu_compiler"
COMPILED = "edgetpu-custom-op"

REPLACEMENTS = {
    "ARG_MAX": "leave ARG_MAX out of the network and take the largest output on the host",
    "BATCH_MATMUL": "use Conv2D or Dense layers in place of matrix products of activations",
    "CAST": "leave CAST out: feed the network int8 or uint8 as it is",
    "DEQUANTIZE": "give the network int8 outputs and no float part, so that DEQUANTIZE goes away",
    "ELU": "use ReLU6 in place of ELU",
    "GELU": "use ReLU6 in place of GELU",
    "HARD_SWISH": "use ReLU6 in place of hard-swish (MobileNetV3 has a 'minimalistic' variant without it)",
    "LEAKY_RELU": "use ReLU or ReLU6 in place of LeakyReLU",
    "QUANTIZE": "give the network int8 or uint8 inputs and no float part, so that QUANTIZE from float goes away",
}


@dataclass(frozen=True)
class Op:
    """One operation of the graph.

    Attributes:
        index: place in the graph's order.
        name, version: as TFLite calls it.
        mapped: whether the Edge TPU will run it.
        reason: why it stays on the CPU; empty where it does not.
    """

    index: int
    name: str
    version: int
    mapped: bool
    reason: str


@dataclass(frozen=True)
class Lint:
    """What the compiler is expected to do with a model.

    Attributes:
        ops: all operations, in the graph's order.
        first_unmapped: index of the first operation left on the CPU.
        ended_by: index of the first operation that ends the part on the Edge TPU by what it is itself; an
            operation that stays on the CPU before this part begins does not end it.
        parameter_bytes: of all constants.
        fits_on_chip: whether these fit into the memory on the chip.
        advice: what to change, most important first.
        failure: why the model does not compile at all; empty where it does.
    """

    ops: tuple[Op, ...]
    first_unmapped: int | None
    ended_by: int | None
    parameter_bytes: int
    fits_on_chip: bool
    advice: tuple[str, ...]
    failure: str = ""

    @property
    def on_cpu(self) -> tuple[Op, ...]:
        """The operations that stay on the CPU."""
        return tuple(op for op in self.ops if not op.mapped)


def lint(data: bytes, name: str = "the model") -> Lint:
    """Says for each operation of an int8 ``.tflite`` whether the Edge TPU will run it.

    Raises:
        ConversionError: the file is no TFLite file, damaged, or compiled already.
        MissingExtraError: LiteRT is not installed.
    """
    graph = read(data, name)
    if any(node.name == COMPILED for node in graph.nodes):
        raise ConversionError(
            f"{name}: is compiled for the Edge TPU already; give the int8 .tflite that it was made from"
        )
    refusals = [refusal_of(node) for node in graph.nodes]
    failure = _failure(graph)
    part = set() if failure else _part(graph, refusals)
    reasons = [failure] * len(refusals) if failure else _reasons(graph, refusals, part)
    ops = tuple(Op(i, node.name, node.version, i in part, reasons[i]) for i, node in enumerate(graph.nodes))
    begin = min(part, default=0)
    fits_on_chip = graph.parameter_bytes <= ON_CHIP
    return Lint(
        ops,
        next((op.index for op in ops if not op.mapped), None),
        next((i for i, refusal in enumerate(refusals) if refusal and i >= begin), None),
        graph.parameter_bytes,
        fits_on_chip,
        tuple(dict.fromkeys(_advice(graph, refusals, failure, fits_on_chip))),
        failure,
    )


def check(data: bytes, name: str) -> Lint:
    """What :func:`lint` says of a model that is to be compiled.

    Raises:
        ConversionError: as for :func:`lint`, and where the model does not compile or nothing of it maps.
    """
    result = lint(data, name)
    if result.failure or len(result.on_cpu) == len(result.ops):
        reason = result.failure or "no operation maps to the Edge TPU"
        raise ConversionError(f"{name}: {reason}; {'; '.join(result.advice)}")
    return result


def _failure(graph: Graph) -> str:
    """Why the whole model does not compile."""
    tensors = {t.index: t for node in graph.nodes for t in node.tensors}
    dynamic = [t for t in tensors.values() if t.dynamic]
    if dynamic:
        return f"does not compile: the shape of '{dynamic[0].name}' is not fixed"
    if not any(t.is_8_bit and not t.constant for t in tensors.values()):
        return "does not compile: the model is not quantised to 8 bits"
    return ""


def _part(graph: Graph, refusals: Sequence[str]) -> set[int]:
    """The operations of the one part that the Edge TPU gets.

    TFLite hands out a graph in turns: a turn takes all operations of one sort (for the CPU or not) whose inputs
    are there, and the first that is ready says of which sort. Of the turns for the Edge TPU the compiler takes
    the first. So an operation behind an unsupported one in the graph's order, but on another branch, is mapped,
    and one that only prepares the input on the CPU does not end anything.
    """
    ready = {t.index for t in graph.inputs}
    remaining = list(range(len(graph.nodes)))
    while remaining:
        turn: list[int] = []
        progress = True
        while progress:
            progress = False
            for i in list(remaining):
                needed = (t for t in graph.nodes[i].inputs if t is not None and not (t.constant or t.state))
                same_device = not turn or bool(refusals[i]) == bool(refusals[turn[0]])
                if same_device and all(t.index in ready for t in needed):
                    turn.append(i)
                    remaining.remove(i)
                    ready |= {t.index for t in graph.nodes[i].outputs}
                    progress = True
        if not turn:  # a cycle: no interpreter runs it either
            return set()
        if not refusals[turn[0]]:
            return set(turn)
    return set()


def _reasons(graph: Graph, refusals: Sequence[str], part: set[int]) -> list[str]:
    """Why each operation stays on the CPU: by itself, or because of another."""
    behind: dict[int, int] = {}  # tensor -> the operation on the CPU it was made by or after
    reasons = []
    for i, (node, refusal) in enumerate(zip(graph.nodes, refusals)):
        causes = [behind[t.index] for t in node.inputs if t is not None and t.index in behind]
        if i in part:
            reasons.append("")
            continue
        cause = i if refusal else min(causes, default=i)
        behind |= {t.index: cause for t in node.outputs}
        after = f"the Edge TPU gets one part of the graph, and operation {cause} ({graph.nodes[cause].name}) ends it"
        reasons.append(refusal or after)
    return reasons


def _advice(graph: Graph, refusals: Sequence[str], failure: str, fits_on_chip: bool) -> list[str]:
    advice = []
    if failure:
        refusals = ()
        if any(t.dynamic for node in graph.nodes for t in node.tensors):
            advice.append("fix every shape: convert with keras.Input(batch_shape=(1, height, width, channels))")
        else:
            advice.append("quantise the network to int8 first, with covidnet-lite convert")
    for node, refusal in zip(graph.nodes, refusals):
        if not refusal:
            continue
        if node.name in REPLACEMENTS:
            advice.append(REPLACEMENTS[node.name])
        elif node.name in VERSIONS and any(not t.is_8_bit for t in node.activations):
            advice.append("keep arithmetic on floats, indices and flags out of the network, or do it on the host")
        elif node.version > VERSIONS.get(node.name, node.version):
            advice.append(f"convert {node.name} to version {VERSIONS[node.name]} or lower, as TensorFlow 2.5 writes it")
        else:
            advice.append(f"change {node.name}, or do without it: {refusal}")
    if not fits_on_chip:
        advice.append(
            f"use a smaller network: what exceeds {ON_CHIP / 2**20:.0f} MiB is streamed to the chip at each inference"
        )
    if graph.weights_behind:
        advice.append(
            f"do not give the file to {COMPILER} by hand: {graph.weights_behind} constants lie behind the flatbuffer, "
            "where a compiler of 2021 does not look; covidnet-lite convert puts them into it"
        )
    if graph.other_graphs:
        advice.append(
            f"keep to one graph: {graph.other_graphs} more are in the file, and only the first is judged here"
        )
    return advice


def text(result: Lint, name: str) -> str:
    """The report that is printed."""
    mapped = len(result.ops) - len(result.on_cpu)
    lines = [f"{name}: {result.failure}"] if result.failure else []
    lines += [
        f"{name}: {mapped} of {len(result.ops)} operations map to the Edge TPU, {len(result.on_cpu)} stay on the CPU",
        "",
        f"{'operation':<32}{'Edge TPU':>10}{'CPU':>8}",
    ]
    counts = Counter((op.name, op.mapped) for op in result.ops)
    for kind in sorted({op.name for op in result.ops}):
        lines.append(f"{kind:<32}{counts[kind, True]:>10}{counts[kind, False]:>8}")
    if result.on_cpu and not result.failure:
        lines += ["", "on the CPU:"]
        for reason, ops in _by_reason(result.on_cpu).items():
            names = ", ".join(f"{op.index} {op.name} v{op.version}" for op in ops)
            lines.append(f"  {names}: {reason}")
    fits = "fit into" if result.fits_on_chip else "exceed"
    size = f"{result.parameter_bytes / 2**20:.2f} MiB"
    lines += ["", f"parameters: {size}, {fits} the {ON_CHIP // 2**20} MiB of memory on the chip"]
    if result.advice:
        lines += ["", "advice:", *(f"  - {a}" for a in result.advice)]
    return "\n".join([*lines, "", f"a forecast: only {COMPILER} can say that a model compiles"])


def _by_reason(ops: Sequence[Op]) -> dict[str, list[Op]]:
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault(op.reason, []).append(op)
    return groups


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Say which operations of an int8 .tflite the Edge TPU will run, and what to change. "
        "Exits with 0 when it will run all, with 3 when some stay on the CPU."
    )
    parser.add_argument("model", type=Path, help="the int8 .tflite")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = build_parser().parse_args(argv)
    try:
        try:
            data = args.model.read_bytes()
        except OSError as error:
            raise ModelError(f"{args.model}: cannot be read ({error.strerror}); give the path of a .tflite") from error
        if is_sealed(data):
            unseal(data, str(args.model))
        result = lint(data, str(args.model))
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result), indent=1) if args.json else text(result, args.model.name))
    return 3 if result.on_cpu else 0


if __name__ == "__main__":
    sys.exit(main())
