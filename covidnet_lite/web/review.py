"""Reviews: what professionals say about the answers, stored in SQLite and exported as a manifest for training.

Every review is stored; of several by one reviewer on one image, the last counts. Reviewers who give one image
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
from ..dataset import LabelledImage
from ..errors import OutputError, ReviewError
from ..radiograph import Radiograph

VERDICTS = ("agree", "disagree")
NO_VERDICT = ""  # where there is no answer to agree with
LAYOUT = 2  # of the file; one of layout 1 has no reviewers, and is upgraded
MAX_LENGTH = {"comment": 4000, "patient": 100, "reviewer": 100}  # characters
SETTLES = "yes"


@dataclass(frozen=True)
class Review:
    """One review of one image.

    Attributes:
        image: SHA-256 of the uploaded file.
        name: the client's name for the file.
        at: time of the review, ISO 8601 in UTC.
        status, answer, probabilities: the network's result (several labels with | between them, probabilities as JSON).
        model, sha256: the network.
        verdict: ``agree`` or ``disagree`` with the answer; ``""`` where there is none.
        label: the right label; ``""`` where it is none of the network's, or where the review leaves it open.
        comment: free text.
        patient: a pseudonym shared by all images of one patient, or ``""``.
        kept: the file of the image within the folder of stored images, or ``""``.
        reviewer: name of the reviewer, or ``""``.
        settles: ``yes`` where this review decides between earlier ones, or ``""``.
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
    """Checks that a review is consistent.

    Raises:
        ReviewError: it is not; the message says what to change.
    """
    if review.verdict not in VERDICTS and (review.answer or review.verdict != NO_VERDICT):
        raise ReviewError(f"verdict {review.verdict!r} is none of {', '.join(VERDICTS)}")
    if review.label and review.label not in labels:
        raise ReviewError(f"label {review.label!r} is none of {', '.join(labels)}; leave it empty for none of these")
    answers = review.answer.split("|")
    left_open = len(answers) > 1 and review.verdict == "agree" and not review.label
    if review.answer and not left_open and (review.verdict == "agree") != (review.label in answers):
        raise ReviewError(
            f"the verdict {review.verdict} on {review.answer!r} and the label {review.label or 'none of these'!r} "
            "contradict each other; change one"
        )
    if review.settles not in ("", SETTLES):
        raise ReviewError(f"settles {review.settles!r} must be {SETTLES} or empty")
    for name, limit in MAX_LENGTH.items():
        if len(getattr(review, name)) > limit:
            raise ReviewError(f"the {name} has more than {limit} characters; shorten it")


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
        """Stores one review, which is safe on disk when this returns.

        Raises:
            OutputError: the file cannot be written.
        """
        row = tuple(getattr(review, name) for name in COLUMNS)
        with self._open() as database:
            database.execute(
                f"INSERT INTO reviews ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", row
            )

    def latest(self) -> list[Review]:
        """The last review of each reviewer on each image, in the order they were written.

        Raises:
            OutputError: the file cannot be read.
        """
        last = "SELECT MAX(id) FROM reviews GROUP BY image, reviewer"
        with self._open() as database:
            rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM reviews WHERE id IN ({last}) ORDER BY id")
            return [Review(*row) for row in rows]

    def _keep_private(self) -> None:
        """Makes the file readable for this user alone; files that SQLite writes beside it get the same rights."""
        try:
            self.path.parent.mkdir(files.OWN_FOLDER, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, files.OWN_FILE))
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{self.path}: the reviews cannot be read or written ({error}); check disk and owner"
            ) from error
        for suffix in ("", "-journal", "-wal", "-shm"):
            if (path := self.path.with_name(self.path.name + suffix)).exists():
                files.make_private(path)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(files.OWN_FOLDER, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=10)) as database, database:
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA temp_store = MEMORY")  # there need be no other folder that can be written to
                yield database
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"{self.path}: the reviews cannot be read or written ({error}); check disk and owner"
            ) from error


def agreed_reviews(reviews: Sequence[Review]) -> tuple[list[Review], int]:
    """The review that counts for each image on which reviewers agree, and the number of the other images.

    Args:
        reviews: from :meth:`ReviewStore.latest`.
    """
    by_image: dict[str, list[Review]] = {}
    for review in reviews:
        earlier = by_image.setdefault(review.image, [])
        by_image[review.image] = [review] if review.settles else [*earlier, review]
    agreed = [group[-1] for group in by_image.values() if len({review.label for review in group}) == 1]
    return agreed, len(by_image) - len(agreed)


@dataclass(frozen=True)
class Export:
    """The reviewed images that can be trained on, and the numbers of those that cannot, by reason."""

    images: list[LabelledImage]
    not_kept: int
    without_label: int
    disagreed: int


def export(reviews: Sequence[Review], keep: Path | None, source: str) -> Export:
    """Reviews -> images for a manifest: those with a label that reviewers agree on and with a stored file."""
    agreed, disagreed = agreed_reviews(reviews)
    labelled = [review for review in agreed if review.label]
    images = [
        LabelledImage((keep / review.kept).resolve(), review.label, review.patient, source)
        for review in labelled
        if keep and review.kept and (keep / review.kept).is_file()
    ]
    return Export(images, len(labelled) - len(images), len(agreed) - len(labelled), disagreed)


def keep_image(data: bytes, digest: str, keep: Path, read: Callable[..., Radiograph] = radiograph.read) -> str:
    """Writes a radiograph's pixels, without header or name, as ``SHA-256.png``; returns that name.

    Raises:
        InputError: the image cannot be read.
        OutputError: the file cannot be written.
    """
    name = f"{digest}.png"
    if not (keep / name).is_file():
        pixels = read(data, name="the image").image
        pixels.info.clear()  # a PNG would include profile, comments and EXIF
        files.write_png(keep / name, pixels, files.OWN_FILE)
    return name
