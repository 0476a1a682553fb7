"""The model card as a page: the full card for a network of the package, the manifest's facts for any other."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from ..network import model as models
from ..network.model import Model
from ..percent import percent

NAME = "MODEL_CARD.md"
# In the package; in a checkout, at its top.
PATHS = (models.SHIPPED / NAME, Path(__file__).parent.parent.parent / NAME)


def page(model: Model) -> str:
    """HTML, without a script or a style of its own."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Model card</title>\n"
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">\n'
        '<link rel="stylesheet" href="/static/card.css">\n</head>\n'
        f"<body>\n<main>\n{html(text(model))}</main>\n</body>\n</html>\n"
    )


def text(model: Model) -> str:
    """The card in Markdown."""
    card = next((path for path in PATHS if path.is_file()), None)
    if card is not None and model.sha256 in models.shipped().values():
        return card.read_text(encoding="utf-8")
    return _of_manifest(model)


def _of_manifest(model: Model) -> str:
    """A manifest's facts, without its provenance, which may name folders and hosts."""
    manifest, point = model.manifest, model.manifest.operating_point
    facts = point.accuracy if point else {}
    rows = {
        "classes": ", ".join(manifest.labels),
        "SHA-256": model.sha256,
        "licence": manifest.licence or "not stated",
        "input": f"{manifest.input.width} x {manifest.input.height} pixels",
        **({"radiographs with an answer": percent(facts["answered"], 0)} if "answered" in facts else {}),
        **({"answers that were right": percent(facts["right"], 0)} if "right" in facts else {}),
        **{f"answers {name} that were right": percent(share, 0) for name, share in facts.get("by_answer", {}).items()},
        **({"measured on": facts["data"]} if "data" in facts else {}),
    }
    table = "".join(f"| {_cell(name)} | {_cell(value)} |\n" for name, value in rows.items())
    return f"# {_cell(model.name)}\n\n{manifest.intended_use}\n\n| | |\n|---|---|\n{table}"


def _cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def html(markdown: str) -> str:
    """Markdown with tables -> HTML: headings get anchors; links to files, which are not served, become text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(re.sub(r"<!--.*?-->\n?", "", markdown, flags=re.S))
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w -]", "", inline.content.lower()).replace(" ", "-"))
        if heading.type == "table_open":
            heading.attrSet("tabindex", "0")  # wide tables are scrolled, by keys too
    for token in tokens:
        for part in token.children or ():
            if part.type == "link_open" and not re.match(r"https?://|#", str(part.attrGet("href"))):
                part.attrs = {}
    return str(parser.renderer.render(tokens, parser.options, {}))
