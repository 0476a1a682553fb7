"""TOML files -> frozen dataclasses, checked strictly by pydantic: the extras ``node`` and ``training``."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

# As ``__pydantic_config__`` of a dataclass: of it and of those in it.
STRICT = ConfigDict(strict=True, extra="forbid")
UNKNOWN = "unexpected_keyword_argument"


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML.
    """
    return dict(tomllib.loads(path.read_text("utf-8")))


def build(kind: type[T], table: dict[str, Any], context: dict[str, Any] | None = None) -> T:
    """A dataclass, and those in it, of a table that holds their fields by name.

    Args:
        kind: with ``STRICT`` as its ``__pydantic_config__``; nothing is turned into another type.
        table: as TOML has it: arrays become tuples, and strings become paths where a field is a path.
        context: for validators of fields.

    Raises:
        ValueError: a key is missing, unknown, of the wrong type or impossible; the message names it.
    """
    try:  # by way of JSON, where strings may be paths and arrays tuples
        return TypeAdapter(kind).validate_json(json.dumps(table, default=str), context=context)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        worst = next((e for e in errors if e["type"] == UNKNOWN), errors[0])  # a slip also leaves a key missing
        raise ValueError(_message(kind, worst)) from None


def _message(kind: Any, error: Any) -> str:
    kinds, path = _kinds(kind, error["loc"])
    key = ".".join(map(str, path))
    if error["type"] == "missing":
        return f"{key}: is missing"
    if error["type"] == UNKNOWN:
        fields = [field.name for field in dataclasses.fields(kinds[-2])]
        matches = difflib.get_close_matches(str(path[-1]), fields, 1)
        return f"{key}: no such key; " + (
            f"did you mean {matches[0]}?" if matches else f"there are: {', '.join(fields)}"
        )
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}".removeprefix(": ")
    expected = error["msg"].removeprefix("Input should be ").replace("an object", f"a table, [{key}]")
    return f"{key}: {error['input']!r} must be {expected}"


def _kinds(kind: Any, location: Sequence[int | str]) -> tuple[list[Any], list[int | str]]:
    """The types along pydantic's way to an error, and the keys of it that stand in the file.

    Not in the file: the name of a dataclass, as tag of the one that was chosen of several, and the mark of a key.
    """
    kinds, path = [kind], []
    for part in location:
        members = [member for member in get_args(kind) if member not in (type(None), Ellipsis)]
        tagged = [member for member in members if getattr(member, "__name__", None) == part]
        if tagged or part == "[key]":
            kind = kinds[-1] = tagged[0] if tagged else kind
            continue
        path.append(part)
        kind = (
            get_type_hints(kind).get(str(part)) if dataclasses.is_dataclass(kind) else members[-1] if members else None
        )
        if isinstance(kind, types.UnionType):
            several = [member for member in get_args(kind) if member is not type(None)]
            kind = several[0] if len(several) == 1 else kind
        kinds.append(kind)
    return kinds, path
