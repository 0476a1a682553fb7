"""The command ``covidnet-lite``; :mod:`covidnet_lite.exit_codes` explains its exit codes."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import (
    __version__,
    classify_command,
    convert_command,
    exit_codes,
    inputs,
    models_command,
    options,
    resource_limits,
    site_command,
)
from .errors import BenchmarkError, CovidNetLiteError, OutputError
from .exit_codes import OK, USAGE
from .node import command as node
from .parser import Parser
from .quiet import silent_runtime
from .watch import command as watch_command
from .web import command as serve

NOTICE = "Research use only; not a medical device."
EXAMPLES = (
    "covidnet-lite classify xray.png",
    "covidnet-lite classify --help",
    'eval "$(register-python-argcomplete covidnet-lite)"   # completion by Tab (extra: completion)',
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == [convert_command.NAME]:
        return convert_command.main(argv[1:])
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell wants completions
        import argcomplete

        argcomplete.autocomplete(parser)
    args = parser.parse_args(argv)
    try:
        if sys.stdout is None:
            raise OutputError("standard output is closed; send it to a file")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
        if getattr(args, "memory", None) is not None:
            os.environ[resource_limits.MEMORY] = str(args.memory)
            resource_limits.memory()
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except CovidNetLiteError as error:
        print(f"covidnet-lite: error: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `covidnet-lite ... | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except OSError as error:  # standard output on a full disk
        print(f"covidnet-lite: error: cannot write results ({error.strerror or error})", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("covidnet-lite: stopped", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser, with every command and option."""
    parser = Parser(
        prog="covidnet-lite",
        description="Classifies frontal chest radiographs as normal, pneumonia or covid, without a connection.",
        examples=EXAMPLES,
        epilog=f"{exit_codes.MEANINGS}\n\n{NOTICE}",
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"covidnet-lite {__version__}", help="print the version and exit"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    classify_command.add(commands, f"{exit_codes.MEANINGS}\n\n{NOTICE}")

    benchmark = commands.add_parser(
        "benchmark",
        help="measure the speed on this machine",
        description="Measures the time of each stage and of a whole process, and the throughput; reports whether the "
        "machine was slowed down meanwhile.",
        examples=("covidnet-lite benchmark", "covidnet-lite benchmark --images ward/ --rounds 20 --json speed.json"),
    )
    benchmark.add_argument(
        "--images", metavar="DIR", help="measure on these radiographs (default: a synthetic 2048 x 2048 JPEG)"
    )
    benchmark.add_argument(
        "--threads",
        type=_counts,
        default=(),
        metavar="N,N",
        help="numbers of threads for one inference, measured in turn (default: 1,2,4, up to the number of cores)",
    )
    benchmark.add_argument(
        "--rounds",
        type=int,
        default=100,
        metavar="N",
        help="radiographs to classify for each number of threads (default: 100)",
    )
    benchmark.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    benchmark.add_argument(
        "--submit", action="store_true", help="print one row of figures to paste into an issue, instead of the table"
    )
    options.network(benchmark)
    benchmark.set_defaults(run=_benchmark)

    models_command.add(commands)

    doctor = commands.add_parser(
        "doctor",
        help="print a report for a bug report",
        description="Prints board, CPU, Python, runtimes and network hashes, to paste into a bug report.",
        examples=("covidnet-lite doctor", "covidnet-lite doctor --json"),
    )
    options.site(doctor)
    doctor.add_argument("--json", action="store_true", help="print JSON instead")
    doctor.set_defaults(run=_doctor)

    watch_command.add(commands)
    serve.add(commands)
    node.add(commands)
    site_command.add(commands)
    convert_command.add(commands)
    return parser


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid numbers of threads: {text!r}; write 1,2,4") from None


def _benchmark(args: argparse.Namespace) -> int:
    from . import files
    from .machine import benchmark

    if args.images == "-":
        raise BenchmarkError("-: standard input can be read only once; give a folder or a file")
    paths = [path for path in inputs.find([args.images] if args.images else []) if isinstance(path, str)]
    if args.json:
        files.check_folder(args.json.parent)
    with silent_runtime() as err:
        result = benchmark.measure(
            args.model, args.runtime, args.threads, paths, args.edgetpu, args.rounds, lambda t: print(t, file=err)
        )
    if args.json:
        files.write(args.json, result.to_json())
    if args.submit:
        for text in benchmark.warnings(result):
            print(f"covidnet-lite: warning: {text}", file=sys.stderr)
    print(benchmark.row(result) if args.submit else benchmark.table(result))
    return OK


def _doctor(args: argparse.Namespace) -> int:
    from .machine import doctor

    with silent_runtime():
        facts = doctor.facts(args.site)
    print(json.dumps(facts, indent=1) if args.json else doctor.text(facts))
    return OK
