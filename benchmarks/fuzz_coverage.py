"""Fuzzing led by coverage: python benchmarks/fuzz_coverage.py TARGET [FOLDER] [options of libFuzzer].

    python benchmarks/fuzz_coverage.py manifest build/fuzz/manifest -max_total_time=60

Targets: ``picture``, ``dicom``, ``archive``, ``manifest``, ``sealed``, ``settings``, ``queue``, ``multipart``. The
seeds are the made-up radiographs of ``benchmarks/fuzz.py`` and what this program writes; FOLDER keeps what opened new
paths. An error of another family than the package's own ends it, and libFuzzer writes the input to a file: it belongs
in ``tests/fuzzed/TARGET``. Needs the extra ``fuzz`` (atheris: Linux and macOS).
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

with atheris.instrument_imports(include=["covidnet_lite", "pydicom", "python_multipart", "starlette.formparsers"]):
    from benchmarks import fuzz
    from convert.judge.guard import fit_guard
    from covidnet_lite import archive, radiograph
    from covidnet_lite.errors import CovidNetLiteError
    from covidnet_lite.network import manifest
    from covidnet_lite.network.input_spec import InputSpec
    from covidnet_lite.node import settings
    from covidnet_lite.node.queue import Queue
    from covidnet_lite.web.admission import Admission
    from covidnet_lite.web.settings import Settings
    from covidnet_lite.web.uploads import receive_upload

AT_LEAST = (240, 240)
Target = Callable[[bytes], object]


def read_radiograph(data: bytes) -> None:
    """As ``classify`` reads a file."""
    radiograph.read(data, AT_LEAST, "fuzzed")


def read_archive(data: bytes) -> None:
    """A zip of radiographs, as ``classify`` and ``serve`` unpack it."""
    for member in archive.members(data):
        with suppress(CovidNetLiteError):
            member.read(1 << 20)


def read_manifest(data: bytes) -> None:
    """A manifest in JSON."""
    manifest.Manifest.from_json(data)


def read_sealed(data: bytes) -> None:
    """The archive at the end of a network whose seal fits."""
    manifest.unseal(data, "fuzzed", hash_checked=True)


def read_settings(data: bytes) -> None:
    """A node's TOML file."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        settings.build(settings.read(Path(file.name)), Path("/"))


def read_queue(data: bytes) -> None:
    """A queue in which a kill or a stranger left files of any name."""
    with tempfile.TemporaryDirectory() as folder:
        parts = "received", "outgoing", "sent", "failed", "to", "to/pacs"
        for i, name in enumerate(data.split(b"\n")[:8]):
            with suppress(OSError, ValueError):
                path = Path(folder) / parts[i % 6] / name.decode("utf-8", "replace").replace("/", "_")
                path.parent.mkdir(exist_ok=True, parents=True)
                path.mkdir() if i % 3 == 1 else path.write_bytes(name)
        queue = Queue(Path(folder), settings.Limits(free_mb=0), ("pacs",))
        try:
            arrival = queue.next()
            if arrival is not None:
                queue.finish(queue.begin(arrival), {}, {"pacs": [b"x"]})
            outbox = queue.outboxes["pacs"]
            for parcel in outbox.parcels():
                _ = parcel.story
                for path in parcel.objects:
                    outbox.mark_sent(path)
                outbox.close(parcel) if (parcel.folder / "film.json").is_file() else outbox.reject(parcel, "no")
            for item in queue.quarantine.items():
                _ = item.reason, item.story
            queue.forget()
        finally:
            queue.close()


def read_multipart(data: bytes) -> None:
    """An upload, as ``serve`` takes it apart: its content type in the first line, then the body, in pieces."""
    kind, _, body = data.partition(b"\n")
    pieces = [body[at : at + 97] for at in range(0, len(body), 97)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces[:-1]]
    messages.append({"type": "http.request", "body": pieces[-1], "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    async def take() -> None:
        request = Request({"type": "http", "headers": [(b"content-type", kind)]}, receive)
        async with receive_upload(request, Settings(most_bytes=1 << 20, most_files=4), Admission(1 << 22, 1)):
            pass

    with suppress(HTTPException):
        asyncio.run(take())


TARGETS: dict[str, Target] = {
    "picture": read_radiograph,
    "dicom": read_radiograph,
    "archive": read_archive,
    "manifest": read_manifest,
    "sealed": read_sealed,
    "settings": read_settings,
    "queue": read_queue,
    "multipart": read_multipart,
}


def seeds(target: str) -> dict[str, bytes]:
    """Name -> a sound input."""
    if target in ("picture", "dicom"):
        return {n: d for n, d in fuzz.seeds().items() if n.startswith("DICOM") == (target == "dicom")}
    import numpy as np

    rng = np.random.default_rng(0)
    guard = fit_guard(rng.normal(size=(30, 8)), rng.normal(size=(30, 8)))
    own = manifest.Manifest("n", ("a", "b"), InputSpec(8, 8), {"logits": 0, "embedding": 1}, guard=guard)
    toml = b'queue = "q"\nport = 0\n[pacs]\nae_title = "X"\nhost = "h"\nport = 1\n[limits]\nfilms = 3\n'
    key = b"0123456789abcdef0123456789abcdef"
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("ward/", "ward/a.png", "b", "c.zip"):
            file.writestr(name, b"\x89PNG" * 9)
    form = b'multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name="file"; filename='
    return {
        "archive": {"zip": zipped.getvalue()},
        "manifest": {"json": own.to_json().encode()},
        "sealed": {"sealed": manifest.seal(b"x" * 99, own)},
        "settings": {"toml": toml},
        "queue": {"names": key + b".0.dcm\n" + key + b"\n" + key + b".json\n.covidnet-lite-1\n"},
        "multipart": {
            "file": form + b'"x.png"\r\n\r\n\x89PNG\r\n--b--\r\n',
            "archive": form + b'"x.zip"\r\n\r\n' + zipped.getvalue() + b"\r\n--b--\r\n",
        },
    }[target]


def main() -> None:
    """Fuzzes one target."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"{__doc__}\nname one of {', '.join(TARGETS)}")
    target, options = sys.argv[1], sys.argv[2:]
    run = TARGETS[target]
    logging.disable()
    warnings.simplefilter("ignore")

    def once(data: bytes) -> None:
        with suppress(CovidNetLiteError):
            run(data)

    folder = Path(tempfile.mkdtemp(prefix="seeds-"))
    for i, data in enumerate(seeds(target).values()):
        (folder / str(i)).write_bytes(data)
    atheris.Setup([sys.argv[0], *options, str(folder)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
