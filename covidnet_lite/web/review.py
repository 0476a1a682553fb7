"""What professionals say of the answers: kept in SQLite, exported as a manifest to train on.

Every review is kept; of several by one reviewer on one image the last counts. Reviewers who call one image by
different labels disagree, until one of them changes the label, or a review settles it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from .. import files, radiograph
from ..dataset import Case
from ..errors import OutputError, ReviewError
from ..radiograph import Radiograph

VERDICTS = ("agree", "disagree")
NO_VERDICT = ""  # where there is no answer to agree with
LAYOUT = 2  # of the file; one of layout 1 has no reviewers, and is brought up to date
LONGEST = {"comment": 4000, "patient": 100, "reviewer": 100}  # characters
SETTLES = "yes"


@dataclass(frozen=True)
class Review:
    """One review of one image.

    Attributes:
        image: SHA-256 of the uploaded file.
        name: what the client called it.
        at: when, ISO 8601 in UTC.
        status, answer, probabilities, model, sha256: what the network said (several labels with | between them,
            probabilities as JSON), and which one.
        verdict: ``agree`` or ``disagree`` with it; ``""`` where there is no answer.
        label: the right label; ``""`` where it is none of the network's, or where nobody says which of several.
        comment: free text.
        patient: a pseudonym shared by all images of one patient, or ``""``.
        kept: the file of the picture within the folder of kept pictures, or ``""``.
        reviewer: who says so, or ``""``.
        settles: ``yes`` where this review decides between those before it, or ``""``.
    """

    image: str
    name: str
    at: str
    status: str
    answer: str
    probabilities: str
    model: str
    sha256: str
    verdict: str
    label: str
    comment: str = ""
    patient: str = ""
    kept: str = ""
    reviewer: str = ""
    settles: str = ""


COLUMNS = tuple(field.name for field in fields(Review))


def check(review: Review, labels: Sequence[str]) -> None:
    """Whether a review makes sense.

    Raises:
        ReviewError: it does not; the message says what to change.
    """
    if review.verdict not in VERDICTS and (review.answer or review.verdict != NO_VERDICT):
        raise ReviewError(f"verdict {review.verdict!r} is none of {', '.join(VERDICTS)}")
    if review.label and review.label not in labels:
        raise ReviewError(f"label {review.label!r} is none of {', '.join(labels)}; leave it empty for none of these")
    answers = review.answer.split("|")
    left_open = len(answers) > 1 and review.verdict == "agree" and not review.label
    if review.answer and not left_open and (review.verdict == "agree") != (review.label in answers):
        raise ReviewError(
            f"to {review.verdict} with {review.answer!r} and to call {review.label or 'none of these'!r} right "
            "contradict each other; change one"
        )
    if review.settles not in ("", SETTLES):
        raise ReviewError(f"settles {review.settles!r} must be {SETTLES} or empty")
    for name, most in LONGEST.items():
        if len(getattr(review, name)) > most:
            raise ReviewError(f"the {name} has more than {most} characters; shorten it")


class ReviewStore:
    """A file of reviews, for many threads and processes.

    Raises:
        OutputError: the file cannot be made or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keep_private()
        columns = ", ".join(f"{name} TEXT NOT NULL" for name in COLUMNS)
        with self._open() as database:
            (layout,) = database.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if layout not in range(LAYOUT + 1) or (layout == 0 and tables):
                raise OutputError(f"{path}: is no file of reviews of this version; choose another")
            if layout == 1:
                for name in ("reviewer", "settles"):
                    database.execute(f"ALTER TABLE reviews ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
            database.execute(f"CREATE TABLE IF NOT EXISTS reviews (id INTEGER PRIMARY KEY, {columns})")
            database.execute(f"PRAGMA user_version = {LAYOUT}")

    def add(self, review: Review) -> None:
        """Keeps one review, safely on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        row = tuple(getattr(review, name) for name in COLUMNS)
        with self._open() as database:
            database.execute(
                f"INSERT INTO reviews ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", row
            )

    def latest(self) -> list[Review]:
        """The review that counts of each reviewer on each image, in the order they were written.

        Raises:
            OutputError: the file cannot be read.
        """
        last = "SELECT MAX(id) FROM reviews GROUP BY image, reviewer"
        with self._open() as database:
            rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM reviews WHERE id IN ({last}) ORDER BY id")
            return [Review(*row) for row in rows]

    def _keep_private(self) -> None:
        """Makes the file for this user alone; what SQLite writes beside it gets its rights."""
        try:
            self.path.parent.mkdir(files.OWN_FOLDER, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, files.OWN_FILE))
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.path}: the reviews cannot be read or written ({error})") from error
        for suffix in ("", "-journal", "-wal", "-shm"):
            if (one := self.path.with_name(self.path.name + suffix)).exists():
                files.make_private(one)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(files.OWN_FOLDER, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=10)) as database, database:
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"{self.path}: the reviews cannot be read or written ({error})") from error


def decided(reviews: Sequence[Review]) -> tuple[list[Review], int]:
    """The review that counts of each image, and on how many images reviewers disagree; those have none.

    Args:
        reviews: as :meth:`ReviewStore.latest` gives them.
    """
    by_image: dict[str, list[Review]] = {}
    for review in reviews:
        before = by_image.setdefault(review.image, [])
        by_image[review.image] = [review] if review.settles else [*before, review]
    agreed = [group[-1] for group in by_image.values() if len({review.label for review in group}) == 1]
    return agreed, len(by_image) - len(agreed)


@dataclass(frozen=True)
class Export:
    """What of the reviews can be trained on, and how many images cannot, and why."""

    cases: list[Case]
    not_kept: int
    without_label: int
    disagreed: int


def export(reviews: Sequence[Review], keep: Path | None, source: str) -> Export:
    """Reviews -> cases for a manifest: images with a label that reviewers agree on, whose picture is there."""
    agreed, disagreed = decided(reviews)
    labelled = [review for review in agreed if review.label]
    cases = [
        Case((keep / review.kept).resolve(), review.label, review.patient, source)
        for review in labelled
        if keep and review.kept and (keep / review.kept).is_file()
    ]
    return Export(cases, len(labelled) - len(cases), len(agreed) - len(labelled), disagreed)


def keep_picture(image: bytes, digest: str, keep: Path, read: Callable[..., Radiograph] = radiograph.read) -> str:
    """Writes a radiograph's pixels, without header or name, as ``SHA-256.png``; returns that name.

    Raises:
        InputError: the image cannot be read.
        OutputError: it cannot be written.
    """
    name = f"{digest}.png"
    if not (keep / name).is_file():
        film = read(image, name="the image").image
        film.info.clear()  # what a PNG would carry along: profile, comments, EXIF
        files.write_png(keep / name, film, files.OWN_FILE)
    return name
