"""The bincode messages of SQLSync's WebAssembly reducers: requests, responses, errors and log records; pure.

The guest sends ``Result<Option<Map<request id, Request>>, ReducerError>`` and receives ``Option<Map<request id,
pointer>>``, where each pointer leads to a ``Result<Rows | Changes, ErrorResponse>``. Every message of a guest is
validated.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlsync.reducers.reducer import SQLValue
from sqlsync.wasm.bincode import BadBincode, Reader, Writer

_OK, _ERR = 0, 1
_DONE = bytes(5)
_REPLY = struct.Struct("<IB")
"""The tags of result and option: whether it is an error, and whether requests follow."""
_HEAD = struct.Struct("<II")
"""A request's id, with the tag of its kind or the pointer to its response."""
_TAGGED = struct.Struct("<IQ")
"""A tag with a count or a length."""
_INTEGER_VALUE = struct.Struct("<Iq")
_REAL_VALUE = struct.Struct("<Id")
_STEP = struct.Struct("<BQ")
_U32, _U64, _I64, _F64 = (struct.Struct(f"<{kind}") for kind in "IQqd")
_NULL, _INTEGER, _REAL, _TEXT, _BLOB = range(5)


@dataclass(frozen=True, slots=True)
class Query:
    """A request to run SQL and return the rows."""

    sql: str
    params: tuple[SQLValue, ...]


@dataclass(frozen=True, slots=True)
class Exec:
    """A request to run SQL and return how many rows it changed."""

    sql: str
    params: tuple[SQLValue, ...]


Request = Query | Exec
Requests = Mapping[int, Request]


@dataclass(frozen=True, slots=True)
class ConversionError:
    """The reducer read a value of the wrong type."""

    value: SQLValue
    target_type: str

    def __str__(self) -> str:
        return f"{_shown(self.value)} is not a {self.target_type}"


@dataclass(frozen=True, slots=True)
class UnknownError:
    """The reducer failed or rejected the mutation, with this reason."""

    reason: str

    def __str__(self) -> str:
        return self.reason


ReducerError = ConversionError | UnknownError


@dataclass(frozen=True, slots=True)
class Rows:
    """The response to a query."""

    columns: Sequence[str]
    rows: Sequence[Sequence[SQLValue]]


@dataclass(frozen=True, slots=True)
class Changes:
    """The response to an exec."""

    count: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The response for a failed statement: SQLite's extended code, None if SQLite has none for it."""

    code: int | None
    message: str


Response = Rows | Changes | Failed


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A line of a reducer's log."""

    level: str
    message: str
    file: str | None
    line: int | None

    def __str__(self) -> str:
        return self.message if self.file is None else f"{self.message} ({self.file}:{self.line or '?'})"


def read_reply(data: bytes) -> Requests | ReducerError | None:
    """Decode a guest's reply: its requests by id, in order; None when it is done. Raises `BadBincode`."""
    if data == _DONE:
        return None
    try:
        found, end = _reply_at(data)
    except (struct.error, UnicodeDecodeError) as error:
        raise BadBincode(f"a reply of {len(data)} bytes is not valid: {error}") from error
    if end != len(data):
        raise BadBincode(f"{len(data) - end} unexpected bytes at the end")
    return found


def read_log_record(data: bytes) -> LogRecord:
    """Decode a log record. Raises `BadBincode`."""
    reader = Reader(data)
    level, message = reader.text(), reader.text()
    file = reader.text() if reader.option() else None
    line = reader.u32() if reader.option() else None
    reader.end()
    return LogRecord(level, message, file, line)


def write_response(response: Response) -> bytes:
    """Encode a response."""
    if isinstance(response, Changes):
        return _TAGGED.pack(_OK, response.count)
    if isinstance(response, Rows):
        return b"".join(_rows(response.columns, response.rows))
    writer = Writer()
    writer.u32(_ERR)
    if response.code is None:
        writer.u32(1)
    else:
        writer.u32(0)
        writer.i32(response.code)
    writer.text(response.message)
    return writer.value()


def write_step(pointers: Mapping[int, int]) -> bytes:
    """Encode the input of a step: the address of each request's response in the guest's memory."""
    pairs = [_HEAD.pack(request, pointer) for request, pointer in pointers.items()]
    return _STEP.pack(1, len(pairs)) + b"".join(pairs)


