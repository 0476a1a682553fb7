"""The command ``covidnet-lite``; what its exit codes mean stands in :mod:`covidnet_lite.exit_codes`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import __version__, exit_codes, limits, networks, options
from .codes import Code
from .errors import CovidNetLiteError, InputError, OutputError
from .exit_codes import BAD_FILE, OK, USAGE
from .node import command as node
from .quiet import silent_runtime
from .unforeseen import unforeseen
from .watch import command as watch_command
from .web import command as serve

if TYPE_CHECKING:
    from .archive import Member
    from .output import Writer
    from .prediction import Failure, Prediction

CLEAR = "\r\033[K"  # the line that tells the progress

EPILOG = f"""{exit_codes.MEANINGS}

Research use only; not a medical device."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = build_parser().parse_args(argv)
    try:
        if sys.stdout is None:
            raise OutputError("standard output is closed; send it to a file")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
        if getattr(args, "memory", None) is not None:
            os.environ[limits.MEMORY] = str(args.memory)
            limits.memory()
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except CovidNetLiteError as error:
        print(f"covidnet-lite: error: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `covidnet-lite ... | head`: whoever reads has seen enough
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
    parser = argparse.ArgumentParser(
        prog="covidnet-lite",
        description="Classifies frontal chest X-rays as normal, pneumonia or covid, offline.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"covidnet-lite {__version__}", help="print the version and exit"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    classify = commands.add_parser(
        "classify",
        help="classify radiographs",
        description="Classifies radiographs: PNG, JPEG, TIFF, BMP, WebP, JPEG 2000, AVIF, HEIC or DICOM.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    classify.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders (searched through), or - for standard input"
    )
    classify.add_argument(
        "--format",
        choices=("table", "json", "jsonl", "csv"),
        default="table",
        help="how to print results (default: table)",
    )
    classify.add_argument(
        "--heatmap",
        type=Path,
        metavar="DIR",
        help="also write each answered radiograph with its evidence map to DIR as PNG",
    )
    classify.add_argument(
        "--dicom-out",
        type=Path,
        metavar="DIR",
        help="also write each DICOM file's result to DIR as DICOM: Structured Report and Secondary Capture",
    )
    classify.add_argument(
        "--timings",
        action="store_true",
        help="also print the time of each stage in the table (other formats always have it)",
    )
    classify.add_argument("--exact", action="store_true", help="decode JPEG files in full before they are reduced")
    classify.add_argument("--quiet", action="store_true", help="no progress on the terminal")
    options.memory(classify)
    options.threads(classify)
    options.network(classify)
    classify.set_defaults(run=_classify)

    benchmark = commands.add_parser(
        "benchmark",
        help="how fast it is on this machine",
        description="Times each stage, throughput and a whole process, and says whether the machine was slowed down.",
    )
    benchmark.add_argument(
        "--images", metavar="DIR", help="time it on these radiographs (default: on a made-up 2048 x 2048 JPEG)"
    )
    benchmark.add_argument(
        "--threads",
        type=_counts,
        default=(),
        metavar="N,N",
        help="threads for one inference, one after the other (default: 1,2,4 as far as there are cores)",
    )
    benchmark.add_argument(
        "--rounds", type=int, default=100, metavar="N", help="radiographs to time for each (default: 100)"
    )
    benchmark.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE")
    benchmark.add_argument(
        "--submit", action="store_true", help="print one row of figures to paste into an issue, instead of the table"
    )
    options.network(benchmark)
    benchmark.set_defaults(run=_benchmark)

    networks.add(commands)

    doctor = commands.add_parser(
        "doctor",
        help="one report for a bug report",
        description="Prints board, CPU, Python, runtimes and model hashes, to paste into a bug report.",
    )
    doctor.set_defaults(run=_doctor)

    watch_command.add(commands)
    serve.add(commands)
    node.add(commands)
    return parser


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid numbers of threads: {text!r}; write 1,2,4") from None


def _classify(args: argparse.Namespace) -> int:
    from . import files, output
    from .classifier import Classifier
    from .prediction import Prediction

    paths = list(find(args.paths))
    names = [path if isinstance(path, str) else path.name for path in paths]
    heatmaps = output.unique_names(names) if args.heatmap else []
    if args.dicom_out:
        from .dicom_out import results as dicom_results

        dicom_results.require()
    for folder in filter(None, (args.heatmap, args.dicom_out)):
        files.check_folder(folder)
    code, progress = OK, not args.quiet and len(paths) > 1 and sys.stderr is not None and sys.stderr.isatty()
    with silent_runtime() as err:
        classifier = Classifier(
            args.model, args.runtime, args.threads, exact=args.exact, edgetpu=args.edgetpu, unsigned="allow"
        )
        if classifier.model.signed.by is None:
            print(f"covidnet-lite: warning: {classifier.model.path}: {classifier.model.signed.objection}", file=err)
        writer = output.writer(args.format, sys.stdout, classifier.labels, args.timings)
        for i, result in enumerate(classifier.classify_many(paths)):
            if progress:
                print(CLEAR, end="", file=err, flush=True)
            result = _told(writer, result)
            heatmap = args.heatmap / heatmaps[i] if args.heatmap else None
            for why in _trouble(result, args.dicom_out, heatmap) if isinstance(result, Prediction) else []:
                print(f"covidnet-lite: error: {why}", file=err)
                code = BAD_FILE
            code = exit_codes.after(code, result)
            if progress:
                print(f"{i + 1}/{len(paths)}", end="", file=err, flush=True)
        if progress:
            print(CLEAR, end="", file=err, flush=True)
    writer.close()
    return code


def _told(writer: Writer, result: Prediction | Failure) -> Prediction | Failure:
    """Prints a result; one that cannot be printed is printed as failed."""
    from .prediction import Failure

    try:
        writer.add(result)
    except OSError:  # standard output is closed or full: no fault of this film
        raise
    except Exception as error:
        result = Failure(result.name, unforeseen(result.name, error))
        writer.add(result)
    return result


def _trouble(result: Prediction, dicom_out: Path | None, heatmap: Path | None) -> list[str]:
    """Writes the files that are asked for besides; why some of them could not be. The other films go on."""
    from . import files
    from .dicom_out import results as dicom_results

    jobs: list[Callable[[], object]] = []
    if dicom_out:
        folder = dicom_out
        jobs.append(lambda: dicom_results.write(result, result.source, folder))  # type: ignore[arg-type]
    if heatmap and result.labels and result.evidence is not None:
        path = heatmap
        jobs.append(lambda: files.write_png(path, result.heatmap()))
    told = []
    for job in jobs:
        try:
            job()
        except CovidNetLiteError as error:
            told.append(str(error))
        except Exception as error:
            told.append(str(unforeseen(result.name, error)))
    return told


def find(paths: Sequence[str]) -> Iterator[str | IO[bytes] | Member]:
    """Files as they are given, folders and zip archives searched through, ``-`` as standard input.

    Raises:
        InputError: a folder holds no radiograph, or part of it cannot be searched.
    """
    from . import archive, cases
    from .output import OURS

    def unreadable(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be searched ({error.strerror}); allow it or name the files", Code.NOT_OPENED
        )

    for path in paths:
        if path == "-":
            given = _standard_input()
            packed = given.read(4) in archive.HEADS
            given.seek(0)
            yield from archive.members(given.read(), "<stdin>") if packed else [given]
        elif os.path.isdir(path):
            files = [os.path.join(folder, n) for folder, _, names in os.walk(path, onerror=unreadable) for n in names]
            found = sorted(f for f in files if not f.endswith(OURS) and (_is_zip(f) or cases.is_radiograph(f)))
            if not found:
                raise InputError(
                    f"{path}: holds no radiograph ({', '.join(sorted(cases.SUFFIXES))}, DICOM without a suffix)",
                    Code.NO_PICTURE,
                )
            for file in found:
                yield from archive.members(file) if _is_zip(file) else [file]
        elif archive.is_archive(path):
            yield from archive.members(path)
        else:
            yield path


def _is_zip(path: str) -> bool:
    from . import archive, cases

    name = os.path.basename(path)
    return name.lower().endswith(archive.SUFFIX) and not name.startswith(cases.APPLE) and archive.is_archive(path)


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise InputError("<stdin>: is closed; give a file instead of -", Code.NOT_OPENED)
    data = io.BytesIO(sys.stdin.buffer.read())
    data.name = "<stdin>"
    return data


def _benchmark(args: argparse.Namespace) -> int:
    from . import files
    from .machine import benchmark

    if args.images == "-":
        raise InputError("-: standard input can be read only once; give a folder or a file", Code.WRONG_REQUEST)
    paths = [path for path in find([args.images] if args.images else []) if isinstance(path, str)]
    if args.json:
        files.check_folder(args.json.parent)
    with silent_runtime() as err:
        found = benchmark.measure(
            args.model, args.runtime, args.threads, paths, args.edgetpu, args.rounds, lambda t: print(t, file=err)
        )
    if args.json:
        files.write(args.json, found.to_json())
    if args.submit:
        for text in benchmark.warnings(found):
            print(f"covidnet-lite: warning: {text}", file=sys.stderr)
    print(benchmark.row(found) if args.submit else benchmark.table(found))
    return OK


def _doctor(args: argparse.Namespace) -> int:
    from .machine import doctor

    with silent_runtime():
        report = doctor.report()
    print(report)
    return OK
