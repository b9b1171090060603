"""The values in an SQLite record; pure.

Source: "Database File Format", sqlite.org/fileformat2.html, section 2.1: a header of varints (its size, then one serial
type for each value), then the values.
"""

import struct
from typing import TypeAlias

from graft.errors import Corrupt

Value: TypeAlias = int | float | str | bytes | None
"""What SQLite stores."""

_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_REAL, _ZERO, _ONE, _FIRST_BLOB = 7, 8, 9, 12


def first_values(record: bytes, count: int, encoding: str) -> tuple[Value, ...]:
    """Return a record's first values; text is decoded by the database's ``encoding``."""
    try:
        header, at = _varint(record, 0)
        body, found = header, []
        for _ in range(count):
            kind, at = _varint(record, at)
            value, body = _value(record, kind, body, encoding)
            found.append(value)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise Corrupt(f"a row's record of {len(record)} bytes is not well formed: {error}") from error
    return tuple(found)


def _value(record: bytes, kind: int, at: int, encoding: str) -> tuple[Value, int]:
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(record[at:end], "big", signed=True), end
    if kind == _REAL:
        return struct.unpack_from(">d", record, at)[0], at + 8
    if kind in {0, _ZERO, _ONE}:
        return None if kind == 0 else kind - _ZERO, at
    if kind < _FIRST_BLOB:
        raise IndexError(f"serial type {kind}")
    end = at + (kind - _FIRST_BLOB) // 2
    value = record[at:end]
    return (value.decode(encoding) if kind % 2 else value), end


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = record[at + count]
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    raise AssertionError("BUG: a varint has at most nine bytes")
