"""Classify an archive of any size: folders or buckets of radiographs to Parquet, on Ray Data.

    pip install '.[ray,dicom]'
    python examples/screen_archive.py ARCHIVE... OUT              # this machine, one worker a core
    python examples/screen_archive.py --local ARCHIVE... OUT      # only this process, without Ray
    python examples/screen_archive.py s3://films/2020 s3://answers/2020     # any URI of pyarrow; fsspec+sftp://...

On a cluster (install the same on every machine; use paths that every machine can reach):

    ray start --head                     # on the first; `ray start --address=FIRST:6379` on the others
    python examples/screen_archive.py --cluster auto ARCHIVE... OUT

Every file below ARCHIVE gets one row in OUT/part-*.parquet; read them with `pandas.read_parquet(OUT)` or DuckDB. A
file that cannot be read, or is a link, gets a row with its reason; links are not followed. A second run, after a crash
or a year, classifies only new and changed files (by size and time) and replaces a changed file's row; --retry also
repeats failed files. Ray replaces a worker that dies and repeats its files. A file that killed three workers (memory, a
decoder that crashes) gets a row, too. Only one run at a time may write to OUT. Exit codes: 0 every file has its row;
2 the run could not finish, and what it wrote stays.

Research use only; not a medical device.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

import covidnet_lite
from covidnet_lite import files
from covidnet_lite.errors import CovidNetLiteError, DatasetError, InputError, ModelError
from covidnet_lite.network.interpreter import available_cores
from covidnet_lite.network.model import DEFAULT, Model, load
from covidnet_lite.prediction import DISCLAIMER, Failure, Prediction

TEMPORARY = ".covidnet-lite-"  # begins the names of files not yet whole; readers of Parquet pass over dots
Version = tuple[int, int]  # a file's size in bytes and time of change in ns since 1970


@dataclass(frozen=True)
class Folder:
    """A folder on any filesystem. Its files are named ``scheme + path``; a local one has no scheme."""

    filesystem: FileSystem
    scheme: str
    path: str

    @classmethod
    def at(cls, location: str) -> Folder:
        filesystem, path = FileSystem.from_uri(location) if "://" in location else (LocalFileSystem(), location)
        if "local" in filesystem.type_name:
            return cls(LocalFileSystem(), "", os.path.realpath(path))
        return cls(filesystem, location.partition("://")[0].removeprefix("fsspec+") + "://", path.rstrip("/"))

    def holds(self, name: str) -> bool:
        return name.startswith(f"{self.scheme}{self.path}".rstrip("/") + "/")

    def files(self) -> Iterator[tuple[str, Version]]:
        """All that lies below. Local links are named, not followed: they may lead out of the folder."""
        if self.scheme:
            for info in self.filesystem.get_file_info(FileSelector(self.path, recursive=True)):
                if info.type == FileType.File:
                    yield self.scheme + info.path, (info.size or 0, info.mtime_ns or 0)
            return
        folders = [self.path]
        for folder in folders:
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    status, name = entry.stat(follow_symlinks=False), os.fsencode(entry.path)
                    yield name.decode(errors="backslashreplace"), (status.st_size, status.st_mtime_ns)

    def read(self, name: str) -> str | io.BytesIO:
        """What a Classifier takes: a local path, or the bytes of an object in a bucket."""
        if not self.scheme:
            if os.path.realpath(name) != name:
                raise InputError(f"{name}: is a link, and none is followed; give the folder that it leads to")
            return name
        try:
            with self.filesystem.open_input_stream(name.removeprefix(self.scheme)) as stream:
                data = io.BytesIO(stream.read())
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: cannot be read ({error})") from error
        data.name = name
        return data


@dataclass(frozen=True)
class Table:
    """The answers of one network: a folder of Parquet files, each of them whole."""

    folder: Folder
    model: Model

    def rows(self, results: list[Prediction | Failure], versions: Iterable[Version]) -> pa.Table:
        shares = {label: f"probability_{label}" for label in self.model.manifest.labels}
        columns = dict.fromkeys(["name", "status", "label", "labels", "reason", "place"], pa.string())
        columns |= dict.fromkeys([*shares.values(), "confidence", "distance", "extent"], pa.float64())
        columns |= {"model": pa.string(), "sha256": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64()}
        metadata = {"note": DISCLAIMER, "covidnet_lite": covidnet_lite.__version__, "sha256": self.model.sha256}
        network_fields = {"model": self.model.name, "sha256": self.model.sha256}
        rows = []
        for result, (size, mtime_ns) in zip(results, versions):
            fields = {shares[label]: share for label, share in getattr(result, "probabilities", {}).items()}
            fields |= {"label": result.label, "labels": "|".join(result.labels), "reason": result.reason}
            place = getattr(result, "place", None)
            fields |= {"confidence": getattr(result, "confidence", None), "place": place.main if place else None}
            rows.append(vars(result) | fields | network_fields | {"size": size, "mtime_ns": mtime_ns})
        return pa.Table.from_pylist(rows, pa.schema(columns.items(), metadata))

    def write(self, part: str, rows: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        parquet.write_table(rows, buffer)
        self.write_bytes(part, buffer.getvalue().to_pybytes())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Under a temporary name, then renamed."""
        if not self.folder.scheme:
            files.write(f"{self.folder.path}/{name}", data)
            return
        temporary = f"{self.folder.path}/{TEMPORARY}{secrets.token_hex(8)}"
        with self.folder.filesystem.open_output_stream(temporary) as stream:
            stream.write(data)
        self.folder.filesystem.move(temporary, f"{self.folder.path}/{name}")

    def complete(self, archive: dict[str, Version], retry: bool) -> set[str]:
        """The files that have their row; drops rows of changed files, and what a killed run left half written."""
        filesystem, parts, complete = self.folder.filesystem, [], set()
        filesystem.create_dir(self.folder.path, recursive=True)
        for info in filesystem.get_file_info(FileSelector(self.folder.path)):
            if info.base_name.startswith(TEMPORARY):
                filesystem.delete_file(info.path)
            elif info.base_name.startswith("part-") and info.extension == "parquet":
                parts.append(info.path)
        for part in parts:
            file, keep = parquet.ParquetFile(part, filesystem=filesystem), []
            if (file.schema_arrow.metadata or {}).get(b"sha256") != self.model.sha256.encode():
                raise DatasetError(f"{part}: holds answers of another network; choose another folder for these")
            columns = file.read(["name", "status", "size", "mtime_ns"]).columns
            for name, status, *version in zip(*(column.to_pylist() for column in columns)):
                same = archive.get(name, tuple(version)) == tuple(version)  # one no longer there keeps its row
                keep.append(same and name not in complete and not (retry and status == "failed"))
                complete |= {name} if keep[-1] else set()
            if not all(keep):
                self.write(os.path.basename(part), file.read().filter(pa.array(keep)))
        return complete


