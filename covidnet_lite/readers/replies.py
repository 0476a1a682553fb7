"""A reader's replies, as text that is checked and never executed: a file may have taken its reader over.

Only the pixels come separately. Errors are of the kinds that a file can cause; none of them ends a service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from .. import resource_limits
from ..codes import Code, Note
from ..dicom_in.examination import Examination
from ..errors import (
    CovidNetLiteError,
    InputError,
    MissingExtraError,
    NotAChestRadiograph,
    SettingsError,
    UnforeseenError,
)
from ..radiograph import Radiograph
from ..unforeseen import unforeseen

MAX_REPLY = 1 << 20  # bytes of a reply without its pixels
CHANNELS = {"L": 1, "RGB": 3}


class ReaderDiedError(InputError):
    """The reader of a radiograph died, or was stopped."""

    code = Code.DECODER_DIED


KINDS = {
    kind.__name__: kind
    for kind in (InputError, MissingExtraError, NotAChestRadiograph, ReaderDiedError, SettingsError, UnforeseenError)
}
CODES = {code.value: code for code in Code}
TEXTS = tuple(field.name for field in fields(Examination) if field.type == "str")


def encode(radiograph: Radiograph) -> bytes:
    """The reply for a radiograph, without its pixels and its name."""
    return _json(
        {
            "mode": radiograph.image.mode,
            "image_size": radiograph.image.size,
            "size": (radiograph.width, radiograph.height),
            "examination": asdict(radiograph.examination) if radiograph.examination else None,
            "notes": radiograph.notes,
            "display": radiograph.display.size if radiograph.display else None,
        }
    )


def pixels_of(radiograph: Radiograph) -> bytes:
    """The pixels of a radiograph, followed by those of its image for a screen, if there is one."""
    display = radiograph.display
    return radiograph.image.tobytes() + (display.tobytes() if display else b"")


def to_report(error: Exception, name: str) -> CovidNetLiteError:
    """The error to report for an exception from the work on ``name``."""
    if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        allowed = f"{resource_limits.memory() // resource_limits.MB} MB are allowed"
        return ReaderDiedError(
            f"{name}: takes too much memory to decode; {allowed} ({resource_limits.MEMORY})", Code.TOO_COSTLY
        )
    return error if isinstance(error, CovidNetLiteError) else unforeseen(name, error)


def encode_error(error: CovidNetLiteError) -> bytes:
    """The reply for an error, with the part of its cause that is needed."""
    cause = error.__cause__
    return _json(
        {
            "error": next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS), "InputError"),
            "message": str(error),
            "code": error.code,
            "reference": getattr(error, "reference", ""),
            "trace": getattr(error, "trace", ""),
            "cause": (cause.errno, cause.strerror or str(cause)) if isinstance(cause, OSError) else None,
        }
    )


def decode(reply: bytes, name: str, pixels: Callable[[int], bytes]) -> Radiograph | CovidNetLiteError:
    """A radiograph, or the error to raise in this process.

    Args:
        reply: what a reader sent.
        name: of the radiograph.
        pixels: returns so many bytes of gray levels or colours, or fewer where there are no more.

    Raises:
        ValueError: the reply is invalid.
    """
    try:
        content = json.loads(reply)
        return _error(content) if "error" in content else _radiograph(content, name, pixels)
    except OSError:  # the process is gone
        raise
    except Exception as error:  # a reply from a process that was taken over may fail in any way
        raise ValueError("the reply is no radiograph") from error


def _json(content: dict[str, Any]) -> bytes:
    # Notes are text with a code, which JSON would drop.
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, tuple):
            return [plain(inner) for inner in value]
        return [value.code.value, str(value)] if isinstance(value, Note) else value

    return json.dumps(plain(content)).encode()


def _radiograph(content: dict[str, Any], name: str, pixels: Callable[[int], bytes]) -> Radiograph:
    from PIL import Image

    mode, image_size, size = content["mode"], _size(content["image_size"]), _size(content["size"])
    display = _size(content["display"]) if content["display"] is not None else None
    first = image_size[0] * image_size[1] * CHANNELS[mode]
    count = first + (display[0] * display[1] if display else 0)  # in gray
    if count > resource_limits.memory():
        raise ValueError("more than it may have decoded")
    data = pixels(count)
    if len(data) != count:
        raise ValueError("its pixels contradict its size")
    examination = _examination(content["examination"]) if content["examination"] is not None else None
    image = Image.frombuffer(mode, image_size, data[:first], "raw", mode, 0, 1)
    display_image = Image.frombuffer("L", display, data[first:], "raw", "L", 0, 1) if display else None
    return Radiograph(image, name, *size, examination, _notes(content["notes"]), display_image)


def _error(content: dict[str, Any]) -> CovidNetLiteError:
    kind, message, code = KINDS[content["error"]], _text(content["message"]), CODES[content["code"]]
    error: CovidNetLiteError
    if kind is UnforeseenError:
        reference = _text(content["reference"])
        if not re.fullmatch(
            "[0-9a-f]{8}", reference
        ):  # a reference leaves the machine, and must quote nothing from a file
            raise ValueError("no reference")
        error = UnforeseenError(message, reference, _text(content["trace"]))
    else:
        error = kind(message, code)
    if content["cause"] is not None:
        number, text = content["cause"]
        error.__cause__ = OSError(_integer(number), _text(text)) if number is not None else OSError(_text(text))
    return error


def _examination(content: dict[str, Any]) -> Examination:
    texts = {name: _text(content[name]) for name in TEXTS}
    code = CODES[content["code"]] if content["code"] is not None else None
    return Examination(**texts, code=code, notes=_notes(content["notes"]))


def _notes(content: list[Any]) -> tuple[Note, ...]:
    return tuple(Note(CODES[code], _text(text)) for code, text in content)


def _size(content: list[Any]) -> tuple[int, int]:
    width, height = map(_integer, content)
    if min(width, height) < 1 or width * height > resource_limits.PIXELS:
        raise ValueError("no size of a radiograph")
    return width, height


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("no whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value
