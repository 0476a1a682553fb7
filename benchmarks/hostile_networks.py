"""Networks that somebody damaged: none is taken for the one that was shipped, and none ends whoever loads it.

    python benchmarks/hostile_networks.py --damaged 10000 --resealed 2000

``--damaged``: so many flips, cuts and splices of the shipped files, each to be refused. ``--resealed``: so many graphs
with flipped bits, sealed anew as anybody can, and loaded here; if this program ends before its last line, one of them
ended it.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import covidnet_lite
from covidnet_lite.errors import ModelError
from covidnet_lite.network import model, trial
from covidnet_lite.network.manifest import seal


def damage(data: bytes, rng: random.Random) -> bytes:
    """A file with some bits flipped, a part cut out or put elsewhere, or its end lost; never as it was."""
    start, end = sorted(rng.sample(range(len(data)), 2))
    kind = rng.choice(("flip", "cut", "splice", "truncation"))
    if kind == "truncation":
        return data[:start]
    if kind == "cut":
        return data[:start] + data[end:]
    if kind == "splice":
        return data[:start] + data[end : end + 1 + rng.randrange(1000)] + data[start:]
    return flip(data, rng, rng.randrange(1, 5))


def flip(data: bytes, rng: random.Random, bits: int) -> bytes:
    """A file with so many different bits flipped."""
    changed = bytearray(data)
    for position in rng.sample(range(8 * len(data)), bits):
        changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def graph(data: bytes) -> bytes:
    """The flatbuffer of a sealed network."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return data[: min(entry.header_offset for entry in archive.infolist())]


def reseal(network: model.Model, seed: int) -> bytes:
    """A network with one to eight bits of its graph flipped, half of them in its structure, and a seal that fits."""
    rng, flatbuffer = random.Random(seed), graph(network.data)
    bits = 1 << rng.randrange(4)
    if seed % 2:
        return seal(flip(flatbuffer, rng, bits), network.manifest)
    # The tables lie before and behind the weights.
    structure = rng.choice((slice(0, 4096), slice(len(flatbuffer) - 65536, len(flatbuffer))))
    part = flip(flatbuffer[structure], rng, bits)
    start, stop, _ = structure.indices(len(flatbuffer))
    return seal(flatbuffer[:start] + part + flatbuffer[stop:], network.manifest)


def main() -> int:
    """Runs it; 1 where a damaged file was taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damaged", type=int, default=10_000)
    parser.add_argument("--resealed", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="of the resealed ones, to go on")
    args = parser.parse_args()
    networks = [model.load(name) for name in model.shipped()]
    accepted = 0
    for seed in range(args.damaged):
        try:
            model.verify(damage(networks[seed % 2].data, random.Random(seed)), Path(f"damaged-{seed}.tflite"))
            accepted += 1
            print(f"damaged file {seed} was taken")
        except ModelError:
            pass
    print(f"{args.damaged - accepted} of {args.damaged} damaged files were refused", flush=True)
    results: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[trial.CACHE] = folder
        path = Path(folder) / "resealed.tflite"
        for seed in range(args.first, args.first + args.resealed):
            path.write_bytes(reseal(networks[seed % len(networks)], seed // len(networks)))
            result = "loaded and answered"
            try:
                network = covidnet_lite.Classifier(path, unsigned="allow")
                next(network.classify_many([noise()]))
            except covidnet_lite.CovidNetLiteError as error:
                result = re.sub(r"\(.*?\)|.*tflite: ", "", str(error)).partition(";")[0].strip()
                if "signal" in result:
                    print(f"seed {seed}: {result}", flush=True)
            results[result] += 1
    for result, times in results.most_common():
        print(f"{times:6}  {result}")
    print(f"{args.resealed} flips with a new seal, and this program lives")
    return 1 if accepted else 0


def noise() -> Image.Image:
    """An image of noise."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8))


if __name__ == "__main__":
    sys.exit(main())
