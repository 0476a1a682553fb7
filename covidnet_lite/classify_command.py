"""``covidnet-lite classify``: radiographs in, a table or JSON out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import exit_codes, formats, inputs, options
from .errors import CovidNetLiteError, OutputError
from .exit_codes import BAD_FILE, OK
from .quiet import silent_runtime
from .unforeseen import unforeseen

if TYPE_CHECKING:
    from .output import Writer
    from .prediction import Failure, Prediction

CLEAR = "\r\033[K"  # clears the line with the progress
EXAMPLES = (
    "covidnet-lite classify xray.png",
    "covidnet-lite classify ward/ -f csv -o ward.csv",
    "covidnet-lite classify ward.zip --heatmap maps/",
    "curl -s https://host/xray.dcm | covidnet-lite classify - -f json",
)


def add(commands: Any, epilog: str) -> None:
    """Adds the command to those of the command line."""
    classify = commands.add_parser(
        "classify",
        help="classify radiographs",
        description=f"Classifies radiographs: {formats.NAMES}.",
        examples=EXAMPLES,
        epilog=epilog,
    )
    classify.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="files, folders (subfolders included), zip archives, or - for standard input",
    )
    classify.add_argument(
        "-f",
        "--format",
        choices=("table", "json", "jsonl", "csv"),
        default="table",
        help="output format (default: table)",
    )
    classify.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the results to FILE, completely or not at all, and print a line of counts",
    )
    classify.add_argument(
        "--heatmap",
        type=Path,
        metavar="DIR",
        help="also write each answered radiograph with its evidence map to DIR as PNG, in the same subfolders",
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
        help="also print the time of each stage in the table (the other formats always include it)",
    )
    classify.add_argument("--exact", action="store_true", help="decode JPEG at full scale before reducing it")
    classify.add_argument(
        "--exit-zero", action="store_true", help="exit with 0 even if images got no answer or could not be read"
    )
    classify.add_argument("-q", "--quiet", action="store_true", help="print no progress")
    options.classifier(classify)
    options.site(classify)
    classify.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Classifies the radiographs on the command line and prints the results; returns the exit code.

    Raises:
        InputError: a folder holds no radiograph or cannot be searched.
        OutputError: results cannot be written to the chosen place.
        ModelError, BackendError, MissingExtraError: the network, or an option, cannot be used.
    """
    from . import files, output
    from .classifier import Classifier
    from .prediction import Prediction

    paths = list(inputs.find(args.paths))
    names = [path if isinstance(path, str) else path.name for path in paths]
    maps = output.unique_names(inputs.relative_paths(names, args.paths)) if args.heatmap else []
    if args.dicom_out:
        from .dicom_out import results as dicom_results

        dicom_results.require()
    if args.output and args.output.is_dir():
        raise OutputError(f"{args.output}: is a folder; name a file")
    for folder in (args.heatmap, args.dicom_out, args.output.parent if args.output else None):
        if folder is not None:
            files.check_folder(folder)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    progress = not args.quiet and len(paths) > 1 and terminal
    code, tally = OK, output.Tally()
    with silent_runtime() as err:
        classifier = Classifier(
            args.model,
            args.runtime,
            args.threads,
            exact=args.exact,
            edgetpu=args.edgetpu,
            site=args.site,
            unsigned="allow",  # the command prints its own warning below
        )
        if classifier.model.signature.by is None:
            print(f"covidnet-lite: warning: {classifier.model.path}: {classifier.model.signature.objection}", file=err)
        with _destination(args.output) as out:
            keep = bool(args.heatmap or args.dicom_out)
            writer = output.writer(args.format, out, classifier.labels, args.timings)
            for i, result in enumerate(classifier.classify_many(paths, keep_images=keep)):
                if progress:
                    print(CLEAR, end="", file=err, flush=True)
                heatmap = args.heatmap / maps[i] if args.heatmap and _has_map(result) else None
                errors = _write_extra_files(result, args.dicom_out, heatmap) if isinstance(result, Prediction) else {}
                result = _print(writer, result, None if "heatmap" in errors else heatmap)
                tally.add(result)
                for message in errors.values():
                    print(f"covidnet-lite: error: {message}", file=err)
                code = exit_codes.after(BAD_FILE if errors else code, result)
                if progress:
                    print(f"{i + 1}/{len(paths)}", end="", file=err, flush=True)
            if progress:
                print(CLEAR, end="", file=err, flush=True)
            writer.close()
    if args.output or (args.format == "table" and len(paths) > 1):
        print(tally)
    elif progress:
        print(tally, file=sys.stderr)
    return OK if args.exit_zero else code


@contextmanager
def _destination(path: Path | None) -> Iterator[IO[str]]:
    """Where results go: standard output, or a file that appears only when it is complete."""
    from . import files

    if path is None:
        yield sys.stdout
        return
    with files.writing(path) as file:
        yield file


def _has_map(result: Prediction | Failure) -> bool:
    """Whether there is an answer whose evidence can be shown; the map of an abstention would be read as a finding."""
    return bool(result.labels) and getattr(result, "evidence", None) is not None


def _print(writer: Writer, result: Prediction | Failure, heatmap: Path | None) -> Prediction | Failure:
    """Prints a result; one that cannot be printed is printed as failed."""
    from .prediction import Failure

    try:
        writer.add(result, heatmap)
    except OSError:  # standard output is closed or full, which has nothing to do with this radiograph
        raise
    except Exception as error:
        result = Failure(result.name, unforeseen(result.name, error))
        writer.add(result)
    return result


def _write_extra_files(result: Prediction, dicom_out: Path | None, heatmap: Path | None) -> dict[str, str]:
    """Writes DICOM results and heat map; returns an error message for each kind of file that cannot be written."""
    from . import files
    from .dicom_out import results as dicom_results

    jobs: dict[str, Callable[[], object]] = {}
    if dicom_out:
        folder = dicom_out
        jobs["dicom"] = lambda: dicom_results.write(result, result.source, folder)  # type: ignore[arg-type]
    if heatmap:
        path = heatmap
        jobs["heatmap"] = lambda: files.write_png(path, result.heatmap())
    errors = {}
    for kind, job in jobs.items():
        try:
            job()
        except CovidNetLiteError as error:
            errors[kind] = str(error)
        except Exception as error:
            errors[kind] = str(unforeseen(result.name, error))
    return errors
