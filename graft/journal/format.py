"""The bytes of a journal record; this module owns the layout (docs/formats/journal.md).

    header 88 bytes · page list u32[slots] and bodies page size × slots, at the offsets that the header names

An appended record has its page list before its bodies. A spilled record has it after them, since its pages were not yet
known when the first bodies were written. A 0 in the page list marks a body that the transaction dropped. The checksum
covers the header (without the checksum itself), the page list and the bodies. All integers are little-endian.

Two flags distinguish damage from a torn tail: a record says whether it was to be synced, and whether the record before
it was. In the second case that record had reached the disk before this one was begun.
"""

import struct
from collections.abc import Collection
from typing import NamedTuple

import xxhash

from graft.errors import Corrupt, Unsupported
from pagestore.objectstore import Data

MAGIC = b"grftjrnl"
VERSION = 1
_START = struct.Struct("<8sHBBIQQQQQQQQ")
HEADER = struct.Struct(f"{_START.format}Q")
"""magic, version, cipher, flags, page size, local LSN, slots, byte size, min page count, timestamp µs, list offset,
bodies offset, record bytes, xxh3-64. Offsets count from the start of the record."""
HEADER_BYTES = HEADER.size
_CHECKSUM = struct.Struct("<Q")
_CHECKSUM_OFFSET = _START.size
ALIGNMENT = 8
_SYNCED, _AFTER_SYNCED = 1, 2


class RecordHeader(NamedTuple):  # made for every commit: a frozen dataclass takes four times as long
    """One local commit, without its pages."""

    page_size: int
    local_lsn: int
    slots: int
    """Bodies in the record, including dropped ones."""
    byte_size: int
    """Size of the volume after the commit."""
    min_page_count: int
    """Smallest page count of the volume during the commit."""
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
    """Return the header of a record whose page list comes before its bodies."""
    bodies_offset = aligned(HEADER_BYTES + 4 * slots)
    return RecordHeader(
        page_size, local_lsn, slots, byte_size, min_page_count, timestamp_us, HEADER_BYTES, bodies_offset,
        aligned(bodies_offset + slots * page_size), synced, after_synced,
    )  # fmt: skip


def spilled_header(
    page_size: int, local_lsn: int, slots: int, byte_size: int, min_page_count: int, timestamp_us: int
) -> RecordHeader:
    """Return the header of a record whose page list comes after its bodies; it has a file to itself and is synced."""
    list_offset = HEADER_BYTES + slots * page_size
    return RecordHeader(
        page_size, local_lsn, slots, byte_size, min_page_count, timestamp_us, list_offset, HEADER_BYTES,
        aligned(list_offset + 4 * slots), synced=True, after_synced=True,
    )  # fmt: skip


def aligned(length: int) -> int:
    """Return the next multiple of `ALIGNMENT`."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def encode_header(header: RecordHeader, page_list: Data, bodies: Collection[Data]) -> bytes:
    """Return the header's bytes with the checksum of the record."""
    start = _packed(header)
    return start + _CHECKSUM.pack(_checksum(start, page_list, bodies))


def decode_header(data: Data, offset: int = 0) -> RecordHeader | None:
    """Read a header, None if there is no valid one; does not check the checksum.

    The parts of a returned header always lie within the record. Raises `Unsupported` for a newer version.
    """
    if len(data) - offset < HEADER_BYTES:
        return None
    magic, version, cipher, flags, *fields, _ = HEADER.unpack_from(data, offset)
    if magic != MAGIC or not version:
        return None
    if version != VERSION or cipher:
        raise Unsupported(f"journal record of version {version}, cipher {cipher}; upgrade graft")
    header = RecordHeader(*fields, *(bool(flags & flag) for flag in (_SYNCED, _AFTER_SYNCED)))
    return header if not flags & ~(_SYNCED | _AFTER_SYNCED) and _is_consistent(header) else None


def _is_consistent(header: RecordHeader) -> bool:
    return (
        min(header.list_offset, header.bodies_offset) >= HEADER_BYTES
        and header.list_offset + 4 * header.slots <= header.record_bytes
        and header.bodies_offset + header.page_size * header.slots <= header.record_bytes
        and header.record_bytes % ALIGNMENT == 0
    )


def page_list(data: Data, header: RecordHeader, offset: int = 0) -> bytes:
    """Return the record's page list; raises `Corrupt` if the record is cut off."""
    start = offset + header.list_offset
    if start + 4 * header.slots > len(data):
        raise Corrupt(f"local commit {header.local_lsn} is cut off: its file ends at byte {len(data)}")
    return bytes(data[start : start + 4 * header.slots])


def is_whole(data: memoryview, header: RecordHeader, offset: int = 0) -> bool:
    """Return whether a record is complete and matches its checksum."""
    if header.record_bytes > len(data) - offset:
        return False
    pages = data[offset + header.list_offset :][: 4 * header.slots]
    bodies = data[offset + header.bodies_offset :][: header.slots * header.page_size]
    (stored,) = _CHECKSUM.unpack_from(data, offset + _CHECKSUM_OFFSET)
    return bool(stored == _checksum(_packed(header), pages, (bodies,)))


def _packed(header: RecordHeader) -> bytes:
    """Return the header's bytes up to the checksum."""
    *fields, synced, after_synced = header
    return _START.pack(MAGIC, VERSION, 0, _SYNCED * synced | _AFTER_SYNCED * after_synced, *fields)


RECORD_LAYOUT = (
    _packed(appended_header(512, 2, 3, 4, 5, 6, synced=True, after_synced=False)),
    _packed(appended_header(65536, 2**40, 10, 2**45, 2**30, 2**50, synced=False, after_synced=True)),
    _CHECKSUM_OFFSET,
    HEADER_BYTES,
    ALIGNMENT,
)
"""What any other encoder of records must match: two headers up to their checksums, with no two fields alike."""


def _checksum(header: bytes, pages: Data, bodies: Collection[Data]) -> int:
    digest = xxhash.xxh3_64(header)
    digest.update(pages)
    for body in bodies:
        digest.update(body)
    return digest.intdigest()