class Worker:
    """One warm network on one core: a batch of files in, one part of the table written, and how it went."""

    def __init__(self, archive: list[Folder], out: Folder, model: str, sha256: str) -> None:
        self.classifier = covidnet_lite.Classifier(model, threads=1)
        self.archive, self.table = archive, Table(out, self.classifier.model)
        if self.table.model.sha256 != sha256:
            raise ModelError(f"{model}: is another network on this machine; install the same everywhere")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        trail = TEMPORARY + batch["part"]
        results = list(self.classify(list(batch["name"]), trail))
        self.table.write(batch["part"], self.table.rows(results, zip(batch["size"], batch["mtime_ns"])))
        with contextlib.suppress(FileNotFoundError):  # another attempt at this batch was faster
            self.table.folder.filesystem.delete_file(f"{self.table.folder.path}/{trail}")
        return {"statuses": [result.status for result in results]}

    def classify(self, names: list[str], trail: str) -> Iterator[Prediction | Failure]:
        """In order. Where a trail lies already, a worker died over this batch: it then says over which file."""
        try:
            with self.table.folder.filesystem.open_input_stream(f"{self.table.folder.path}/{trail}") as stream:
                deaths = Counter(stream.read().decode().split("\0"))
        except FileNotFoundError:
            deaths = None
            self.table.write_bytes(trail, b"")
        for name in names:
            try:
                if deaths is not None:
                    if deaths[name] == 2:
                        raise InputError(f"{name}: three workers died while they read it")
                    self.table.write_bytes(trail, "\0".join([*deaths.elements(), name]).encode())
                folder = next(folder for folder in self.archive if folder.holds(name))
                yield self.classifier.classify(folder.read(name))
            except CovidNetLiteError as error:
                yield Failure(name, error)


