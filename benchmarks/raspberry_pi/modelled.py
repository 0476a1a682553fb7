"""From instructions to a time on a board, by what others measured there. A model, and worded as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .reference import Row
from .systems import ROOT

PAGE = ROOT / "docs/raspberry_pi_modelled.md"
YARDSTICK = "tf2_mobilenet_v2_1.0_224_ptq"  # the network whose times are published; Coral's file of it is counted
XNNPACK = "[XNNPACK](https://github.com/google/XNNPACK)'s README"
TSUKAMOTO = "[NobuoTsukamoto/benchmarks](https://github.com/NobuoTsukamoto/benchmarks)"


@dataclass(frozen=True)
class Board:
    """A board and how long the yardstick takes there, as published or derived.

    Attributes:
        ghz: clock of its cores.
        all_cores, one_core: milliseconds of MobileNetV2 1.0 224 int8.
        source: whence.
    """

    name: str
    processor: str
    ghz: float
    all_cores: float
    one_core: float
    source: str


# Published, in milliseconds. SSDLite MobileNetV2 int8 with one thread and with four; EfficientDet-Lite0 int8 likewise.
PI3_ALL, PI3_SSD = 30.0, (341.93, 121.79)
PI4_ALL, PI4_SSD, PI4_DET = 17.0, (168.15, 57.36), (197.751, 78.009)
PI5_DET = (44.945, 22.877)

PI3 = Board(
    "Raspberry Pi 3B+", "cortex-a53", 1.4, PI3_ALL, PI3_ALL * PI3_SSD[0] / PI3_SSD[1],
    f"{XNNPACK}: MobileNetV2 int8, all cores, 30 ms; one core by SSDLite MobileNetV2 int8, 342 ms with one thread and "
    f"122 ms with four ({TSUKAMOTO})",
)  # fmt: skip
ZERO = Board(
    "Raspberry Pi Zero 2 W", "cortex-a53", 1.0, PI3.all_cores * 1.4, PI3.one_core * 1.4,
    "as the Pi 3B+, at 1.0 instead of 1.4 GHz; its slower memory is left out",
)  # fmt: skip
PI4 = Board(
    "Raspberry Pi 4", "cortex-a72", 1.5, PI4_ALL, PI4_ALL * PI4_SSD[0] / PI4_SSD[1],
    f"{XNNPACK}: MobileNetV2 int8, all cores, 64 bit, 17 ms; one core by SSDLite MobileNetV2 int8, 168 ms and 57 ms "
    f"({TSUKAMOTO})",
)  # fmt: skip
PI5 = Board(
    "Raspberry Pi 5", "cortex-a76", 2.4,
    PI4.all_cores * PI5_DET[1] / PI4_DET[1], PI4.one_core * PI5_DET[0] / PI4_DET[0],
    "from the Pi 4, by EfficientDet-Lite0 int8 with XNNPACK: 198 ms there and 45 ms here with one thread, 78 and 23 ms "
    f"with four ({TSUKAMOTO})",
)  # fmt: skip
BOARDS = (ZERO, PI3, PI4, PI5)


def per_ms(board: Board, yardstick: int, all_cores: bool = False) -> float:
    """Instructions in a millisecond: what the yardstick takes, by how long it takes.

    Args:
        yardstick: instructions of MobileNetV2 1.0 224 int8 on that processor.
    """
    return yardstick / (board.all_cores if all_cores else board.one_core)


def page(rows: Sequence[Row]) -> str:
    """The Markdown page, from the counts; says where one is missing."""
    counts = {row.key: row for row in rows}
    ours = [name for name in ("nano", "base") if any(row.network == name for row in rows)]
    yardsticks = {board.name: counts.get((board.processor, YARDSTICK, "invoke")) for board in BOARDS}
    lines = [
        "# Modelled times on Raspberry Pi",
        "",
        "**These times are modelled, not measured**, because no board was available. `make pi` runs the installed",
        "wheel on emulated boards and counts the instructions of a classification, which are the same in each run.",
        "The model divides these counts by the instructions per cycle (IPC) that others measured for MobileNetV2",
        "1.0 224 int8 on that board. Read the times as orders of magnitude: an error of a third in either",
        "direction is plausible. They do not include memory, heat and the operating system. Measure on your own",
        "board.",
        "",
        "`classify` covers everything from the file (a JPEG of 2048 x 2048) to the answer, with one thread. `invoke`",
        "is the network alone, also with four threads.",
        "",
        "| board | network | `classify`, one thread | `invoke`, one thread | `invoke`, four threads |",
        "|---|---|---|---|---|",
    ]
    for board in BOARDS:
        for network in ours:
            cells = [board.name, f"`{network}` {_version(counts, board, network)}"]
            for stage, all_cores in (("classify", False), ("invoke", False), ("invoke", True)):
                cells.append(
                    _cell(counts.get((board.processor, network, stage)), board, yardsticks[board.name], all_cores)
                )
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Calibration and IPC of each board:", ""]
    for board in BOARDS:
        yardstick = yardsticks[board.name]
        if yardstick:
            one, four = (per_ms(board, yardstick.instructions, many) / board.ghz / 1e6 for many in (False, True))
            lines.append(
                f"* {board.name} ({board.processor}, {board.ghz} GHz): {board.source}. MobileNetV2 takes "
                f"{yardstick.instructions / 1e6:.0f} M instructions there, so an IPC of {one:.2f} with one thread and "
                f"{four / 4:.2f} on each of four cores."
            )
    lines += ["", "Instructions of int8 against float32, the same network before quantisation:", ""]
    lines += _against_float(counts)
    lines += [
        "",
        "Counted with LiteRT, numpy and Pillow as pinned in",
        "[requirements.txt](../benchmarks/raspberry_pi/requirements.txt) on Debian 12, 64 bit; all counts are in",
        "[instructions.csv](../benchmarks/reference/instructions.csv). This page is written by `make pi ARGS=--write`.",
        "",
    ]
    return "\n".join(lines)


def _version(counts: dict[tuple[str, str, str], Row], board: Board, network: str) -> str:
    row = counts.get((board.processor, network, "invoke"))
    return f"({row.sha256})" if row else ""


def _cell(row: Row | None, board: Board, yardstick: Row | None, all_cores: bool) -> str:
    if row is None or yardstick is None:
        return "not counted"
    rate = per_ms(board, yardstick.instructions, all_cores)
    return f"modelled: {row.instructions / 1e6:.0f} M instructions, {row.instructions / rate:.0f} ms"


def _against_float(counts: dict[tuple[str, str, str], Row]) -> list[str]:
    lines = []
    for processor in dict.fromkeys(board.processor for board in BOARDS):
        for stage in ("invoke", "classify"):
            int8, real = counts.get((processor, "base", stage)), counts.get((processor, "base_float32", stage))
            if int8 and real and int8.checkpoint == real.checkpoint:
                lines.append(
                    f"| {processor} | `{stage}` | {int8.instructions / 1e6:.0f} M | {real.instructions / 1e6:.0f} M | "
                    f"{int8.instructions / real.instructions:.2f} |"
                )
    if not lines:
        return [
            "Not counted for this `base`: `python convert/quantize.py --schemes float32 -o base_float32.tflite`, then",
            "`make pi ARGS='--write --also base_float32.tflite'`.",
        ]
    return ["| processor | stage | `base` int8 | `base` float32 | ratio |", "|---|---|---|---|---|", *lines]