# The functions below run several times per mutation. To be fast, they take and return a position in the bytes, instead
# of calling `bincode.Reader` and `Writer` for every field.


def _reply_at(data: bytes) -> tuple[Requests | ReducerError | None, int]:
    """Decode a reply; like the functions below, raises `struct.error` if it ends early."""
    (tag,) = _U32.unpack_from(data, 0)
    if tag == _ERR:
        return _error_at(data, 4)
    _, option = _REPLY.unpack_from(data, 0)
    if tag > _ERR or option > 1:
        raise BadBincode(f"a reply begins with the tags {tag} and {option}")
    return _requests_at(data, _REPLY.size) if option else (None, _REPLY.size)


def _requests_at(data: bytes, at: int) -> tuple[Requests, int]:
    (count,) = _U64.unpack_from(data, at)
    at += 8
    found: dict[int, Request] = {}
    for _ in range(count):
        number, tag = _HEAD.unpack_from(data, at)
        if tag > 1 or number in found:
            raise BadBincode(f"request {number} has tag {tag}" if tag > 1 else f"there are two requests {number}")
        sql, at = _text_at(data, at + 8)
        params, at = _values_at(data, at)
        found[number] = (Exec if tag else Query)(sql, params)
    return found if count < 2 else dict(sorted(found.items())), at


def _error_at(data: bytes, at: int) -> tuple[ReducerError, int]:
    (tag,) = _U32.unpack_from(data, at)
    if tag > 1:
        raise BadBincode(f"an error has tag {tag}")
    if tag:
        reason, at = _text_at(data, at + 4)
        return UnknownError(reason), at
    value, at = _value_at(data, at + 4)
    target_type, at = _text_at(data, at)
    return ConversionError(value, target_type), at


def _values_at(data: bytes, at: int) -> tuple[tuple[SQLValue, ...], int]:
    (count,) = _U64.unpack_from(data, at)
    at += 8
    found = []
    for _ in range(count):
        value, at = _value_at(data, at)
        found.append(value)
    return tuple(found), at


def _value_at(data: bytes, at: int) -> tuple[SQLValue, int]:
    (tag,) = _U32.unpack_from(data, at)
    at += 4
    if tag == _TEXT:
        return _text_at(data, at)
    if tag == _NULL:
        return None, at
    if tag == _INTEGER:
        return _I64.unpack_from(data, at)[0], at + 8
    if tag == _REAL:
        return _F64.unpack_from(data, at)[0], at + 8
    if tag == _BLOB:
        return _blob_at(data, at)
    raise BadBincode(f"a value has tag {tag}")


def _text_at(data: bytes, at: int) -> tuple[str, int]:
    (length,) = _U64.unpack_from(data, at)
    at += 8
    end = at + length
    if end > len(data):
        raise _short(data, at, length)
    return data[at:end].decode(), end


def _blob_at(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _U64.unpack_from(data, at)
    at += 8
    end = at + length
    if end > len(data):
        raise _short(data, at, length)
    return data[at:end], end


def _short(data: bytes, at: int, length: int) -> BadBincode:
    return BadBincode(f"a length of {length}, but only {len(data) - at} bytes follow")


def _rows(columns: Sequence[str], rows: Sequence[Sequence[SQLValue]]) -> list[bytes]:
    found = [_TAGGED.pack(_OK, len(columns))]
    for column in columns:
        name = column.encode()
        found += (_U64.pack(len(name)), name)
    found.append(_U64.pack(len(rows)))
    for row in rows:
        found.append(_U64.pack(len(row)))
        for value in row:
            if isinstance(value, str):
                text = value.encode()
                found += (_TAGGED.pack(_TEXT, len(text)), text)
            elif value is None:
                found.append(_U32.pack(_NULL))
            elif isinstance(value, int):
                found.append(_INTEGER_VALUE.pack(_INTEGER, value))
            elif isinstance(value, float):
                found.append(_REAL_VALUE.pack(_REAL, value))
            else:
                found += (_TAGGED.pack(_BLOB, len(value)), value)
    return found


def _shown(value: SQLValue) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
