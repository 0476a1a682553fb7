"""What a reader says is checked: one that a file has taken over costs that radiograph, and nothing else."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from covidnet_lite import resource_limits
from covidnet_lite.codes import Code, Note
from covidnet_lite.dicom_in.examination import Examination
from covidnet_lite.errors import InputError, MissingExtraError, NotAChestRadiograph, UnforeseenError
from covidnet_lite.radiograph import Radiograph
from covidnet_lite.readers import pool as readers
from covidnet_lite.readers import replies
from covidnet_lite.readers.pool import Readers
from covidnet_lite.readers.replies import ReaderDiedError

EXAMINATION = Examination("CR", "CHEST", "PA", "", "", None, (Note(Code.VIEW_NOT_NAMED),), "L\\F")
SOUND = {"mode": "L", "image_size": [64, 64], "size": [128, 128], "examination": None, "notes": [], "display": None}
ERROR = {"error": "InputError", "message": "x: no", "code": "damaged", "reference": "", "trace": "", "cause": None}


def pixels(count: int) -> bytes:
    return bytes(64 * 64)[:count]


def test_a_radiograph_comes_back_as_it_was() -> None:
    image = Image.effect_noise((64, 64), 50)
    larger = Image.effect_noise((128, 130), 50)
    notes = (Note(Code.ELEMENT_LEFT_ASIDE, "Rows is odd"),)
    original = Radiograph(image, "x\udcff.dcm", 128, 130, EXAMINATION, notes, larger)
    result = replies.decode(replies.encode(original), original.name, lambda count: replies.pixels_of(original)[:count])
    assert isinstance(result, Radiograph)
    assert result.image.tobytes() == image.tobytes()
    assert result.display is not None
    assert (result.display.size, result.display.tobytes()) == (larger.size, larger.tobytes())
    assert (result.name, result.width, result.height) == (original.name, 128, 130)
    assert result.examination == EXAMINATION
    assert [(note, note.code) for note in result.notes] == [(note, note.code) for note in original.notes]
    assert result.examination.notes[0].code is Code.VIEW_NOT_NAMED


@pytest.mark.parametrize(
    "error",
    [
        InputError("x: damaged", Code.DAMAGED),
        NotAChestRadiograph("x: its header says modality MR", Code.OTHER_MODALITY),
        MissingExtraError("x: HEIC needs the extra"),
        UnforeseenError("x: failed", "0123abcd", "Traceback"),
        ReaderDiedError("x: takes too much", Code.TOO_COSTLY),
    ],
)
def test_an_error_comes_back_as_it_was(error: Any) -> None:
    error.__cause__ = OSError(13, "Permission denied")
    result = replies.decode(replies.encode_error(error), "x", pixels)
    assert (type(result), str(result), result.code) == (type(error), str(error), error.code)
    assert (result.__cause__.errno, result.__cause__.strerror) == (13, "Permission denied")
    assert vars(result).get("trace") == vars(error).get("trace")


LIES: dict[str, Any] = {
    "no pixels for its size": SOUND | {"image_size": [65, 64]},
    "more than it may decode": SOUND | {"image_size": [9000, 9000], "mode": "RGB"},
    "more pixels than any": SOUND | {"image_size": [1 << 40, 1]},
    "a side of nothing": SOUND | {"image_size": [0, 64]},
    "a negative side": SOUND | {"image_size": [-64, -64]},
    "half a pixel": SOUND | {"image_size": [63.5, 64]},
    "no size": SOUND | {"size": "large"},
    "three sides": SOUND | {"size": [64, 64, 64]},
    "no pixels for an image for a screen": SOUND | {"display": [64, 64]},
    "an image for a screen of nothing": SOUND | {"display": [0, 64]},
    "another mode": SOUND | {"mode": "F"},
    "a note without a code": SOUND | {"notes": [["DOE JANE", "x"]]},
    "a note of numbers": SOUND | {"notes": [["damaged", 7]]},
    "half an examination": SOUND | {"examination": {"modality": "CR"}},
    "an error that would end a node": ERROR | {"error": "BackendError"},
    "an error of Python": ERROR | {"error": "SystemExit"},
    "a code of its own": ERROR | {"code": "DOE JANE"},
    "a reference that is none": ERROR | {"error": "UnforeseenError", "reference": "DOE JANE"},
    "a cause of nothing": ERROR | {"cause": 7},
    "nothing": {},
    "a number": 7,
    "text": "radiograph",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_is_no_answer_is_an_error(lie: Any) -> None:
    with pytest.raises(ValueError, match="the reply is no radiograph"):
        replies.decode(json.dumps(lie).encode(), "x", pixels)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, pickle.dumps(SOUND), b"{"])
def test_what_is_no_json_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="the reply is no radiograph"):
        replies.decode(data, "x", pixels)


def taken_over(pipe: Any, memory: int, seconds: int, shared: bool) -> None:
    """A reader that does what its film says, as one that has been taken over would."""
    film = reduction.recv_handle(pipe)
    while True:
        pipe.recv()
        deed = os.pread(film, 100, 0).decode("latin-1")
        if deed not in DEEDS:
            answer: bytes = json.dumps(SOUND).encode()
            os.pwrite(film, bytes(64 * 64), 0)
            pipe.send_bytes(answer)
        else:
            DEEDS[deed](pipe, film)


def shrink(pipe: Any, film: int) -> None:
    os.ftruncate(film, 100)
    pipe.send_bytes(json.dumps(SOUND).encode())


def stall(pipe: Any, film: int) -> None:
    os.write(pipe.fileno(), b"\0\0\1\0half")
    time.sleep(60)


def flood(pipe: Any, film: int) -> None:
    os.write(pipe.fileno(), (replies.MAX_REPLY + 1).to_bytes(4, "big") + b"x" * 1000)
    time.sleep(60)


def attack(pipe: Any, film: int) -> None:
    pipe.send(Attack())  # as a pickle, which would be run


class Attack:
    def __reduce__(self) -> Any:
        return os._exit, (7,)


DEEDS: dict[str, Callable[[Any, int], None]] = {"shrink": shrink, "stall": stall, "flood": flood, "attack": attack}


@pytest.mark.skipif(not readers.HAS_SHARED_MEMORY, reason="needs memory that processes share")
@pytest.mark.parametrize("deed", DEEDS)
def test_a_reader_that_was_taken_over_costs_its_film_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch, film_png: Path, deed: str
) -> None:
    monkeypatch.setattr(readers, "_serve", taken_over)
    monkeypatch.setattr(readers, "STALL_SECONDS", 1.0)
    start = time.monotonic()
    with Readers(1) as reader_pool:
        assert reader_pool.read(b"film").image.size == (64, 64)
        with pytest.raises(ReaderDiedError):
            reader_pool.read(deed.encode(), None, "bad.png")
        assert time.monotonic() - start < 30
        monkeypatch.undo()
        assert reader_pool.read(film_png.read_bytes()).width > 0


def test_out_of_memory_is_the_radiograph_s_fault() -> None:
    error = replies.to_report(MemoryError(), "x.png")
    assert isinstance(error, ReaderDiedError)
    assert resource_limits.MEMORY in str(error)
