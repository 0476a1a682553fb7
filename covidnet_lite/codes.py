"""Why something was refused, failed or left aside: a stable code for programs, and words that anybody may read.

A message for the person at the screen may quote the file. A header may hold a name in any field, so what leaves the
machine (MQTT, logs, DICOM results) uses the public words here, which quote nothing.
"""

from __future__ import annotations

from enum import Enum


class Code(str, Enum):
    """A code, kebab-case and never changed, with its ``public`` words: constant, so they cannot hold what a file holds.

    ``docs/codes.md`` lists them, as :func:`table` has them.
    """

    public: str

    def __new__(cls, code: str, public: str) -> Code:
        self = str.__new__(cls, code)
        self._value_, self.public = code, public
        return self

    def __str__(self) -> str:
        return str(self.value)

    # Refused, by the header.
    OTHER_EXAMINATION = "other-examination", "its header says that it is no frontal chest radiograph"
    OTHER_MODALITY = "other-modality", "its header says that it is no projection radiograph (CR, DX)"
    OTHER_BODY_PART = "other-body-part", "its header names another part of the body than the chest"
    OTHER_VIEW = "other-view", "its header names another view than a frontal one (PA or AP)"
    # Not classified.
    NOT_ADMITTED = "not-admitted", "no rule of the settings admits it: not classified"
    # Refused, by the pixels.
    BLANK = "blank", "the image is blank: it has next to no contrast"
    BLANK_LUNGS = "blank-lungs", "the part of the image taken for the lungs is blank: it has next to no contrast"
    UNLIKE_TRAINING = (
        "unlike-training",
        "does not look like the frontal chest radiographs the network was trained on",
    )
    SHOWN_WRONGLY = (
        "shown-wrongly",
        "looks like a radiograph turned, inverted or beside others; show one alone, upright, with white bones",
    )
    NO_NUMBERS = "no-numbers", "the network gave no finite numbers for it"
    # No single answer.
    UNSURE = "unsure", "unsure: the network is not sure enough to answer"
    OUTSIDE_LUNGS = "outside-lungs", "unsure: the evidence lies outside the lungs"
    NARROWED = "narrowed", "several training classes remain: the network is not sure enough which of them"
    # Failed: the file.
    UNREADABLE = "unreadable", "is no readable radiograph"
    NOT_OPENED = "not-opened", "the file cannot be opened or read; check that it exists and may be read"
    EMPTY = "empty", "the file is empty"
    UNKNOWN_FORMAT = "unknown-format", "has a file format that is not supported"
    ARCHIVE = "archive", "is an archive, or lies in one, that cannot be unpacked"
    DAMAGED = "damaged", "the file is damaged or breaks its format"
    HIDDEN_FILE = "hidden-file", "hides another file type in its preamble"
    # Failed: what is in it.
    NO_PICTURE = "no-picture", "holds no image"
    SEVERAL_PICTURES = "several-pictures", "holds several images or frames"
    RAW_DATA = "raw-data", "holds the detector's raw data; give the image for presentation"
    UNKNOWN_PIXELS = "unknown-pixels", "its pixels are stored in a form that is not supported"
    CONTRADICTION = "contradiction", "its header contradicts itself or its pixels"
    INCOMPLETE_HEADER = "incomplete-header", "its header lacks an element that is needed"
    NOT_FINITE = "not-finite", "holds NaN or infinite values"
    TOO_SMALL = "too-small", "has too few pixels"
    TOO_LARGE = "too-large", "has more pixels than a radiograph"
    TOO_COSTLY = "too-costly", "decoding it would take more memory or time than is allowed"
    DECODER_DIED = "decoder-died", "the process that decoded it crashed or was stopped"
    NO_PROCESS = "no-process", "no process can be started to read radiographs; the log has more"
    PROCESS_DIED = "process-died", "the program crashed or was stopped each time it worked on it"
    # Failed: what is here.
    FAILED = "failed", "failed"
    UNFORESEEN = "unforeseen", "failed in an unexpected way; the log has more"
    MISSING_EXTRA = "missing-extra", "a decoder or another optional part that it needs is not installed"
    UNUSABLE_NETWORK = "unusable-network", "the network cannot be used"
    UNUSABLE_SITE = "unusable-site", "the site cannot be fitted, or its file cannot be used with the network"
    UNUSABLE_RUNTIME = "unusable-runtime", "no TFLite runtime can run the network"
    UNUSABLE_DATA = "unusable-data", "the data set cannot be used as it is"
    NOT_CONVERTED = "not-converted", "the network cannot be converted"
    NOT_WRITTEN = "not-written", "a result cannot be written where it was asked for"
    QUEUE_FULL = "queue-full", "the queue is full"
    WRONG_SETTING = "wrong-setting", "a setting is missing, unknown or impossible"
    WRONG_REQUEST = "wrong-request", "what was asked for cannot be done"
    # Noted beside a result.
    CHEST_NOT_NAMED = "chest-not-named", "its header does not name the chest"
    VIEW_NOT_NAMED = "view-not-named", "its header does not name a frontal view (PA or AP)"
    MODALITY_NOT_NAMED = "modality-not-named", "its header does not name a radiograph (modality CR or DX)"
    ELEMENT_LEFT_ASIDE = "element-left-aside", "an element of its header cannot be used and is ignored"
    WINDOW_LEFT_ASIDE = "window-left-aside", "the window in its header hides the radiograph and is ignored"
    POLARITY = (
        "polarity",
        "PhotometricInterpretation and PresentationLUTShape contradict each other; the latter is followed",
    )
    METADATA_LEFT_ASIDE = (
        "metadata-left-aside",
        "the metadata beside its pixels (EXIF, XMP, ICC, text) is broken or too large, and is ignored",
    )


class Note(str):
    """A remark on a result, in words, with its code."""

    code: Code

    def __new__(cls, code: Code, detail: str = "") -> Note:
        """``detail`` is for the screen, where it replaces the public words."""
        self = super().__new__(cls, detail or code.public)
        self.code = code
        return self

    def __getnewargs__(self) -> tuple[Code, str]:  # type: ignore[override]
        return self.code, str(self)


def public(code: object) -> str | None:
    """The public words of a code as JSON has it; ``None`` where it is none of ours."""
    return next((member.public for member in Code if member.value == code), None)


def table() -> str:
    """All codes and their public words, as a table in Markdown."""
    rows = [f"| `{code.value}` | {code.public} |" for code in Code]
    return "\n".join(["| code | public words |", "|---|---|", *rows]) + "\n"
