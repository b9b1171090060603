"""Formats numbers, sizes and times for people. Pure."""

from datetime import UTC, datetime

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """Return a number of bytes: ``512 B``, ``4 KiB``, ``1.4 MiB``."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if value < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def counted(count: int, what: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 page``, ``12,000 pages``."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def moment(time_us: int) -> str:
    """Return a time in UTC to the second: ``2026-01-02T03:04:05Z``."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso(time_us: int) -> str:
    """Return a time as ISO 8601 in UTC, to the microsecond; ``--at`` reads it back."""
    seconds, micros = divmod(time_us, 1_000_000)
    when = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def one_line(text: str) -> str:
    """Return text with control characters as escapes, as in Python's literals, so that it cannot move the cursor."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
