"""Prints the output of commands: sentences and fields for people, JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import click


def say(text: str) -> None:
    """Print a line."""
    click.echo(printable(text))


def printable(text: str) -> str:
    """Return text that any terminal accepts: bytes of a file name that are not UTF-8 become escapes."""
    return text.encode(errors="backslashreplace").decode()


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        say(f"{click.style(name.ljust(width), dim=True)}  {value}")


def document(content: Any, **more: Any) -> None:
    """Print one JSON document on one line: a dataclass or mapping, and ``more`` fields."""
    click.echo(as_json_text(plain(content) | plain(more)))


def as_json_text(content: Any) -> str:
    """Return JSON on one line."""
    content = plain(content)
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return text if printable(text) == text else json.dumps(content)


def plain(content: Any) -> Any:
    """Return a value in JSON's types: ids and paths as text, bytes as hexadecimal, times as ISO 8601.

    A number that JSON cannot represent becomes None. An object whose class defines `__str__` becomes that text, even if
    it is a dataclass.
    """
    if isinstance(content, Mapping):
        return {str(name): plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if is_dataclass(content) and not isinstance(content, type) and not _is_text(content):
        return {field.name: plain(getattr(content, field.name)) for field in fields_of(content)}
    return _scalar(content)


def _scalar(content: Any) -> Any:
    match content:
        case Enum():
            return _scalar(content.value)
        case None | bool() | int() | str():
            return content
        case float():
            return content if math.isfinite(content) else None
        case bytes():
            return content.hex()
        case datetime():
            return content.isoformat()
    assert _is_text(content), f"BUG: {type(content).__name__} has no form in JSON"
    return str(content)


def _is_text(content: object) -> bool:
    return any("__str__" in vars(kind) for kind in type(content).__mro__[:-1])
