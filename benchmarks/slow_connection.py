"""The page over a slow connection: ``python benchmarks/slow_connection.py``; needs ``web``, ``test`` and chromium.

A proxy limits both directions to ``--rate``. For one, two and three radiographs of about 7 MB at once, the script
prints when the last answer is on the screen, in multiples of the time that the uploads take at that rate. The exit
status is 1 if a radiograph fails or a multiple is 1.2 or more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from benchmarks.serve import serving

CHUNK = 4 << 10  # bytes
CATCH_UP = 0.2  # seconds by which a sleep may end late without lowering the rate
SIDE = 2646  # pixels of a noisy radiograph of 7 MB
LIMIT = 1.2


@dataclass
class Direction:
    """The capacity of the connection in one direction, which all requests share."""

    rate: float  # bytes a second
    free_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK):
                async with self.lock:  # first come, first served
                    now = asyncio.get_running_loop().time()
                    self.free_at = max(self.free_at, now - CATCH_UP) + len(chunk) / self.rate
                    await asyncio.sleep(max(0, self.free_at - now))
                writer.write(chunk)
                await writer.drain()
        writer.close()


@contextmanager
def slow(url: str, rate: float) -> Iterator[str]:
    """The address of a proxy that forwards at most ``rate`` bytes a second in each direction."""
    target = urlsplit(url)
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * CHUNK)  # else much of an upload would lie here
    up, down = Direction(rate), Direction(rate)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(target.hostname, target.port, limit=CHUNK)
        await asyncio.gather(up.copy(reader, server_writer), down.copy(server_reader, writer))

    async def start() -> None:
        await asyncio.start_server(connect, sock=listener, limit=CHUNK)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def radiographs(folder: Path, number: int) -> list[Path]:
    """Files of about 7 MB: noise does not compress."""
    paths = [folder / f"{i}.png" for i in range(number)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (SIDE, SIDE), np.uint8)).save(path, compress_level=1)
    return paths


def seconds_to_answers(url: str, paths: list[Path]) -> tuple[float, list[str]]:
    """Seconds from choosing the files to the last answer on the screen, and the answers."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 800})
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        start = time.monotonic()
        page.set_input_files("#files", [str(path) for path in paths])
        page.wait_for_selector("#rows tr")
        page.wait_for_selector(".word.pending", state="detached", timeout=0)
        seconds = time.monotonic() - start
        answers = page.locator("#rows td.word").all_inner_texts()
        browser.close()
    return seconds, answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1.0, help="Mbit/s in each direction (default: 1)")
    parser.add_argument(
        "--at-once", type=int, nargs="+", default=[1, 2, 3], help="radiographs at once (default: 1 2 3)"
    )
    args = parser.parse_args()
    rate = args.rate * 1e6 / 8
    failed = False
    for number in args.at_once:
        with tempfile.TemporaryDirectory() as folder, serving() as (url, _), slow(url, rate) as address:
            paths = radiographs(Path(folder), number)
            size = sum(path.stat().st_size for path in paths)
            seconds, answers = seconds_to_answers(address, paths)
        ratio = seconds / (size / rate)
        failed |= ratio >= LIMIT or "failed" in answers
        print(
            f"{number} at once, {size / 1e6:.1f} MB at {args.rate:g} Mbit/s: answered after {seconds:.1f} s, "
            f"{ratio:.2f} times the upload's {size / rate:.1f} s ({', '.join(answers)})",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