def batches(names: list[str], archive: dict[str, Version], size: int) -> Iterator[dict[str, Any]]:
    """A batch's part is named after what is in it, so that doing it twice writes the same file twice."""
    for start in range(0, len(names), size):
        chunk = names[start : start + size]
        sizes, times = zip(*(archive[name] for name in chunk))
        digest = hashlib.sha256(repr((chunk, sizes, times)).encode()).hexdigest()
        yield {"part": f"part-{digest[:32]}.parquet", "name": chunk, "size": sizes, "mtime_ns": times}


def on_ray(
    work: list[dict[str, Any]], args: argparse.Namespace, worker_arguments: tuple[Any, ...]
) -> Iterator[dict[str, Any]]:
    """Each batch a task for a pool of Workers. Ray replaces a Worker that dies, and gives its batch to another."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
    import ray.data

    options = {"num_cpus": args.workers or available_cores(), "include_dashboard": False}
    ray.init(args.cluster, log_to_driver=False, **(options if args.cluster == "local" else {}))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.raise_original_map_exception = False, True
    size = min(len(work), args.workers or int(ray.cluster_resources()["CPU"]))
    pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
    data = ray.data.from_items(work, override_num_blocks=len(work))
    yield from data.map(Worker, fn_constructor_args=worker_arguments, compute=pool, num_cpus=1).iter_rows()


def screen(args: argparse.Namespace) -> None:
    folders, table = [Folder.at(location) for location in args.archive], Table(Folder.at(args.out), load(args.model))
    archive = {name: version for folder in folders for name, version in folder.files() if not table.folder.holds(name)}
    if not archive:
        raise InputError(f"{', '.join(args.archive)}: holds no file (what lies in {args.out} does not count)")
    missing, statuses = sorted(archive.keys() - table.complete(archive, args.retry)), Counter()
    print(f"{len(archive)} files, {len(missing)} to classify", file=sys.stderr)
    if missing:
        work = list(batches(missing, archive, max(args.batch, 1)))
        make = (folders, table.folder, args.model, table.model.sha256)
        for result in map(Worker(*make), work) if args.local else on_ray(work, args, make):
            statuses.update(result["statuses"])
            print(f"\r{statuses.total()}/{len(missing)}", end="", file=sys.stderr, flush=True)
    counts = "".join(f", {count} {status}" for status, count in sorted(statuses.items()))
    print(f"{statuses.total()} classified{counts} -> {args.out}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="+", help="folders, or URIs of folders, searched through")
    parser.add_argument("out", help="folder, or URI of one, for the Parquet files")
    parser.add_argument("--model", default=DEFAULT, help="a network's name, or a .tflite that every machine sees")
    parser.add_argument("--batch", type=int, default=256, help="files in a part (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="default: one a core; more pay where files come slowly")
    parser.add_argument("--retry", action="store_true", help="do again what failed")
    parser.add_argument("--local", action="store_true", help="in this process, without Ray")
    address = os.environ.get("RAY_ADDRESS", "local")
    parser.add_argument("--cluster", default=address, metavar="ADDRESS", help="of a running Ray cluster, or auto")
    try:
        screen(parser.parse_args(argv))
    except (CovidNetLiteError, ImportError, OSError, ValueError) as error:
        # Ray adds its own traces to what a Worker raised.
        message = str(getattr(error, "cause", error)).partition("\n")[0]
        print(f"\nscreen_archive: error: {message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
