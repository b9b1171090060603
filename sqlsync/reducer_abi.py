"""What SQLSync's reducers in WebAssembly say and hear, in bincode: requests, responses, errors and log records; pure.

The guest says ``Result<Option<Map<request id, Request>>, ReducerError>``; it hears ``Option<Map<request id, pointer>>``
where each pointer leads to a ``Result<Rows | Changes, ErrorResponse>``. Whatever a guest says is checked.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlsync.bincode import BadBincode, Reader, Writer
from sqlsync.reducer import SQLValue

_ID_BYTES = 4
_VALUE_BYTES_MIN = 4
_REQUEST_BYTES_MIN = _ID_BYTES + 4 + 8 + 8
_OK, _ERR = 0, 1
_DONE = bytes(5)
_HEAD = struct.Struct("<II")
"""A request's id, with the tag of its kind or the pointer of its response."""
_CHANGES = struct.Struct("<IQ")
_STEP = struct.Struct("<BQ")
_NULL, _INTEGER, _REAL, _TEXT, _BLOB = range(5)


@dataclass(frozen=True, slots=True)
class Query:
    """Run SQL and tell the rows."""

    sql: str
    params: tuple[SQLValue, ...]


@dataclass(frozen=True, slots=True)
class Exec:
    """Run SQL and tell how many rows it changed."""

    sql: str
    params: tuple[SQLValue, ...]


Request = Query | Exec
Requests = Mapping[int, Request]


@dataclass(frozen=True, slots=True)
class ConversionError:
    """The reducer found a value of another type than it wanted."""

    value: SQLValue
    target_type: str

    def __str__(self) -> str:
        return f"{_shown(self.value)} is no {self.target_type}"


@dataclass(frozen=True, slots=True)
class UnknownError:
    """The reducer gave up, for this reason."""

    reason: str

    def __str__(self) -> str:
        return self.reason


ReducerError = ConversionError | UnknownError


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to a query."""

    columns: Sequence[str]
    rows: Sequence[Sequence[SQLValue]]


@dataclass(frozen=True, slots=True)
class Changes:
    """The answer to an exec."""

    count: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A statement that failed: SQLite's extended code, or None where SQLite has none for it."""

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
    """Read what a guest answers: its requests by id, in order; None when it is done. Raises `BadBincode`."""
    if data == _DONE:
        return None
    reader = Reader(data)
    found = _error(reader) if reader.tag(2) == _ERR else _requests(reader) if reader.option() else None
    reader.end()
    return found


def read_log_record(data: bytes) -> LogRecord:
    """Read a log record. Raises `BadBincode`."""
    reader = Reader(data)
    level, message = reader.text(), reader.text()
    file = reader.text() if reader.option() else None
    line = reader.u32() if reader.option() else None
    reader.end()
    return LogRecord(level, message, file, line)


def write_response(response: Response) -> bytes:
    """Return a response's bytes."""
    writer = Writer()
    match response:
        case Changes(count):
            return _CHANGES.pack(_OK, count)
        case Rows(columns, rows):
            writer.u32(_OK)
            _write_rows(writer, columns, rows)
        case Failed(None, message):
            writer.u32(_ERR)
            writer.u32(1)
            writer.text(message)
        case Failed(int(code), message):
            writer.u32(_ERR)
            writer.u32(0)
            writer.i32(code)
            writer.text(message)
    return writer.value()


def write_step(pointers: Mapping[int, int]) -> bytes:
    """Return the input of a step: where in the guest's memory the response to each request is."""
    pairs = [_HEAD.pack(request, pointer) for request, pointer in pointers.items()]
    return _STEP.pack(1, len(pairs)) + b"".join(pairs)


def _requests(reader: Reader) -> Requests:
    count = reader.length(_REQUEST_BYTES_MIN)
    found = dict([_request(reader) for _ in range(count)])
    if len(found) != count:
        raise BadBincode(f"{count} requests have {len(found)} ids")
    return dict(sorted(found.items()))


def _request(reader: Reader) -> tuple[int, Request]:
    number, tag = reader.fields(_HEAD)
    if tag > 1:
        raise BadBincode(f"an enum of 2 variants has tag {tag}")
    sql = reader.text()
    params = tuple([_read_value(reader) for _ in range(reader.length(_VALUE_BYTES_MIN))])
    return number, (Exec if tag else Query)(sql, params)


def _error(reader: Reader) -> ReducerError:
    if reader.tag(2) == 0:
        return ConversionError(_read_value(reader), reader.text())
    return UnknownError(reader.text())


def _read_value(reader: Reader) -> SQLValue:
    tag = reader.tag(5)
    if tag == _TEXT:
        return reader.text()
    if tag == _NULL:
        return None
    if tag == _INTEGER:
        return reader.i64()
    return reader.f64() if tag == _REAL else reader.blob()


def _write_rows(writer: Writer, columns: Sequence[str], rows: Sequence[Sequence[SQLValue]]) -> None:
    writer.u64(len(columns))
    for column in columns:
        writer.text(column)
    writer.u64(len(rows))
    for row in rows:
        writer.u64(len(row))
        for value in row:
            _write_value(writer, value)


def _write_value(writer: Writer, value: SQLValue) -> None:
    match value:
        case str():
            writer.u32(_TEXT)
            writer.text(value)
        case None:
            writer.u32(_NULL)
        case int():
            writer.u32(_INTEGER)
            writer.i64(value)
        case float():
            writer.u32(_REAL)
            writer.f64(value)
        case bytes():
            writer.u32(_BLOB)
            writer.blob(value)


def _shown(value: SQLValue) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
