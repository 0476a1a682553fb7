"""Calibration without data: ``python benchmarks/without_data.py [--only NAME ...]``.

The networks of ``benchmarks/families.py``, trained there or here, are calibrated on 200 pictures, on 32 of plain 1/f
noise, and on 32 whose statistics match those that batch normalisation remembers. Each is judged by how often int8 names
the class that float names, and by the error of its logits, which tells more from as many pictures. A JSON a network is
kept in ``--folder``: what is there is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import families, shapes
from benchmarks.family_networks import NETWORKS, Member
from convert.judge.network_outputs import outputs
from convert.quantisation import activations, synthetic
from convert.quantisation.representative_images import pixels
from convert.quantisation.scheme import quantise
from convert.source import network
from convert.source.network import FloatNetwork
from convert.source.scaling import PRESETS
from covidnet_lite import files
from covidnet_lite.dataset import read_cases
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify

ROOT = Path(__file__).resolve().parent.parent

MADE = 32  # pictures without data
CLIPS = ("min-max", "mse")
Judged = tuple[float, float]  # agreement in percent; error of the logits against their spread


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration without data, network by network.")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/families", help="what was measured, and networks")
    parser.add_argument("--only", nargs="*", default=[*NETWORKS], choices=NETWORKS, help="names (default: all)")
    parser.add_argument("--seconds", type=int, default=families.SECONDS, help="of training, of processor time")
    args = parser.parse_args()
    families.SECONDS = args.seconds
    for name in args.only:
        kept = args.folder / f"{families.slug(name)}-without-data.json"
        if not kept.is_file():
            files.write(kept, json.dumps(measure(name, NETWORKS[name], args.folder), indent=1) + "\n")
        print(name, json.dumps(json.loads(kept.read_text())), flush=True)


def measure(name: str, member: Member, folder: Path) -> dict[str, Any]:
    """Everything of one network."""
    path = folder / f"{families.slug(name)}{member.suffix}"
    if not path.exists():
        families.trained(name, member, folder)
    size = f"{len(member.labels)}-{member.side}"
    for what, count, seed in (("calibration", families.CALIBRATION, 2), ("judged", families.JUDGED, 3)):
        if not (folder / f"{what}-{size}").is_dir():
            shapes.write(folder / f"{what}-{size}", member.labels, count, member.side, seed)
    net = network.load(path, member.labels, scaled=PRESETS[member.preset] if member.said else None)
    calibration, judged = (pixels(read_cases(folder / f"{w}-{size}"), net.spec) for w in ("calibration", "judged"))
    judge = judging(net, judged)
    told: dict[str, Any] = {"near": families.near(families.probabilities(answers(net, net.tflite, judged)))}
    began = time.process_time()
    matched = synthetic.make(net.model, net.spec, MADE)
    told["matched"], told["seconds of matching"] = matched.matched, round(time.process_time() - began)
    noise = synthetic.make(None, net.spec, MADE).images
    for what, images in (("pictures", calibration), ("noise", noise), ("matching", matched.images)):
        known = activations.by_tensor(activations.record(net, images), net)
        told[what] = {
            clip: judge(quantise(net.tflite, "int8", {t: a.range(clip) for t, a in known.items()})) for clip in CLIPS
        }
    return told


def answers(net: FloatNetwork, graph: bytes, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    manifest = Manifest("net", net.labels, net.spec, net.outputs)
    return outputs(verify(seal(graph, manifest), Path("net")), pictures)["logits"]


def judging(net: FloatNetwork, pictures: npt.NDArray[np.uint8]) -> Callable[[bytes], Judged]:
    """What tells how near a graph is to float."""
    floats = answers(net, net.tflite, pictures)

    def judge(graph: bytes) -> Judged:
        found = answers(net, graph, pictures)
        same = float((found.argmax(1) == floats.argmax(1)).mean())
        return round(100 * same, 2), round(float(np.sqrt(((found - floats) ** 2).mean()) / floats.std()), 4)

    return judge


if __name__ == "__main__":
    main()
