"""Facts as text for people, or as JSON for programs; pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | None

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def as_lines(facts: Mapping[str, Value]) -> str:
    r"""Return ``name: value`` lines with the values in one column; values that are None are left out.

    {"remote_head": 7, "state": "behind"} --> "remote head: 7\nstate:       behind"
    """
    shown = {_words(name) + ":": _text(name, value) for name, value in facts.items() if value is not None}
    width = max(map(len, shown), default=0)
    return "\n".join(f"{name:<{width}} {value}" for name, value in shown.items())


def _words(name: str) -> str:
    return name.removesuffix("_s").replace("_", " ")


def as_json(facts: Mapping[str, Value]) -> str:
    """Return the facts as one JSON object, in their order."""
    return json.dumps(dict(facts), ensure_ascii=False)


def as_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their titles; columns of numbers are right-aligned."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    numeric = [all(row[column].isdecimal() for row in rows) for column in range(len(titles))]
    lines = []
    for row in (titles, *rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def byte_size(count: int) -> str:
    """Return a size in a readable unit: 1536 --> "1.5 KiB"."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{count} bytes" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def utc_time(time_us: int) -> str:
    """Return microseconds since the Unix epoch as ISO 8601 text, to the second."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f} s" if name.endswith("_s") else str(value)
    if isinstance(value, int) and (name == "bytes" or name.endswith(("_bytes", "byte_size"))):
        return byte_size(value)
    return str(value)
