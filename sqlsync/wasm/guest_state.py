"""Analyses where a WebAssembly module has its state, and exports its mutable globals; pure.

An instance's state is its memory, its mutable globals, its tables, and the set of dropped passive segments. If the code
has no instruction that changes the last two, memory and globals are the whole state. Once every mutable global is
exported, an instance can be restored to any earlier state. Binary format: the WebAssembly specification, chapter 5.
"""

import re
from collections.abc import Iterator
from typing import Final

GLOBAL_NAME: Final = "sqlsync:global:{}"
"""The export name of a mutable global, by its number among the mutable ones."""
_HEADER_BYTES = 8
_IMPORTS, _GLOBALS, _EXPORTS, _CODE = 2, 6, 7, 10
_FUNCTION_KIND, _GLOBAL_KIND = 0, 3
_NUMBERS = range(0x7C, 0x80)
"""The value types f64, f32, i64 and i32."""
_INT = rb"[\x80-\xff]*+[\x00-\x7f]"
_BLOCK_TYPE = rb"(?:[\x40\x7c-\x7f\x00-\x3f]|[\x80-\xff]++[\x00-\x3f])"
_HARMLESS = re.compile(
    rb"(?:"
    rb"[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4]"  # control, drop, select, and all arithmetic
    rb"|[\x0c\x0d\x10\x12\x20-\x24\x3f-\x42]%(int)b"  # br, br_if, (return_)call, variables, memory.size, .grow, const
    rb"|[\x11\x13\x28-\x3e]%(int)b%(int)b"  # (return_)call_indirect, loads, stores
    rb"|[\x02-\x04]%(block)b"  # block, loop, if
    rb"|\x43.{4}|\x44.{8}"  # f32.const, f64.const
    rb"|\x1c\x01[\x7c-\x7f]"  # select of a number
    rb"|\xfc(?:[\x00-\x07]|\x0a%(int)b%(int)b|\x0b%(int)b)"  # saturating conversions, memory.copy, memory.fill
    rb")*+" % {b"int": _INT, b"block": _BLOCK_TYPE},
    re.DOTALL,
)
_BR_TABLE = 0x0E
_INITIAL = re.compile(rb"(?:[\x23\x41\x42]%b|\x43.{4}|\x44.{8}|[\x6a-\x6c\x7c-\x7e])*+\x0b" % _INT, re.DOTALL)


class _Unknown(Exception):
    """The code may have other state, or the bytes are not a module."""


def with_globals_exported(source: bytes) -> tuple[bytes, int] | None:
    """Return the module with its mutable globals exported, and their number.

    None if it has, or may have, state elsewhere; unknown instructions count as such. The bytes need not be a valid
    module, so the result must be compiled and validated like any other.
    """
    try:
        return _rewritten(source)
    except (_Unknown, IndexError):
        return None


def _rewritten(source: bytes) -> tuple[bytes, int]:
    sections = {number: span for number, *span in _sections(source)}
    if _IMPORTS in sections:
        _check_imports(source, *sections[_IMPORTS][1:])
    for start, end in _bodies(source, *_content(sections, _CODE)):
        _check_body(source, start, end)
    mutable = list(_mutable_globals(source, *sections[_GLOBALS][1:])) if _GLOBALS in sections else []
    start, end = _content(sections, _EXPORTS)
    count, at = _integer(source, start)
    content = _written(count + len(mutable)) + source[at:end]
    for place, index in enumerate(mutable):
        name = GLOBAL_NAME.format(place).encode()
        content += _written(len(name)) + name + bytes((_GLOBAL_KIND,)) + _written(index)
    section = bytes((_EXPORTS,)) + _written(len(content)) + content
    return source[: sections[_EXPORTS][0]] + section + source[end:], len(mutable)


def _content(sections: dict[int, list[int]], number: int) -> tuple[int, int]:
    if number not in sections:
        raise _Unknown
    _, start, end = sections[number]
    return start, end


def _sections(source: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield each section's number, its start, and the start and end of its content."""
    at, seen = _HEADER_BYTES, set[int]()
    while at < len(source):
        number = source[at]
        size, start = _integer(source, at + 1)
        if start + size > len(source) or (number and number in seen):
            raise _Unknown
        seen.add(number)
        yield number, at, start, start + size
        at = start + size


def _check_imports(source: bytes, at: int, end: int) -> None:
    """Raise `_Unknown` unless all imports are functions; a reducer may not import anything else."""
    count, at = _integer(source, at)
    for _ in range(count):
        for _name in range(2):
            length, at = _integer(source, at)
            at += length
        if source[at] != _FUNCTION_KIND:
            raise _Unknown
        _, at = _integer(source, at + 1)
    if at != end:
        raise _Unknown


def _mutable_globals(source: bytes, at: int, end: int) -> Iterator[int]:
    """Yield the indexes of the mutable globals in the section."""
    count, at = _integer(source, at)
    for place in range(count):
        initial = _INITIAL.match(source, at + 2, end)
        if source[at] not in _NUMBERS or initial is None:
            raise _Unknown
        if source[at + 1]:
            yield place
        at = initial.end()
    if at != end:
        raise _Unknown


def _bodies(source: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each function's instructions."""
    count, at = _integer(source, at)
    for _ in range(count):
        size, at = _integer(source, at)
        body_end = at + size
        groups, at = _integer(source, at)
        for _group in range(groups):
            _, at = _integer(source, at)
            if source[at] not in _NUMBERS:
                raise _Unknown
            at += 1
        yield at, body_end
        at = body_end
    if at != end:
        raise _Unknown


def _check_body(source: bytes, at: int, end: int) -> None:
    """Raise `_Unknown` unless no instruction changes tables or segments."""
    while True:
        matched = _HARMLESS.match(source, at, end)
        at = matched.end() if matched else at
        if at == end:
            return
        if source[at] != _BR_TABLE:
            raise _Unknown
        labels, at = _integer(source, at + 1)
        for _ in range(labels + 1):
            _, at = _integer(source, at)
        if at > end:
            raise _Unknown


def _integer(source: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned LEB128 integer; return it and its end."""
    value = shift = 0
    while True:
        byte = source[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise _Unknown


def _written(value: int) -> bytes:
    """Return an integer as unsigned LEB128."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
