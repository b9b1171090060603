"""The root pages of a database's tables and indexes, read from the pages of its schema table; pure.

Source: "Database File Format", sqlite.org/fileformat2.html, sections 1.6 (cells), 2.1 (records) and 2.6 (the schema
table: type, name, tbl_name, rootpage, sql). Like everything parsed from pages in this package, the result is a hint.
"""

import struct
from collections.abc import Iterator

from graft_sqlite_vfs.btree.pages import PageReader, children, is_interior
from graft_sqlite_vfs.header import HEADER_BYTES, Buffer

_LEAF_TABLE = 13
_LEAF_HEADER = struct.Struct(">BHHHB")
_ROOT_PAGE_COLUMN = 3


def root_pages(read: PageReader, page_count: int) -> list[int]:
    """Return the root pages named by the schema table, whose root is page 1."""
    level = [1]
    while is_interior(read(level[0]), level[0]):
        below = [child for index in level for child in children(read(index), index, page_count)]
        if not below or len(below) > page_count:
            return []
        level = below
    return [root for index in level for root in _roots(read(index), index) if 1 < root <= page_count]


def _roots(page: Buffer, index: int) -> Iterator[int]:
    start = HEADER_BYTES if index == 1 else 0
    kind, _, cells, _, _ = _LEAF_HEADER.unpack_from(page, start)
    pointers = start + _LEAF_HEADER.size
    if kind != _LEAF_TABLE or pointers + 2 * cells > len(page):
        return
    for cell in struct.unpack_from(f">{cells}H", page, pointers):
        try:
            _, row_id = _varint(page, cell)
            _, record = _varint(page, row_id)
            root = _integer_column(page, record, _ROOT_PAGE_COLUMN)
        except IndexError:
            continue  # a very long name pushes the fourth column into an overflow page
        if root is not None:
            yield root


def _integer_column(page: Buffer, record: int, column: int) -> int | None:
    """Return an integer column of a record; None for other types; `IndexError` where it is not on this page."""
    header_bytes, position = _varint(page, record)
    body = record + header_bytes
    for _ in range(column):
        kind, position = _varint(page, position)
        body += _size_of(kind)
    kind, _ = _varint(page, position)
    size = _size_of(kind)
    if not 1 <= kind <= 6 or body + size > len(page):
        return 0 if kind == 8 else 1 if kind == 9 else None
    return int.from_bytes(page[body : body + size], "big", signed=True)


def _size_of(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _varint(page: Buffer, position: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = page[position + count]
        if count == 8:
            return value << 8 | byte, position + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + count + 1
    raise AssertionError("BUG: a varint has at most nine bytes")
