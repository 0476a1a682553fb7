"""A server of its own for each test module, and a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def awaited(scene: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """What a coroutine gives, run in a thread of its own: Playwright's loop occupies this one until the browser ends."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, scene, *args).result()


@dataclass(frozen=True)
class Server:
    """A running ``covidnet-lite serve``."""

    url: str
    process: subprocess.Popen[str]
    client: httpx.Client

    def classify(self, *files: Path, **options: Any) -> httpx.Response:
        parts = [("file", (path.name, path.read_bytes())) for path in files]
        return self.client.post("/v1/classify", files=parts, **options)


@contextmanager
def serving(*options: object) -> Iterator[Server]:
    """The command itself, on a free port of this machine, ended at the end."""
    command = [sys.executable, "-m", "covidnet_lite", "serve", "--port", "0", "--model", "nano", *map(str, options)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.match(r"https?://[^/]+", line)
        assert url, f"no address in {line!r}"
        with httpx.Client(base_url=url[0], timeout=60) as client:
            yield Server(url[0], process, client)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the module's server keeps reviews and pictures."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def server(kept: Path) -> Iterator[Server]:
    with serving("--reviews", kept / "reviews.sqlite", "--keep", kept / "pictures", "--max-upload", 32) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Opens the page; what goes wrong in it fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_page(url: str = server.url, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1366, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # the machine may be busy
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith((url, "blob:")) or wrong.append(request.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
