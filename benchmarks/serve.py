"""The page and its server: ``python benchmarks/serve.py``; needs the extras ``web`` and ``test``, and chromium.

* from the moment a file is chosen to its answer on the screen, against ``classify`` of the same file;
* fifty uploads at once: errors, seconds, the server's peak memory; and its memory when idle.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

import covidnet_lite
from covidnet_lite.machine import board
from covidnet_lite.machine.benchmark import synthetic_radiograph
from covidnet_lite.network.interpreter import available_cores

ROOT = Path(__file__).resolve().parent.parent

AT_ONCE = 50


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """The address and the process number of a server of its own."""
    command = [sys.executable, "-m", "covidnet_lite", "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        match = re.match(r"http://[^/]+", line)
        if not match:
            sys.exit("the server did not start; covidnet-lite serve says why")
        yield match[0], process.pid
    finally:
        process.terminate()
        process.wait(30)


def on_screen(url: str, image: Path, rounds: int) -> float:
    """Median milliseconds from a file's choice to its answer and its evidence map on the screen."""
    from playwright.sync_api import sync_playwright

    milliseconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 800})
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        for _ in range(rounds):
            page.set_input_files("#files", str(image))
            element = page.wait_for_selector("#detail-list dd:has-text('after it was opened')")
            milliseconds.append(float(re.sub(r"\D.*", "", element.inner_text() if element else "")))
            page.click("#clear")
        browser.close()
    return statistics.median(milliseconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="films to show (default: 30)")
    args = parser.parse_args()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder, serving() as (url, pid):
        image = synthetic_radiograph(Path(folder) / "picture.jpg")
        idle = board.memory_mib("VmRSS", pid)
        classifier, milliseconds = covidnet_lite.Classifier(), []
        for _ in range(args.rounds):
            start = time.perf_counter()
            classifier.classify(image)
            milliseconds.append((time.perf_counter() - start) * 1e3)
        median = statistics.median(milliseconds)
        if shutil.which("chromium"):
            total, limit = on_screen(url, image, args.rounds), 1.5 * median + 100
            print(f"answer on the screen  {total:.0f} ms; classify {median:.0f} ms; asked for: {limit:.0f} ms")
        data = image.read_bytes()

        def upload(_: int) -> int:
            return httpx.post(f"{url}/v1/classify", files={"file": ("x.jpg", data)}, timeout=120).status_code

        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            codes = list(pool.map(upload, range(AT_ONCE)))
        seconds = time.perf_counter() - start
        print(
            f"{AT_ONCE} uploads at once     {codes.count(200)} answered, {seconds:.2f} s; memory {idle:.0f} MB idle "
            f"(asked for: 120), {board.memory_mib('VmHWM', pid):.0f} MB at most (asked for: 300)"
        )


if __name__ == "__main__":
    main()
