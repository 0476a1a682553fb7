"""What the tests of the page do with it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

PENDING = ".word.pending"
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def load(page: Any, *files: Path) -> None:
    """Opens radiographs with the file chooser, and waits for their answers."""
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#files", [str(path) for path in files])
    page.wait_for_selector("#rows tr")
    page.wait_for_selector(PENDING, state="detached")
    page.wait_for_selector("#stage-message", state="hidden")


def copies(radiograph: Path, number: int) -> list[Path]:
    """The same radiograph under many names."""
    paths = [radiograph.with_name(f"{i:02}.png") for i in range(number)]
    for path in paths:
        path.write_bytes(radiograph.read_bytes())
    return paths


def fields(page: Any) -> Image.Image:
    """The canvas on the screen, reduced to nine times nine fields."""
    page.wait_for_timeout(150)
    shot = Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("RGB")
    return shot.resize((9, 9), Image.Resampling.BOX)


def lung_colour(page: Any) -> tuple[int, ...]:
    """The colour of a field in the left lung."""
    return tuple(int(v) for v in fields(page).getpixel((5, 3)))


def colourfulness(page: Any) -> int:
    """How far the most colourful field of the lungs is from gray."""
    lungs = fields(page).crop((2, 2, 7, 7))
    return max(max(colour) - min(colour) for _, colour in lungs.getcolors())


def focused(page: Any) -> str:
    """The id or the text of the focused element."""
    page.wait_for_timeout(150)  # the browser takes the focus from disabled elements only later
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"))
