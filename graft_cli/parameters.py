"""Parses the values of SQL parameters from the command line. Pure."""

import json
from collections.abc import Iterable

import click

from graft_cli.rows import Value


def parse_parameters(texts: Iterable[str]) -> dict[str, Value]:
    """Read ``name=value`` texts: JSON numbers, strings and null are parsed, anything else is text.

    ["id=7", "name=Oslo", 'zip="0150"', "born=null"] --> {"id": 7, "name": "Oslo", "zip": "0150", "born": None}
    """
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.lstrip(":@$")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"expected name=value, not {text!r}", param_hint="'-p'")
        values[name] = _value(value)
    return values


def _value(text: str) -> Value:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text
    return value if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)) else text


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON
