"""The network protocol of SQLSync 0.3.2, as bytes: one message per binary WebSocket message, in bincode.

u32 0 RangeRequest  | id | range     the sender's range of journal `id`; the other side replies with its own range
u32 1 Range         | range          that reply, and the acknowledgement of every frame
u32 2 Frame         | id | u64 lsn | u64 length | that many raw bytes
id:    u64 length (16 or 32) | bytes
range: u32 0 | u64 next LSN          empty; the first LSN will be that
       u32 1 | u64 first | u64 last  both inclusive
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlsync.ids import LENGTHS
from sqlsync.wasm.bincode import BadBincode, Reader, Writer

WINDOW_FRAMES_MAX: Final = 100
"""The most frames that may be sent without an acknowledgement."""
HEAD_BYTES_MAX: Final = 4 + 8 + 32 + 8 + 8
"""The largest number of bytes before a frame's payload."""
_RANGE_REQUEST, _RANGE, _FRAME = range(3)
_EMPTY, _SPAN = range(2)
_LSN_MAX: Final = 2**64 - 2


@dataclass(frozen=True, slots=True)
class Empty:
    """A range without LSNs."""

    next_lsn: int
    """The LSN that would be its first."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of LSNs, both ends included."""

    first: int
    last: int

    @property
    def next_lsn(self) -> int:
        """The LSN after it."""
        return self.last + 1


LsnRange: TypeAlias = Empty | Span


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """Asks for the other side's range of a journal."""

    id: bytes
    source: LsnRange
    """The sender's range."""


@dataclass(frozen=True, slots=True)
class Range:
    """The sender's range of the requested journal, or of the journal of a received frame."""

    range: LsnRange


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry of a journal."""

    id: bytes
    lsn: int
    payload: bytes


Message: TypeAlias = RangeRequest | Range | Frame


class BadMessage(Exception):
    """The bytes are not a message of the protocol; the connection ends."""


def first_lsn(of: LsnRange) -> int:
    """Return the first LSN of a range, or the one that would be."""
    return of.next_lsn if isinstance(of, Empty) else of.first


def span_until(next_lsn: int) -> LsnRange:
    """Return the range of all LSNs before one."""
    return Span(0, next_lsn - 1) if next_lsn else Empty(0)


def encode(message: Message) -> bytes:
    """Return a message's bytes."""
    writer = Writer()
    match message:
        case RangeRequest(id=journal, source=source):
            writer.u32(_RANGE_REQUEST)
            writer.blob(journal)
            _put_range(writer, source)
        case Range(range=found):
            writer.u32(_RANGE)
            _put_range(writer, found)
        case Frame(id=journal, lsn=lsn, payload=payload):
            writer.u32(_FRAME)
            writer.blob(journal)
            writer.u64(lsn)
            writer.blob(payload)
    return writer.value()


def decode(data: bytes) -> Message:
    """Decode a message; raises `BadMessage`, whose text can be shown to the sender."""
    reader = Reader(data)
    try:
        message = _taken(reader)
        reader.end()
    except BadBincode as error:
        raise BadMessage(f"a message of {len(data)} bytes is not valid: {error}") from error
    return message


def _taken(reader: Reader) -> Message:
    match reader.tag(3):
        case 0:
            return RangeRequest(_taken_id(reader), _taken_range(reader))
        case 1:
            return Range(_taken_range(reader))
        case _:
            return Frame(_taken_id(reader), _taken_lsn(reader), reader.blob())


def _taken_id(reader: Reader) -> bytes:
    journal = reader.blob()
    if len(journal) not in LENGTHS:
        raise BadBincode(f"an id has 16 or 32 bytes, not {len(journal)}")
    return journal


def _taken_range(reader: Reader) -> LsnRange:
    if reader.tag(2) == _EMPTY:
        return Empty(_taken_lsn(reader))
    first, last = _taken_lsn(reader), _taken_lsn(reader)
    if first > last:
        raise BadBincode(f"a range begins at {first} and ends at {last}")
    return Span(first, last)


def _taken_lsn(reader: Reader) -> int:
    lsn = reader.u64()
    if lsn > _LSN_MAX:
        raise BadBincode(f"LSN {lsn} leaves no room for another one")
    return lsn


def _put_range(writer: Writer, of: LsnRange) -> None:
    match of:
        case Empty(next_lsn=lsn):
            writer.u32(_EMPTY)
            writer.u64(lsn)
        case Span(first=first, last=last):
            writer.u32(_SPAN)
            writer.u64(first)
            writer.u64(last)
