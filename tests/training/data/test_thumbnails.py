from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

from conftest import drawn_chest
from PIL import Image

from covidnet_lite.dataset import LabelledImage
from training.data.thumbnails import SIDE, page


@dataclass(frozen=True)
class Film:
    case: LabelledImage
    image: Image.Image


def films(count: int) -> list[Film]:
    image = drawn_chest(0, opaque=True, side=200)
    return [
        Film(LabelledImage(Path(f"{i}.png"), ("clear", "clouded")[i % 2], f"p{i}", "drawn"), image)
        for i in range(count)
    ]


def test_the_page_needs_nothing_else_and_shows_small_pictures() -> None:
    text = page(films(6), {})
    assert "http" not in text
    assert "<script" not in text
    result = re.findall(r'src="([^"]*)"', text)
    assert len(result) == 6
    prefix = "data:image/jpeg;base64,"
    assert all(source.startswith(prefix) for source in result)
    assert max(Image.open(io.BytesIO(base64.b64decode(result[0][len(prefix) :]))).size) == SIDE
    assert text.count('loading="lazy"') == 6
    assert "prefers-color-scheme: dark" in text


def test_suspicious_films_come_first_with_their_reason() -> None:
    text = page(films(6), {4: ["looks turned left (99% sure)"]})
    assert text.index("4.png") < text.index("0.png")
    assert "looks turned left (99% sure)" in text
    assert "clear, drawn: suspicious: 1" in text
    assert "patient p4" in text
    assert "6 radiographs, 1 suspicious" in text


def test_a_long_group_is_cut_and_says_so() -> None:
    text = page(films(30), {}, limit=10)
    assert text.count("<img") == 20
    assert text.count("5 more were left out") == 2


def test_names_are_no_markup() -> None:
    nasty = Film(LabelledImage(Path('"><script>x</script>.png'), "<b>", "<i>", "<u>"), drawn_chest(0, opaque=False))
    text = page([nasty], {0: ["<em>"]})
    assert not re.search(r"<(script|b|i|u|em)>", text)
