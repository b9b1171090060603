"""What commands print: sentences and fields for people, JSON for programs. Errors and progress go to stderr."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import click


def say(text: str) -> None:
    """Print a line of the answer."""
    click.echo(text)


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{click.style(name.ljust(width), dim=True)}  {value}")


def document(content: Any, **more: Any) -> None:
    """Print one JSON document on one line: a dataclass or mapping, and ``more`` fields."""
    click.echo(as_json_text(_plain(content) | {name: _plain(value) for name, value in more.items()}))


def as_json_text(content: Any) -> str:
    """Return JSON on one line; ids become text."""
    return json.dumps(content, ensure_ascii=False, default=str)


def _plain(content: Any) -> Any:
    if is_dataclass(content) and not isinstance(content, type):
        return asdict(content)
    return dict(content) if isinstance(content, Mapping) else content
