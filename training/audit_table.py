"""An audit in Markdown: the short table for README and model card, and the report with all of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from training.copies import across_splits
from training.figure import told

# Section -> its title, what it means, and which of its lines (a pattern) go into the short table, and as what.
# Lines on a source left out go into a table of their own, all of them.
SECTIONS: dict[str, tuple[str, str, str, str]] = {
    "accuracy": (
        "Accuracy",
        "Before the network abstains, all sources pooled: mostly says that sources differ.",
        "accuracy|macro AUROC",
        "",
    ),
    "yardsticks": (
        "Honest yardsticks",
        "AUROC of the probability of COVID-19 within a source that has both classes, and of the probability of a "
        "normal film on pairs matched by view, detector and file size: here the source is no help.",
        ".*",
        "",
    ),
    "trifles": (
        "A baseline that sees no lung",
        "Logistic regression on an 8 x 8 thumbnail, the picture's size, gray mean and spread, and the sizes of the "
        "files, fitted on the train split. A network has to beat it, on the yardsticks above all.",
        ".*",
        "thumbnail baseline: ",
    ),
    "left_out": (
        "A source left out",
        "Networks trained in the same way without one source, on all of that source and on the test split of the "
        "others. Every line but those on what is answered and on the guard is before the guard and before the network "
        "abstains, which it does below the threshold as shipped. All negatives "
        "may pool what never belongs together, children and adults; the lines on the negatives of one source do not.",
        "a source",
        "retrained without ",
    ),
    "false_covid": (
        "Normal films called COVID-19",
        "Before the network abstains, by source.",
        "normal films called covid",
        "",
    ),
    "predictive_values": (
        "What an answer would be worth elsewhere",
        "Predictive values at other prevalences, if sensitivity and specificity stayed as they are here, which they "
        "would not. The ends of an interval are those of both Wilson intervals together.",
        '"covid" is right where 5%.*|.*values',
        "",
    ),
    "sources": (
        "The source in the embedding",
        "Logistic regression from the embedding to the source, on the held-out images, five folds, no patient in two. "
        "Given the label, a network that only saw disease would leave it at the share of the largest source.",
        "source given covid(: accuracy|: share.*)?|source from embedding",
        "read from the embedding: ",
    ),
    "lungs": (
        "Lungs blacked out",
        "On the images with lung boxes; what is taken away is painted black, which is what frames a film and what "
        "equalisation leaves out of account. A network that crops to the lungs is shown the part it sees of the "
        "untouched film. With black lungs little but the hospital is left.",
        "covid against pneumonia, .*|covid with.*",
        "",
    ),
    "border": (
        "The border blacked out",
        "A tenth of each side painted black, on all images. A network that crops to the lungs is shown the part it "
        "sees of the untouched film, which may have little of the border.",
        "accuracy, border.*",
        "",
    ),
    "evidence": (
        "Where the evidence lies",
        "Share of the evidence for the class named that lies inside the lung boxes, and the share of the area they "
        "cover: a network that did not care about lungs would have as much of the one as of the other.",
        "evidence in.*|area.*",
        "",
    ),
    "calibration": (
        "Calibration",
        "Expected calibration error in ten bins; the float network is judged at the temperature of int8.",
        "calibration error as shipped",
        "",
    ),
    "threshold": (
        "When it answers",
        "From the threshold as shipped, without the guard.",
        "share answered|accuracy when answered",
        "",
    ),
    "invariances": (
        "Changes that mean nothing",
        "Made to the radiograph before anything else, the search for the lungs included; how many answers stay, and "
        "by how much the probability of the answer moves.",
        "(?!untouched).*same answer",
        "",
    ),
    "copies": (
        "Copies across splits",
        "Near-duplicates among all images, of every split.",
        "pairs in different.*",
        "near-duplicates: ",
    ),
}
SHOWN = 10  # copies named
COLUMNS = {"int8": "int8 as shipped (95 %)", "float": "float (95 %)", "points": "points apart"}
NOTE = (
    "The thumbnail baseline, and networks retrained without a source, are not the file that ships. The guard refuses "
    "nothing here but where it is named, and the network abstains only in the lines on what is *answered*."
)
MARK, END = "<!-- audit {model} sha256:{sha256} -->", "<!-- /audit -->"


def main_table(figures: dict[str, Any]) -> str:
    """The short table, and one of the sources left out."""
    rows = []
    for name, (_, _, pattern, prefix) in SECTIONS.items():
        lines = figures["sections"][name]
        chosen = {f"{prefix}{line}": cells for line, cells in lines.items() if re.fullmatch(pattern, line)}
        rows += list((_steadiest_last(chosen) if name == "invariances" else chosen).items())
    tables = [_table(dict(rows), _columns(figures)), *_left_out(figures["sections"]["left_out"])]
    return "\n\n".join([*tables, NOTE])


def _left_out(lines: dict[str, Any]) -> Iterator[str]:
    """A column for each source that was left out, if any was."""
    columns: dict[str, dict[str, str]] = defaultdict(dict)
    for name, cells in lines.items():
        source, _, line = name.rpartition(": ")
        if source:
            columns[source][line] = told(cells["any"])
    if columns:
        # The longest column sets the order of the rows, for it has nearly all.
        rows = dict.fromkeys(line for column in sorted(columns.values(), key=len, reverse=True) for line in column)
        head = ["| retrained without | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        body = [" | ".join([row, *(column.get(row, "") for column in columns.values())]) for row in rows]
        yield "\n".join([*head, *(f"| {row} |" for row in body)])


def marked(figures: dict[str, Any]) -> str:
    """The short table between the marks by which it is found in a document."""
    return "\n".join([MARK.format(**figures), "", main_table(figures), "", END])


def placed(text: str, figures: dict[str, Any]) -> str:
    """A document with the short table in place of what stood between the marks of the same model; or as it was."""
    start = re.escape(MARK.partition("{sha256}")[0].format(model=figures["model"]))
    return re.sub(f"{start}.*?{END}", lambda match: marked(figures), text, flags=re.S)


def _steadiest_last(lines: dict[str, Any]) -> dict[str, Any]:
    """Of the changes only that under which the fewest answers stay."""
    least = min(lines, key=lambda name: lines[name]["int8"]["value"])
    return {f"least steady: {least}": lines[least]}


def report(figures: dict[str, Any], plots: Sequence[str]) -> str:
    """Everything; ``plots`` are the names of the pictures beside it."""
    parts = [
        f"# Audit of {figures['model']}",
        "Research use only; not a medical device.",
        f"{figures['images']} images of {figures['patients']} patients; {figures['split']}. "
        "Intervals are 95 %: Wilson for shares, otherwise 1,000 draws of whole patients. Wilson's takes the films of "
        "one patient as independent, so where patients have several, those of shares are too narrow. "
        "`36 v 22` is the number of images on either side of an AUROC.",
        marked(figures),
        *(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in plots),
    ]
    for name, (title, note, _, _) in SECTIONS.items():
        parts += [f"## {title}", note, _table(figures["sections"][name], _columns(figures))]
    if across := [pair for pair in figures["copies"] if across_splits(pair)]:
        parts.append("\n".join(_copies(across)))
    return "\n\n".join([*parts, "## int8 against float", _agreement(figures)]) + "\n"


def _columns(figures: dict[str, Any]) -> list[str]:
    return [c for c in COLUMNS if c == "int8" or figures["float_sha256"]]


def _table(lines: dict[str, Any], columns: Sequence[str]) -> str:
    if lines and all("any" in cells for cells in lines.values()):
        rows = [f"| {name} | {told(cells['any'])} |" for name, cells in lines.items()]
        return "\n".join(["| | (95 %) |", "|---|---|", *rows])
    head = ["| | " + " | ".join(COLUMNS[c] for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(head + [f"| {name} | " + " | ".join(_cells(line, columns)) + " |" for name, line in lines.items()])


def _cells(line: dict[str, Any], columns: Sequence[str]) -> Iterator[str]:
    for column in columns:
        if column == "points":
            yield _points(line)
        elif column == "int8" and "any" in line:
            yield told(line["any"])
        else:
            yield told(line[column]) if column in line else ""


def _points(line: dict[str, Any]) -> str:
    if "points" not in line:
        return ""
    text = f"{round(line['points'], 1) + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")  # no negative zero
    return f"**{text}**" if line["apart"] else text


def _copies(pairs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for pair in pairs[:SHOWN]:
        one, other = (f"`{f}` ({s}, {p or 'no patient'})" for f, s, p in _both(pair))
        yield f"* {one} and {other}: likeness {pair['likeness']:.2f}"
    if len(pairs) > SHOWN:
        yield f"* and {len(pairs) - SHOWN} more in different splits, in audit.json"


def _both(pair: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield from zip(pair["files"], pair["splits"], pair["patients"])


def _agreement(figures: dict[str, Any]) -> str:
    if not figures["float_sha256"]:
        return "Not measured: no float network; pass --float."
    compared = {
        f"{SECTIONS[section][0]}: {name}": line
        for section, lines in figures["sections"].items()
        for name, line in lines.items()
        if "points" in line
    }
    apart = {name: line for name, line in compared.items() if line["apart"]}
    summary = f"{len(apart)} of {len(compared)} lines are more than half a point apart (a point is 0.01)"
    if not apart:
        return summary + "."
    return "\n\n".join([summary + ":", _table(apart, list(COLUMNS))])
