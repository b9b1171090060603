"""The cells of B-tree pages, read in bulk and checked; pure.

Source: "Database File Format", sqlite.org/fileformat2.html, section 1.6:

    table leaf       13    payload size (varint), rowid (varint), payload, first overflow page (4)
    table interior    5    left child (4), key (varint)
    index leaf       10    payload size (varint), payload, first overflow page (4)
    index interior    2    left child (4), payload size (varint), payload, first overflow page (4)

Unlike the hints of `graft_sqlite_vfs.btree.pages`, what is read here becomes an answer: a page that is not well formed
raises `Corrupt`. Positions are offsets into all the pages that were given, one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft_sqlite_vfs.header import HEADER_BYTES, Buffer

INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
_HEADER_BYTES = {INDEX_INTERIOR: 12, TABLE_INTERIOR: 12, INDEX_LEAF: 8, TABLE_LEAF: 8}
_POINTER_BYTES = 4
_VARINT_BYTES_MAX = 9

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PageShape:
    """What cells look like in the pages of one database."""

    page_bytes: int
    usable_bytes: int
    """Without the bytes that extensions reserve at the end of each page."""

    def local_bytes(self, payloads: Positions, *, of_table: bool) -> Positions:
        """Return how much of each payload is in its cell; the rest is in overflow pages."""
        usable = self.usable_bytes
        most = usable - 35 if of_table else (usable - 12) * 64 // 255 - 23
        least = (usable - 12) * 32 // 255 - 23
        spilled = least + (payloads - least) % (usable - 4)
        return np.where(payloads <= most, payloads, np.where(spilled <= most, spilled, least))


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of pages of one kind, in the order of the pages and, within each, of the keys."""

    data: Bytes
    """All pages, one after the other."""
    rowids: Positions
    """Of a table's leaves; empty for index pages."""
    starts: Positions
    """Where each cell's part of its payload begins."""
    local: Positions
    """How many bytes of the payload are there."""
    payloads: Positions
    """How many bytes the whole payload has."""
    overflow: npt.NDArray[np.uint32]
    """The first overflow page, 0 where the whole payload is in the cell."""

    def local_part(self, cell: int) -> bytes:
        """Return a cell's part of its payload."""
        start = int(self.starts[cell])
        return self.data[start : start + int(self.local[cell])].tobytes()


def kind_of(page: Buffer, index: int) -> int:
    """Return the first byte of a B-tree page, which tells its kind; that of another page may be anything."""
    return page[HEADER_BYTES if index == 1 else 0]


def children_of(page: Buffer, index: int) -> npt.NDArray[np.uint32]:
    """Return the children of an interior page, in key order."""
    start = HEADER_BYTES if index == 1 else 0
    offsets = _pointers(page, index)
    data = _padded([page])
    _require(offsets, _POINTER_BYTES, len(page), [index])
    rightmost = np.frombuffer(page, ">u4", 1, start + 8)
    return np.concatenate([_numbers(data, offsets), rightmost]).astype(np.uint32)


def keys_of(page: Buffer, index: int) -> Positions:
    """Return the keys of a table's interior page: child number i holds rowids up to key i, the last one all others."""
    offsets = _pointers(page, index)
    _require(offsets, _POINTER_BYTES + 1, len(page), [index])
    return _varints(_padded([page]), offsets + _POINTER_BYTES)[0]


def first_key(page: Buffer, index: int) -> int | None:
    """Return the first key of a page of a table's B-tree, None if it is no such page or has none.

    The page may be a free or an overflow page that only looks like one, so this checks nothing beyond its bounds.
    """
    start = HEADER_BYTES if index == 1 else 0
    kind = page[start]
    if kind not in {TABLE_LEAF, TABLE_INTERIOR} or not int.from_bytes(page[start + 3 : start + 5], "big"):
        return None
    header = _HEADER_BYTES[kind]
    at = int.from_bytes(page[start + header : start + header + 2], "big")
    try:
        if kind == TABLE_LEAF:
            _, at = _varint(page, at)
        return _varint(page, at if kind == TABLE_LEAF else at + _POINTER_BYTES)[0]
    except IndexError:
        return None


