"""``serve``, ``watch`` and ``node`` at work at once, each in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.node import NodeProcess

ROOT = Path(__file__).resolve().parent.parent
MODEL = "nano"


@dataclass(frozen=True)
class Services:
    """All three, started.

    Attributes:
        node: the node.
        url: of ``serve``.
        watched: the folder of ``watch``.
        results: where ``watch`` writes.
        pids: of each, by name.
        client: asks ``serve``.
    """

    node: NodeProcess
    url: str
    watched: Path
    results: Path
    pids: dict[str, int]
    client: httpx.Client
    running: dict[str, Callable[[], int | None]]

    def classify(self, path: Path, **parameters: str) -> dict[str, Any]:
        """The answer of ``serve`` to one radiograph."""
        files = {"file": (path.name, path.read_bytes())}
        (answer,) = self.client.post(f"{self.url}/v1/classify", files=files, params=parameters).json()["results"]
        return dict(answer)

    def put(self, path: Path) -> None:
        """Gives ``watch`` a copy of a radiograph, whole."""
        shutil.copy(path, self.watched / f"{path.name}.part")
        os.replace(self.watched / f"{path.name}.part", self.watched / path.name)

    @property
    def watch_count(self) -> int:
        """How many results ``watch`` has written."""
        return sum(name.endswith(".json") for name in os.listdir(self.results))

    @property
    def ended(self) -> list[str]:
        """The names of those that do not run any more."""
        return [name for name, poll in self.running.items() if poll() is not None]


@contextmanager
def command(
    *arguments: object, log: Path, out: int = subprocess.DEVNULL, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A command of the package, at work; ``before`` it may stand a program that starts it."""
    with open(log, "ab") as errors:
        line = [*before, sys.executable, "-m", "covidnet_lite", *map(str, arguments), "--model", MODEL]
        process = subprocess.Popen(line, cwd=ROOT, stdout=out, stderr=errors, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def services(
    folder: Path,
    pacs_port: int,
    settings: str,
    before: Sequence[str] = (),
    watched: Path | None = None,
    serve: Sequence[object] = (),
    watch: Sequence[object] = (),
) -> Iterator[Services]:
    """Starts all three, with their queue, results and logs in ``folder``, and ends them.

    Args:
        folder: exists.
        pacs_port: where results of the node go.
        settings: of the node, in TOML.
        before: a program that starts each.
        watched: a folder for ``watch``; ``None`` for one below ``folder``, which then has the results, too.
        serve: options of ``serve``.
        watch: options of ``watch``.
    """
    results = folder / "watched"
    results.mkdir(exist_ok=True)
    with ExitStack() as stack:
        node = NodeProcess(folder, pacs_port, settings, MODEL, before)
        stack.callback(node.kill)
        node.start()
        line = ("serve", "--port", 0, *serve)
        web = stack.enter_context(command(*line, log=folder / "serve.log", out=subprocess.PIPE, before=before))
        url = re.match(r"http://[^/]+", web.stdout.readline() if web.stdout else "")
        if url is None:
            raise RuntimeError(f"serve does not start: {(folder / 'serve.log').read_text()[-2000:]}")
        line = ("watch", watched or results, "--out", results, "--settle", "0.1", "--interval", "0.2", *watch)
        watcher = stack.enter_context(command(*line, log=folder / "watch.log", before=before))
        pids = {"serve": web.pid, "watch": watcher.pid, "node": node.pid}
        client = stack.enter_context(httpx.Client(timeout=300))
        running = {"serve": web.poll, "watch": watcher.poll, "node": node.poll}
        yield Services(node, url[0], watched or results, results, pids, client, running)
