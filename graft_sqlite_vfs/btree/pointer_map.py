"""Which B-trees changed between two versions of a database, told without reading the trees.

A database with auto_vacuum keeps a pointer map: for each page what it is, and the page that leads to it. From every
page that changed the way up leads to the root of its tree. Source: "Database File Format", sqlite.org/fileformat2.html,
section 1.8.

A tree that differs has a page that changed: were all pages that it is made of now as they were, its root would name the
same children with the same contents. So nothing is missed; trees whose pages merely moved are named too.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from graft.operations.changes import moved_pages
from graft.reading.snapshot import Snapshot
from graft_sqlite_vfs.header import Buffer, is_database

PAGES_MAX = 50_000
"""With more changed pages than these, it is not worth finding out."""
_ENTRY_BYTES = 5
_LOCK_BYTE = 0x4000_0000
_ROOT, _FREE, _OVERFLOW_FIRST, _OVERFLOW_NEXT, _CHILD = range(1, 6)
_COOKIE = slice(40, 44)
_LARGEST_ROOT = slice(52, 56)
_RESERVED = 20


@dataclass(frozen=True, slots=True)
class PointerMap:
    """Where the pointer map of a database is."""

    page_size: int
    reserved: int
    """Bytes at the end of each page that SQLite does not use."""

    @property
    def span(self) -> int:
        """How many pages a page of the map and those that it tells of are."""
        return (self.page_size - self.reserved) // _ENTRY_BYTES + 1

    @property
    def lock_page(self) -> int:
        """The page that is never used."""
        return _LOCK_BYTE // self.page_size + 1

    def map_page(self, page: int) -> int:
        """Return the page of the map that tells of a page; pages of the map tell of themselves."""
        found = (page - 2) // self.span * self.span + 2
        return found + 1 if found == self.lock_page else found

    def tells_of(self, page: int) -> bool:
        """Tell whether the map has an entry for a page."""
        return page > 1 and page != self.lock_page and page > self.map_page(page)

    def entry(self, map_page: Buffer, page: int) -> tuple[int, int]:
        """Return what a page is, and the page that leads to it."""
        start = _ENTRY_BYTES * (page - self.map_page(page) - 1)
        return map_page[start], int.from_bytes(map_page[start + 1 : start + _ENTRY_BYTES], "big")


def changed_roots(before: Snapshot, after: Snapshot) -> frozenset[int] | None:
    """Return the root pages of the trees that changed between two versions of one replica; None for: maybe all.

    None stands for a changed schema, for databases without a pointer map, and for very many changed pages. Reads page 1
    and pages of the map, which are fetched where they are not here; raises the errors of graft.
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
    """Return the roots of the trees that pages belong to; None where the map makes no sense."""
    roots: set[int] = set()
    seen: set[int] = set()
    level = {page for page in pages if pointers.tells_of(page)}
    while level:
        seen |= level
        above = _above(snapshot, level, pointers, roots)
        if above is None:
            return None
        level = above - seen
    return None if 1 in roots else frozenset(roots)


def _above(snapshot: Snapshot, level: Collection[int], pointers: PointerMap, roots: set[int]) -> set[int] | None:
    """Return the pages that lead to those of a level, and note the roots among the level; one batch of reads."""
    snapshot.prefetch(sorted({pointers.map_page(page) for page in level}))
    above = set()
    for page in level:
        kind, parent = pointers.entry(snapshot.read(pointers.map_page(page)), page)
        if kind == _ROOT:
            roots.add(page)
        elif kind in {_OVERFLOW_FIRST, _OVERFLOW_NEXT, _CHILD}:
            if parent == 1:
                roots.add(1)  # the schema table
            elif pointers.tells_of(parent) and parent <= snapshot.page_count:
                above.add(parent)
            else:
                return None
        elif kind != _FREE:
            return None
    return above
