"""Finds which B-trees changed between two versions of a database without reading the trees.

A database with auto_vacuum has a pointer map, which stores the type and the parent of each page. Following parents from
each changed page leads to the root of its tree. Source: "Database File Format", sqlite.org/fileformat2.html, section
1.8.

No changed tree is missed: if every page of a tree were as before, its root would name the same children with the same
contents. Trees whose pages only moved are reported too.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from graft.operations.changes import moved_pages
from graft.reading.snapshot import Snapshot
from graft_sqlite_vfs.header import Buffer, is_database

PAGES_MAX = 50_000
"""With more changed pages than this, the search costs more than it saves."""
_ENTRY_BYTES = 5
_LOCK_BYTE = 0x4000_0000
_ROOT, _FREE, _OVERFLOW_FIRST, _OVERFLOW_NEXT, _CHILD = range(1, 6)
_COOKIE = slice(40, 44)
_LARGEST_ROOT = slice(52, 56)
_RESERVED = 20


@dataclass(frozen=True, slots=True)
class PointerMap:
    """The position of a database's pointer map."""

    page_size: int
    reserved: int
    """Bytes at the end of each page that SQLite does not use."""

    @property
    def span(self) -> int:
        """The number of pages that one map page covers, itself included."""
        return (self.page_size - self.reserved) // _ENTRY_BYTES + 1

    @property
    def lock_page(self) -> int:
        """The page with SQLite's lock bytes, which holds no data."""
        return _LOCK_BYTE // self.page_size + 1

    def map_page(self, page: int) -> int:
        """Return the map page that has the entry for a page; for a map page, itself."""
        found = (page - 2) // self.span * self.span + 2
        return found + 1 if found == self.lock_page else found

    def covers(self, page: int) -> bool:
        """Return whether the map has an entry for a page."""
        return page > 1 and page != self.lock_page and page > self.map_page(page)

    def entry(self, map_page: Buffer, page: int) -> tuple[int, int]:
        """Return the type of a page, and its parent."""
        start = _ENTRY_BYTES * (page - self.map_page(page) - 1)
        return map_page[start], int.from_bytes(map_page[start + 1 : start + _ENTRY_BYTES], "big")


def changed_roots(before: Snapshot, after: Snapshot) -> frozenset[int] | None:
    """Return the root pages of the trees that changed between two versions of one replica; None: possibly all.

    Returns None for a changed schema, for databases without a pointer map, and for very many changed pages. Reads page
    1 and map pages, and fetches those that are missing; raises the errors of graft.
    """
    first, last = bytes(before.read(1)[:100]), bytes(after.read(1)[:100])
    if not is_database(first) or not is_database(last) or first[_COOKIE] != last[_COOKIE]:
        return None
    if last[_LARGEST_ROOT] == bytes(4):
        return None
    pages = moved_pages(before.page_map, after.page_map)
    if len(pages) > PAGES_MAX:
        return None
    return roots_of(after, pages.tolist(), PointerMap(after.page_size, last[_RESERVED]))


def roots_of(snapshot: Snapshot, pages: Iterable[int], pointers: PointerMap) -> frozenset[int] | None:
    """Return the roots of the trees that pages belong to; None if the map is not consistent."""
    roots: set[int] = set()
    seen: set[int] = set()
    level = {page for page in pages if pointers.covers(page)}
    while level:
        seen |= level
        above = _above(snapshot, level, pointers, roots)
        if above is None:
            return None
        level = above - seen
    return None if 1 in roots else frozenset(roots)


def _above(snapshot: Snapshot, level: Collection[int], pointers: PointerMap, roots: set[int]) -> set[int] | None:
    """Return the parents of a level's pages, and add the roots among the level to ``roots``; one batch of reads."""
    snapshot.prefetch(sorted({pointers.map_page(page) for page in level}))
    above = set()
    for page in level:
        kind, parent = pointers.entry(snapshot.read(pointers.map_page(page)), page)
        if kind == _ROOT:
            roots.add(page)
        elif kind in {_OVERFLOW_FIRST, _OVERFLOW_NEXT, _CHILD}:
            if parent == 1:
                roots.add(1)  # the schema table
            elif pointers.covers(parent) and parent <= snapshot.page_count:
                above.add(parent)
            else:
                return None
        elif kind != _FREE:
            return None
    return above
