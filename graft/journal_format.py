"""The bytes of a journal record; this module owns the layout (docs/formats/journal.md).

    header 88 bytes · page list u32[slots] and bodies page size × slots, at the offsets that the header names

An appended record has its page list before its bodies, a spilled one after them, since its pages were not known when
the first bodies were written. Slot 0 in the page list marks a body that the transaction gave up. The checksum covers
the header (without the checksum itself), the page list and the bodies. All integers are little-endian.

Two flags tell damage from a torn tail: a record says whether it was to be synced, and whether the one before it was.
The latter had then reached the disk before this one was begun.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from graft.errors import Corrupt, Unsupported
from metastore.placement import U32
from pagestore.objectstore import Data

MAGIC = b"grftjrnl"
VERSION = 1
HEADER = struct.Struct("<8sHBBIQQQQQQQQQ")
"""magic, version, cipher, flags, page size, local LSN, slots, byte size, min page count, timestamp µs, list offset,
bodies offset, record bytes, xxh3-64. Offsets count from the start of the record."""
HEADER_BYTES = HEADER.size
_CHECKSUM = struct.Struct("<Q")
_CHECKSUM_OFFSET = HEADER_BYTES - _CHECKSUM.size
ALIGNMENT = 8
_SYNCED, _AFTER_SYNCED = 1, 2


class RecordHeader(NamedTuple):  # one is made for every commit: a frozen dataclass takes four times as long
    """One local commit, without its pages."""

    page_size: int
    local_lsn: int
    slots: int
    """How many bodies the record holds, given up ones included."""
    byte_size: int
    """Size of the volume after the commit."""
    min_page_count: int
    """Smallest page count that the volume had during the commit."""
    timestamp_us: int
    list_offset: int
    bodies_offset: int
    record_bytes: int
    synced: bool
    """Whether the commit waited for the disk."""
    after_synced: bool
    """Whether everything before this record was on the disk when it was begun."""


def appended_header(
    page_size: int,
    local_lsn: int,
    slots: int,
    byte_size: int,
    min_page_count: int,
    timestamp_us: int,
    *,
    synced: bool,
    after_synced: bool,
) -> RecordHeader:
    """Return the header of a record with its list before its bodies."""
    bodies_offset = aligned(HEADER_BYTES + 4 * slots)
    return RecordHeader(
        page_size, local_lsn, slots, byte_size, min_page_count, timestamp_us, HEADER_BYTES, bodies_offset,
        aligned(bodies_offset + slots * page_size), synced, after_synced,
    )  # fmt: skip


def spilled_header(
    page_size: int, local_lsn: int, slots: int, byte_size: int, min_page_count: int, timestamp_us: int
) -> RecordHeader:
    """Return the header of a record with its list after its bodies; it is alone in its file and always synced."""
    list_offset = HEADER_BYTES + slots * page_size
    return RecordHeader(
        page_size, local_lsn, slots, byte_size, min_page_count, timestamp_us, list_offset, HEADER_BYTES,
        aligned(list_offset + 4 * slots), synced=True, after_synced=True,
    )  # fmt: skip


def aligned(length: int) -> int:
    """Return the next multiple of `ALIGNMENT`."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def encode_header(header: RecordHeader, page_list: Data, bodies: Sequence[Data]) -> bytes:
    """Return the header's bytes with the checksum of the record."""
    start = _packed(header, 0)[:_CHECKSUM_OFFSET]
    return start + _CHECKSUM.pack(_checksum(start, page_list, bodies))


def decode_header(data: Data, offset: int = 0) -> RecordHeader | None:
    """Read a header, None where none begins that makes sense; the checksum is not looked at yet.

    The parts of the record are within it, whatever the bytes are. Raises `Unsupported` for a newer version.
    """
    if len(data) - offset < HEADER_BYTES:
        return None
    magic, version, cipher, flags, *fields, _ = HEADER.unpack_from(data, offset)
    if magic != MAGIC or not version:
        return None
    if version != VERSION or cipher:
        raise Unsupported(f"journal record of version {version}, cipher {cipher}; upgrade graft")
    header = RecordHeader(*fields, *(bool(flags & flag) for flag in (_SYNCED, _AFTER_SYNCED)))
    return header if not flags & ~(_SYNCED | _AFTER_SYNCED) and _makes_sense(header) else None


def _makes_sense(header: RecordHeader) -> bool:
    return (
        min(header.list_offset, header.bodies_offset) >= HEADER_BYTES
        and header.list_offset + 4 * header.slots <= header.record_bytes
        and header.bodies_offset + header.page_size * header.slots <= header.record_bytes
        and header.record_bytes % ALIGNMENT == 0
    )


def page_list(data: Data, header: RecordHeader, offset: int = 0) -> U32:
    """Return the page of each slot; raises `Corrupt` where the record is cut off."""
    start = offset + header.list_offset
    if start + 4 * header.slots > len(data):
        raise Corrupt(f"local commit {header.local_lsn} is cut off")
    return np.frombuffer(data, "<u4", header.slots, start)


def is_whole(data: memoryview, header: RecordHeader, offset: int = 0) -> bool:
    """Tell whether all of a record is there and matches its checksum."""
    if header.record_bytes > len(data) - offset:
        return False
    pages = data[offset + header.list_offset :][: 4 * header.slots]
    bodies = data[offset + header.bodies_offset :][: header.slots * header.page_size]
    (stored,) = _CHECKSUM.unpack_from(data, offset + _CHECKSUM_OFFSET)
    return bool(stored == _checksum(_packed(header, 0)[:_CHECKSUM_OFFSET], pages, (bodies,)))


def _packed(header: RecordHeader, checksum: int) -> bytes:
    flags = _SYNCED * header.synced | _AFTER_SYNCED * header.after_synced
    return HEADER.pack(
        MAGIC, VERSION, 0, flags, header.page_size, header.local_lsn, header.slots, header.byte_size,
        header.min_page_count, header.timestamp_us, header.list_offset, header.bodies_offset, header.record_bytes,
        checksum,
    )  # fmt: skip


def _checksum(header: bytes, pages: Data, bodies: Sequence[Data]) -> int:
    digest = xxhash.xxh3_64(header)
    digest.update(pages)
    for body in bodies:
        digest.update(body)
    return digest.intdigest()
