"""The children that SQLite's interior B-tree pages name, in key order; pure.

Source: "Database File Format", sqlite.org/fileformat2.html, sections 1.6 (B-tree pages) and 1.2 (the header). A parsed
page may not be a B-tree page at all (an overflow page may look like anything), so every field is checked. The result is
a hint, good for prefetching and layout, never for reading.
"""

import struct
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from graft_sqlite_vfs.header import HEADER_BYTES, Buffer

_INTERIOR_INDEX = 2
_INTERIOR_TABLE = 5
INTERIOR = frozenset({_INTERIOR_INDEX, _INTERIOR_TABLE})
"""Values of an interior page's first byte; in page 1 that byte follows the database header."""
_HEADER = struct.Struct(">BHHHBI")
"""Type, first freeblock, cell count, start of the cell content, fragmented bytes, right-most child."""
_CHILD_BYTES = 4

_NONE = np.empty(0, np.uint32)

PageReader = Callable[[int], Buffer]


def is_interior(page: Buffer, index: int) -> bool:
    """Return whether page ``index`` may be an interior B-tree page."""
    return page[HEADER_BYTES if index == 1 else 0] in INTERIOR


def children(page: Buffer, index: int, page_count: int) -> tuple[int, ...]:
    """Return the children that an interior page names, in key order; empty for any other page."""
    return tuple(child_array(page, index, page_count).tolist())


def child_count(page: Buffer, index: int) -> int:
    """Return how many children an interior page claims to have; 0 for any other page."""
    kind, _, cells, _, _, _ = _HEADER.unpack_from(page, HEADER_BYTES if index == 1 else 0)
    return cells + 1 if kind in INTERIOR else 0


def child_array(page: Buffer, index: int, page_count: int) -> npt.NDArray[np.uint32]:
    """Return what `children` returns, as an array."""
    start = HEADER_BYTES if index == 1 else 0
    kind, _, cells, _, _, rightmost = _HEADER.unpack_from(page, start)
    pointers = start + _HEADER.size
    if kind not in INTERIOR or pointers + 2 * cells > len(page):
        return _NONE
    offsets = np.frombuffer(page, ">u2", cells, pointers).astype(np.intp)
    if cells and not pointers + 2 * cells <= offsets.min() <= offsets.max() <= len(page) - _CHILD_BYTES:
        return _NONE
    at_any_byte = np.ndarray((len(page) - _CHILD_BYTES + 1,), ">u4", page, 0, (1,))
    found = np.empty(cells + 1, np.uint32)
    found[:-1], found[-1] = at_any_byte[offsets], rightmost
    ascending = np.sort(found)
    plausible = ascending[0] > 1 and ascending[-1] <= page_count and (ascending[1:] != ascending[:-1]).all()
    return found if plausible else _NONE


def reading_order(
    read: PageReader, roots: Iterable[int], page_count: int, bring: Callable[[Sequence[int]], None] | None = None
) -> tuple[list[int], list[int]]:
    """Return the upper pages and the leaves of B-trees, each in the order in which cold readers need them.

    The upper pages are the whole schema, which every reader reads, then the interior pages of all trees, level by level
    from the top, and tree by tree within a level. So the pages that all readers need come first, however large the
    database is. The leaves follow tree by tree in key order. ``roots`` are the trees' root pages. Only interior pages
    and one leaf of each tree are read. Pages that no tree names (overflow, free list, pointer map) are in neither list.

    ``bring`` is called with pages that are about to be read, so that they can be fetched together.
    """
    seen: set[int] = set()
    roots = list(dict.fromkeys(roots))
    if bring:
        bring(roots)
    schema = _levels(read, 1, page_count, seen, bring)
    trees = [_levels(read, root, page_count, seen, bring) for root in roots]
    depth = max(map(len, trees), default=0)
    interior = [page for level in range(depth - 1) for tree in trees if level < len(tree) - 1 for page in tree[level]]
    leaves = [page for tree in trees if tree for page in tree[-1]]
    return [page for level in schema for page in level] + interior, leaves


def _levels(
    read: PageReader, root: int, page_count: int, seen: set[int], bring: Callable[[Sequence[int]], None] | None
) -> list[list[int]]:
    """Return a tree's pages that are not in ``seen``, level by level from its root; the last level is the leaves."""
    levels: list[list[int]] = []
    level = [root] if root not in seen else []
    while level:
        seen.update(level)
        levels.append(level)
        if not is_interior(read(level[0]), level[0]):
            break
        if bring:
            bring(level)
        below = dict.fromkeys(child for index in level for child in children(read(index), index, page_count))
        level = [child for child in below if child not in seen]
    return levels
