"""An audit in Markdown: the report, the tables of the model card, and the six lines of the README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from training.judge.figure import to_text

# Section -> its title and what it means.
SECTIONS = {
    "films": ("The films", "None of them was trained on. Of the network's own hospitals, the test split."),
    "contrasts": (
        "Within the network's own hospitals",
        "AUROC; 0.5 is chance. The column on one pixel matrix counts only pairs of films of the same width "
        "and height, which stand for the detector. The baselines are logistic regressions, fitted on the training "
        "split, that see no lung: a network has to beat them. With *lungs black* the network is shown the whole film "
        "with the lungs painted over: what is left comes from the frame. Graded *typical*, *indeterminate*, *atypical* "
        "or *negative* by radiologists; *typical v atypical* by covid's share of what is not normal.",
    ),
    "hospitals": (
        "Within each other hospital",
        "AUROC of P(not normal), and of covid's share of it, over pairs of films of one hospital.",
    ),
    "called": ("What films are called", ""),
    "severity": (
        "How much is ill",
        "The network's extent against that of two radiologists (RALO), on patients that it was not fitted on.",
    ),
    "by_extent": ("Sensitivity by extent", "Films of covid patients, by how much radiologists called opaque."),
    "pointing": (
        "Where the evidence is strongest",
        "How often the hottest place of the evidence lies in a box that radiologists drew around an opacity, and how "
        "often a place drawn at random from what the network saw does. NIH's boxes are not exhaustive.",
    ),
    "statuses": (
        "What is answered",
        "An answer is right when it holds a class that is right; of an *indeterminate* or boxed film, covid, pneumonia "
        "or both are. The films of each group are judged together, whatever their source.",
    ),
    "calibration": ("Calibration", "Expected calibration error in ten bins, where a hospital has both classes."),
    "agreement": ("int8 against float", "The float network is read by the manifest of int8."),
}
POINT = "At the network's operating point; *not normal* is an answer of one class or several, the rest is no answer."
ARGMAX = "This network has no operating point, so it is called what is likeliest."
# The lines of the README: what is said, and where the figure stands.
SUMMARY = (
    (
        "any opacity against negative, hospitals it was trained on (AUROC)",
        "contrasts",
        "any opacity v negative",
        "test split",
    ),
    ("the same by a thumbnail of 8 x 8 pixels", "contrasts", "any opacity v negative", "thumbnail of 8 x 8"),
    (
        "pneumonia against normal, children of a hospital never seen (AUROC)",
        "hospitals",
        "guangzhou_pediatric",
        "ill v normal",
    ),
    ("healthy adults, NIH's patients not trained on, called normal", "called", "rsna_normal: normal", "called normal"),
    ("COVID-19 of a hospital never seen called normal", "called", "hannover_covid19: covid", "called normal"),
    ("evidence strongest inside an opacity", "pointing", "own hospitals, test split", "hottest place in a box"),
)  # fmt: skip
END = "<!-- /{kind} -->"


def report(figures: dict[str, Any], plots: Sequence[str]) -> str:
    """Everything; ``plots`` are the names of the images beside it."""
    parts = [
        f"# Audit of {figures['model']}",
        "Research use only; not a medical device.",
        summary(figures),
        card(figures),
        *(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in plots),
    ]
    return "\n\n".join(parts) + "\n"


def card(figures: dict[str, Any]) -> str:
    """All tables, between the marks by which they are found in the model card."""
    parts = [
        "Intervals are 95 % and draw whole patients. `36 v 22` is the number of films on either side of an AUROC, "
        "`274/346` those that a share is of. The guard and the abstention are at work only in *What films are "
        "called* and *What is answered*."
    ]
    for name, (title, note) in SECTIONS.items():
        if name == "called":
            note = POINT if figures["operating_point"] else ARGMAX
        if name == "films" and figures["partly"]:
            note += f" Others of {' and '.join(figures['partly'])} were."
        parts += [f"#### {title}", *([note] if note else []), table(figures["sections"].get(name, {}))]
    return _marked("audit", figures, "\n\n".join(parts))


def summary(figures: dict[str, Any]) -> str:
    """The six lines of the README, between marks."""
    rows = ["| | (95 %) |", "|---|---|"]
    for title, section, row, column in SUMMARY:
        figure = figures["sections"].get(section, {}).get(row, {}).get(column)
        rows.append(f"| {title} | {to_text(figure, counts=False) if figure else '-'} |")
    return _marked("summary", figures, "\n".join(rows))


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A row a line; a column that no row has does not appear."""
    if not rows:
        return "Not measured: the data have nothing for it."
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    body = [
        f"| {name} | " + " | ".join(to_text(row[column]) if column in row else "" for column in columns) + " |"
        for name, row in rows.items()
    ]
    return "\n".join([*head, *body])


def replace_block(text: str, block: str) -> str:
    """A document with a block in place of the one between marks of the same kind and model; or as it was."""
    start, end = block.partition(" sha256:")[0], block[block.rindex("<!-- /") :]
    return re.sub(f"{re.escape(start)} sha256:.*?{re.escape(end)}", lambda match: block, text, flags=re.S)


def _marked(kind: str, figures: dict[str, Any], text: str) -> str:
    start = f"<!-- {kind} {figures['model']} sha256:{figures['sha256']} -->"
    return "\n\n".join([start, text, END.format(kind=kind)])
