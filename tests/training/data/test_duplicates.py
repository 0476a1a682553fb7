from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from covidnet_lite.dataset import read_dataset
from training import dataset
from training.data.duplicates import groups, near_duplicates, trim


def drawn(seed: int, side: int = 160) -> Image.Image:
    """A picture of its own, smooth enough to be reduced."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (24, 24)).astype(np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("L")


COPIES = {
    "compressed": compressed,
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
    "brighter": lambda image: image.point(lambda v: min(255, int(v * 1.2 + 10))),
    "gamma": lambda image: image.point(lambda v: int(255 * (v / 255) ** 0.6)),
    "cropped": lambda image: image.crop((0, 3, image.width - 6, image.height - 3)),
    "mirrored": ImageOps.mirror,
    "equalised": ImageOps.equalize,
    "framed": lambda image: ImageOps.expand(image, border=(30, 4, 2, 22), fill=0),
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_are_found_and_nothing_else(way: str) -> None:
    images = [drawn(seed) for seed in range(20)]
    result = near_duplicates([*images, COPIES[way](images[3])])
    assert [pair[:2] for pair in result] == [(3, 20)]
    assert 0.8 <= result[0][2] <= 1


def test_real_copies_are_found_and_other_patients_are_not(cxr: Path) -> None:
    cases = read_dataset(cxr)[::6]
    images = dataset.decode(cases, 320)
    copied = range(0, len(images), 8)
    copies = [compressed(COPIES["cropped"](COPIES["half"](images[i]))) for i in copied]
    result = {pair[:2] for pair in near_duplicates([*images, *copies])}
    expected = {(i, len(images) + k) for k, i in enumerate(copied)}
    assert len(result & expected) >= 0.95 * len(expected)
    origin = [*range(len(images)), *copied]
    assert all(cases[origin[i]].patient == cases[origin[j]].patient for i, j in result)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    assert near_duplicates([drawn(0)] * count) == []


def test_flat_pictures_are_no_copies_of_anything() -> None:
    assert near_duplicates([Image.new("L", (100, 100), gray) for gray in (0, 90, 255)]) == []


def test_chains_of_pairs_are_one_group() -> None:
    assert groups([(0, 2, 1.0), (3, 4, 1.0), (2, 4, 1.0)], 6) == [0, 1, 0, 0, 0, 5]


def test_frames_are_trimmed_and_pictures_are_not() -> None:
    image = drawn(1)
    assert trim(image).size == image.size
    assert trim(ImageOps.expand(image, border=20, fill=30)).size == image.size
