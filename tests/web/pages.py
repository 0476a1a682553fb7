"""What the tests of the page do with it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

DONE = ".word.pending"
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def load(page: Any, *files: Path) -> None:
    """Opens films as the file chooser would, and waits for their answers."""
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#files", [str(path) for path in files])
    page.wait_for_selector("#rows tr")
    page.wait_for_selector(DONE, state="detached")
    page.wait_for_selector("#stage-message", state="hidden")


def copies(film: Path, number: int) -> list[Path]:
    """The same film under many names."""
    made = [film.with_name(f"{i:02}.png") for i in range(number)]
    for path in made:
        path.write_bytes(film.read_bytes())
    return made


def fields(page: Any) -> Image.Image:
    """The canvas as the screen has it, reduced to nine times nine fields."""
    page.wait_for_timeout(150)
    shot = Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("RGB")
    return shot.resize((9, 9), Image.Resampling.BOX)


def middle(page: Any) -> tuple[int, ...]:
    """Colour where the film's lung is."""
    return tuple(int(v) for v in fields(page).getpixel((5, 3)))


def colourfulness(page: Any) -> int:
    """How far the most colourful field of the film is from gray."""
    lungs = fields(page).crop((2, 2, 7, 7))
    return max(max(colour) - min(colour) for _, colour in lungs.getcolors())
