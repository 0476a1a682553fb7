"""A page of thumbnails: one HTML file that needs nothing else, for looking through a set of radiographs."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from covidnet_lite.dataset import LabelledImage

SIDE = 112  # pixels of a thumbnail's longer side
QUALITY = 60  # of its JPEG
# Radiographs of one label and source, and as many suspicious ones; the page says how many were left out.
MAX_SHOWN = 300

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fbfbfa; --line: #d5d8dc; --warn: #a33a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --paper: #15181b; --line: #3a4046; --warn: #ffa468; } }
body { margin: 1.5rem; font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); gap: 14px 10px; }
figure { margin: 0; content-visibility: auto; contain-intrinsic-size: auto 128px auto 190px; }
img { display: block; height: 112px; max-width: 100%; object-fit: contain; object-position: left; background: #000; }
figcaption { font-size: 11.5px; line-height: 1.3; margin-top: 3px; overflow-wrap: anywhere; }
.why { color: var(--warn); font-weight: 600; }
"""


class ImageOfCase(Protocol):
    """What a thumbnail is made of."""

    @property
    def case(self) -> LabelledImage: ...

    @property
    def image(self) -> Image.Image: ...


def page(items: Sequence[ImageOfCase], reasons: Mapping[int, Sequence[str]], limit: int = MAX_SHOWN) -> str:
    """HTML: suspicious radiographs first with their ``reasons`` (index -> sentences), then all others by label and
    source."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        groups[item.case.label, item.case.source].append(i)
    parts = [f"<h1>{len(items)} radiographs, {sum(bool(reasons.get(i)) for i in range(len(items)))} suspicious</h1>"]
    for suspicious in (True, False):
        for (label, source), members in sorted(groups.items()):
            selection = [i for i in members if bool(reasons.get(i)) == suspicious]
            title = f"{label or 'no label'}, {source or 'no source'}" + (": suspicious" if suspicious else "")
            parts += _group(title, items, selection, reasons, limit)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Radiographs</title><style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _group(
    title: str, items: Sequence[ImageOfCase], selection: Sequence[int], reasons: Mapping[int, Sequence[str]], limit: int
) -> list[str]:
    if not selection:
        return []
    # Those with the rarest reasons come first: what half the group shares is least worth a look.
    kinds = {i: [_kind(reason) for reason in reasons.get(i, ())] for i in selection}
    counts = Counter(kind for of_image in kinds.values() for kind in set(of_image))
    shared = {i: min((counts[kind] for kind in kinds[i]), default=0) for i in selection}
    first = sorted(selection, key=lambda i: shared[i])[:limit]
    note = f" <small>({len(selection) - limit} more were left out)</small>" if len(selection) > limit else ""
    figures = [_figure(items[i], reasons.get(i, ())) for i in first]
    return [f"<h2>{html.escape(title)}: {len(selection)}{note}</h2>", '<div class="films">', *figures, "</div>"]


def _kind(reason: str) -> str:
    """A reason without its figures and names, which differ from radiograph to radiograph."""
    return " ".join(part for part in reason.split() if part.isalpha())


def _figure(item: ImageOfCase, reasons: Sequence[str]) -> str:
    case = item.case
    facts = [Path(case.path).name, case.label, case.patient and f"patient {case.patient}", case.split]
    caption = "<br>".join(html.escape(text) for text in facts if text)
    why = "".join(f'<br><span class="why">{html.escape(reason)}</span>' for reason in reasons)
    name, (width, height) = html.escape(str(case.path), quote=True), _fitted(item.image).size
    return (
        f'<figure><img loading="lazy" decoding="async" width="{width}" height="{height}" alt="{name}" title="{name}" '
        f'src="data:image/jpeg;base64,{_jpeg(item.image)}"><figcaption>{caption}{why}</figcaption></figure>'
    )


def _fitted(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    return small


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    _fitted(image).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
