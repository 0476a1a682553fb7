"""Calibration without data: ``python benchmarks/without_data.py [--only NAME ...]``.

The networks of ``benchmarks/families.py``, trained there or here, are calibrated on 200 images, on 32 of plain 1/f
noise, and on 32 whose statistics match those that batch normalisation stores. Each is judged by how often int8 names
the class that float names, and by the divergence of its probabilities, which is more precise on as many images. A JSON
a network is stored in ``--folder``: what is there is not measured again.
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
from scipy.special import rel_entr, softmax

from benchmarks import families
from benchmarks.family_networks import NETWORKS, Member
from convert.judge.network_outputs import outputs
from convert.quantisation import activations, synthetic
from convert.quantisation.representative_images import pixels
from convert.quantisation.scheme import quantise
from convert.source import network
from convert.source.network import FloatNetwork
from convert.source.scaling import PRESETS
from covidnet_lite import files
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.model import verify

ROOT = Path(__file__).resolve().parent.parent

MADE = 32  # images without data
CLIPS = ("min-max", "percentile")
Judged = tuple[float, float]  # agreement in percent; divergence of the probabilities in nats


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration without data, network by network.")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/families", help="what was measured, and networks")
    parser.add_argument("--only", nargs="*", default=[*NETWORKS], choices=NETWORKS, help="names (default: all)")
    parser.add_argument("--seconds", type=int, default=families.SECONDS, help="of training, of processor time")
    args = parser.parse_args()
    families.SECONDS = args.seconds
    for name in args.only:
        result = args.folder / f"{families.slug(name)}-without-data.json"
        if not result.is_file():
            files.write(result, json.dumps(measure(name, NETWORKS[name], args.folder), indent=1) + "\n")
        print(name, json.dumps(json.loads(result.read_text())), flush=True)


def measure(name: str, member: Member, folder: Path) -> dict[str, Any]:
    """Everything of one network."""
    path = folder / f"{families.slug(name)}{member.suffix}"
    if not path.exists():
        families.trained(name, member, folder)
    paths = families.images(member, folder)[:2]
    net = network.load(path, member.labels, scaled=PRESETS[member.preset] if member.said else None)
    calibration, judged = (pixels([LabelledImage(image) for image in some], net.spec) for some in paths)
    compare = comparison(net, judged)
    result: dict[str, Any] = {"near": families.near(families.probabilities(answers(net, net.tflite, judged)))}
    began = time.process_time()
    matched = synthetic.make(net.model, net.spec, MADE)
    result["matched"], result["seconds of matching"] = matched.matched, round(time.process_time() - began)
    noise = synthetic.make(None, net.spec, MADE).images
    for origin, images in (("images", calibration), ("noise", noise), ("matching", matched.images)):
        recorded = activations.by_tensor(activations.record(net, images), net)
        result[origin] = {
            clip: compare(quantise(net.tflite, "int8", {t: a.range_in_8_bits(clip) for t, a in recorded.items()}))
            for clip in CLIPS
        }
    return result


def answers(net: FloatNetwork, graph: bytes, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    manifest = Manifest("net", net.labels, net.spec, net.outputs)
    return outputs(verify(seal(graph, manifest), Path("net")), images)["logits"]


def comparison(net: FloatNetwork, images: npt.NDArray[np.uint8]) -> Callable[[bytes], Judged]:
    """A function of a graph: how near it is to float on these images."""
    floats = answers(net, net.tflite, images)

    def compare(graph: bytes) -> Judged:
        logits = answers(net, graph, images)
        same = float((logits.argmax(1) == floats.argmax(1)).mean())
        return round(100 * same, 2), round(
            float(rel_entr(softmax(floats, axis=1), softmax(logits, axis=1)).sum(axis=1).mean()), 5
        )

    return compare


if __name__ == "__main__":
    main()
