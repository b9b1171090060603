"""What an SQLite page says of other pages: the children of interior B-tree pages, in key order; pure.

Source: "Database File Format", sqlite.org/fileformat2.html, sections 1.6 (B-tree pages) and 1.2 (the header). Pages are
parsed on suspicion (an overflow page may look like anything), so everything is checked and nothing is trusted: what
comes out is a hint, good for prefetching and layout, never for reading.
"""

import struct
from collections.abc import Callable, Iterable

from graft_sqlite_vfs.header import HEADER_BYTES, Buffer

_INTERIOR_INDEX = 2
_INTERIOR_TABLE = 5
_INTERIOR = frozenset({_INTERIOR_INDEX, _INTERIOR_TABLE})
_HEADER = struct.Struct(">BHHHBI")
"""type, first freeblock, cells, start of the cell content, fragmented bytes, right-most child."""
_CHILD = struct.Struct(">I")

PageReader = Callable[[int], Buffer]


def is_interior(page: Buffer, index: int) -> bool:
    """Tell whether page ``index`` may be an interior B-tree page."""
    return page[HEADER_BYTES if index == 1 else 0] in _INTERIOR


def children(page: Buffer, index: int, page_count: int) -> tuple[int, ...]:
    """Return the children that an interior page names, in key order; nothing for any other page."""
    start = HEADER_BYTES if index == 1 else 0
    kind, _, cells, _, _, rightmost = _HEADER.unpack_from(page, start)
    pointers = start + _HEADER.size
    if kind not in _INTERIOR or pointers + 2 * cells > len(page):
        return ()
    offsets: tuple[int, ...] = struct.unpack_from(f">{cells}H", page, pointers)
    if any(not pointers + 2 * cells <= offset <= len(page) - _CHILD.size for offset in offsets):
        return ()
    found = (*(_CHILD.unpack_from(page, offset)[0] for offset in offsets), rightmost)
    plausible = len(set(found)) == len(found) and all(1 < child <= page_count for child in found)
    return found if plausible else ()


def read_order(read: PageReader, roots: Iterable[int], page_count: int) -> list[int]:
    """Return the pages of B-trees in the order in which cold readers want them side by side.

    First page 1 and all interior pages, each tree's level by level, so that the way down to any row lies together; then
    each tree's leaves in key order. ``roots`` are the trees' root pages. Only interior pages are read, and one leaf of
    each tree. Pages that no tree names (overflow, free list, pointer map) are not in the list.
    """
    interior, seen = [1], {1}
    leaves: list[int] = []
    for root in dict.fromkeys((1, *roots)):
        level = [root]
        while level and is_interior(read(level[0]), level[0]):
            interior.extend(index for index in level if index != 1)
            seen.update(level)
            level = [
                child for index in level for child in children(read(index), index, page_count) if child not in seen
            ]
        leaves.extend(index for index in level if index not in seen)
        seen.update(level)
    return interior + leaves
