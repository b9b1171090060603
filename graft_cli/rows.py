"""Prints rows as they arrive: aligned for people, as CSV, or as one JSON object per line.

The caller calls `begin` with the columns, `row` for each row, and `end` after the last. Memory use is a few rows.
"""

import csv
import math
import sys
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import click

from graft_cli.human import one_line, size
from graft_cli.output import as_json_text

Value: TypeAlias = int | float | str | bytes | None

_SAMPLE_ROWS = 200
_CELL_WIDTH_MAX = 60
_BLOB_BYTES_SHOWN = 16


class RowWriter(Protocol):
    """Prints the rows of one or more tables."""

    def begin(self, columns: Sequence[str]) -> None:
        """Start a table."""
        ...

    def row(self, values: Sequence[Value]) -> None:
        """Add a row."""
        ...

    def end(self) -> None:
        """Finish the table."""
        ...


class Table:
    """Prints aligned columns, with widths from the first rows; numbers right-aligned, long BLOBs cut."""

    def __init__(self) -> None:
        """Start with nothing printed."""
        self._columns: Sequence[str] = ()
        self._sample: list[Sequence[Value]] | None = None
        self._widths: list[int] = []
        self._right: list[bool] = []
        self._printed = False

    def begin(self, columns: Sequence[str]) -> None:
        """Start a table; an empty line separates it from the one before."""
        self.end()
        self._columns, self._sample = columns, []

    def row(self, values: Sequence[Value]) -> None:
        """Print a row, or hold it until the widths are known."""
        if self._sample is None:
            click.echo(self._line([cell(value) for value in values]))
            return
        self._sample.append(values)
        if len(self._sample) == _SAMPLE_ROWS:
            self._print_sample()

    def end(self) -> None:
        """Print the rows that are held."""
        if self._sample is not None:
            self._print_sample()

    def _print_sample(self) -> None:
        sample, self._sample = self._sample or [], None
        cells = [[cell(value) for value in values] for values in sample]
        self._widths = [
            min(_CELL_WIDTH_MAX, max(len(text) for text in column))
            for column in zip([one_line(name) for name in self._columns], *cells, strict=True)
        ]
        self._right = [
            bool(sample) and all(value is None or isinstance(value, int | float) for value in column)
            for column in zip(*sample, strict=True)
        ] or [False] * len(self._columns)
        if self._printed:
            click.echo()
        self._printed = True
        click.echo(click.style(self._line([one_line(name) for name in self._columns]), bold=True))
        for texts in cells:
            click.echo(self._line(texts))

    def _line(self, texts: Sequence[str]) -> str:
        return "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, self._widths, self._right, strict=True)
        ).rstrip()


class Csv:
    """Prints comma-separated values under a heading; NULL is empty, a BLOB is hexadecimal."""

    def __init__(self) -> None:
        """Write to stdout."""
        self._writer = csv.writer(sys.stdout, lineterminator="\n")

    def begin(self, columns: Sequence[str]) -> None:
        """Print the heading."""
        self._writer.writerow(columns)

    def row(self, values: Sequence[Value]) -> None:
        """Print a row."""
        self._writer.writerow([value.hex() if isinstance(value, bytes) else value for value in values])

    def end(self) -> None:
        """Do nothing: every row is printed."""


class JsonLines:
    """Prints one object per row. A BLOB is hexadecimal text; a repeated column name gets ``:2``, ``:3`` and so on."""

    def __init__(self) -> None:
        """Start without column names."""
        self._names: list[str] = []

    def begin(self, columns: Sequence[str]) -> None:
        """Set the column names."""
        self._names = []
        for column in columns:
            name, number = column, 1
            while name in self._names:
                number += 1
                name = f"{column}:{number}"
            self._names.append(name)

    def row(self, values: Sequence[Value]) -> None:
        """Print an object."""
        plain = (_json_value(value) for value in values)
        click.echo(as_json_text(dict(zip(self._names, plain, strict=True))))

    def end(self) -> None:
        """Do nothing: every row is printed."""


def cell(value: Value) -> str:
    """Return the text of a value for a table."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        shown = value[:_BLOB_BYTES_SHOWN].hex()
        return f"x'{shown}'" if len(value) <= _BLOB_BYTES_SHOWN else f"x'{shown}…' ({size(len(value))})"
    return one_line(str(value))


def _json_value(value: Value) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value