def cells_of(pages: Sequence[tuple[int, Buffer]], shape: PageShape, kind: int) -> Cells:
    """Return the cells of pages that are all of one kind, but for `TABLE_INTERIOR`, given with their page indexes."""
    starts = []
    for number, (index, page) in enumerate(pages):
        if kind_of(page, index) != kind:
            raise Corrupt(f"page {index} of the database: a B-tree page of kind {kind} was expected")
        starts.append(_pointers(page, index) + number * shape.page_bytes)
    data, cells = _padded([page for _, page in pages]), _joined(starts)
    indexes = [index for index, _ in pages]
    _require(cells, 1, len(data) - _VARINT_BYTES_MAX, indexes)
    if kind == INDEX_INTERIOR:
        cells = cells + _POINTER_BYTES
    payloads, behind = _varints(data, cells)
    rowids = np.empty(0, np.int64)
    if kind == TABLE_LEAF:
        rowids, behind = _varints(data, behind)
    local = shape.local_bytes(payloads, of_table=kind == TABLE_LEAF)
    spills = payloads > local
    ends = behind + local + spills * _POINTER_BYTES
    page_ends = (cells // shape.page_bytes + 1) * shape.page_bytes
    if (payloads < 0).any() or (ends > page_ends).any():
        raise Corrupt(f"B-tree pages of the database ({_named(indexes)}): a cell reaches beyond its page")
    overflow = np.zeros(len(cells), np.uint32)
    overflow[spills] = _numbers(data, (behind + local)[spills])
    return Cells(data, rowids, behind, local, payloads, overflow)


def _pointers(page: Buffer, index: int) -> Positions:
    """Return the offsets of a page's cells."""
    start = HEADER_BYTES if index == 1 else 0
    header = _HEADER_BYTES.get(page[start])
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    if header is None or start + header + 2 * count > len(page):
        raise Corrupt(f"page {index} of the database is not a B-tree page")
    return np.frombuffer(page, ">u2", count, start + header).astype(np.int64)


def _require(cells: Positions, size: int, end: int, indexes: Sequence[int]) -> None:
    if len(cells) and not 0 <= int(cells.min()) <= int(cells.max()) <= end - size:
        raise Corrupt(f"B-tree pages of the database ({_named(indexes)}): a cell lies outside of its page")


def _named(indexes: Sequence[int]) -> str:
    return str(indexes[0]) if len(indexes) == 1 else f"{indexes[0]} and {len(indexes) - 1} more"


def _padded(pages: Sequence[Buffer]) -> Bytes:
    """Return pages as one array, with room behind it for the varint that a broken page may end with."""
    return np.frombuffer(b"".join([*pages, bytes(_VARINT_BYTES_MAX)]), np.uint8)


def _joined(parts: Sequence[Positions]) -> Positions:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _numbers(data: Bytes, at: Positions) -> npt.NDArray[np.uint32]:
    """Return the big-endian 32-bit numbers at these positions."""
    found = data[at[:, None] + np.arange(_POINTER_BYTES)].astype(np.uint32)
    numbers: npt.NDArray[np.uint32] = found[:, 0] << 24 | found[:, 1] << 16 | found[:, 2] << 8 | found[:, 3]
    return numbers


def _varints(data: Bytes, at: Positions) -> tuple[Positions, Positions]:
    """Return the varints at these positions, and where each of them ends."""
    first = data[at]
    values, ends = (first & 0x7F).astype(np.uint64), at + 1
    unfinished = np.flatnonzero(first >= 0x80)
    for count in range(1, _VARINT_BYTES_MAX):
        if not len(unfinished):
            break
        byte = data[np.minimum(at[unfinished] + count, len(data) - 1)].astype(np.uint64)
        is_last = count == _VARINT_BYTES_MAX - 1
        values[unfinished] = (
            values[unfinished] << np.uint64(8) | byte
            if is_last
            else values[unfinished] << np.uint64(7) | byte & np.uint64(0x7F)
        )
        ends[unfinished] += 1
        unfinished = unfinished[byte >= 0x80]
    return values.view(np.int64), ends


def _varint(page: Buffer, position: int) -> tuple[int, int]:
    """Return the varint at a position as a signed number, and where it ends; `IndexError` beyond the page."""
    value = 0
    for count in range(_VARINT_BYTES_MAX):
        byte = page[position + count]
        if count == _VARINT_BYTES_MAX - 1:
            value = value << 8 | byte
            return value - (1 << 64) if value >> 63 else value, position + _VARINT_BYTES_MAX
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, position + count + 1
