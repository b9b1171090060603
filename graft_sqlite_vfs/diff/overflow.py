"""Rows whose cells are the same in both versions, and whose overflow pages are not.

SQLite writes a value of the same length over the old one, page by page, so a long value may change where its cell does
not. An overflow page does not name its row. The owners are looked for where they are most likely, and no longer than
there is a page without one: the rows of changed pages, the free list, changed index pages, and at last all rows with
overflow pages.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from graft_sqlite_vfs.btree.cells import INDEX_INTERIOR, INDEX_LEAF, Cells, kind_of
from graft_sqlite_vfs.diff.payloads import cells_in
from graft_sqlite_vfs.diff.version import Version

_INDEX = {INDEX_INTERIOR, INDEX_LEAF}
_SQLITE_LOCK_BYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class Owner:
    """A row that runs on in a changed overflow page."""

    root: int
    """Its table's root page."""
    cells: Cells
    cell: int


def owners(
    before: Version,
    after: Version,
    changed: Sequence[int],
    trees: dict[int, list[int]],
    all_pages: Callable[[int], Sequence[int]],
) -> Iterator[Owner]:
    """Yield the rows of ``after`` that run on in pages of ``changed``, which both versions have.

    ``trees`` are the changed pages of each table's tree, by root page; ``all_pages`` returns all that hold rows.
    """
    claimed = {page for pages in trees.values() for page in pages}
    wanted = {page for page in changed if page not in claimed and _may_overflow(before, after, page)}
    for root, pages in trees.items():
        yield from _owners_in(after, root, pages, wanted)
    if not wanted:
        return
    free = set(after.free_pages())
    wanted -= free
    index_pages = [page for page in changed if page not in claimed and page not in free and _is_index(after, page)]
    for _ in _owners_in(after, 0, index_pages, wanted):
        pass
    for root, pages in trees.items():
        if wanted:
            known = set(pages)
            yield from _owners_in(after, root, [page for page in all_pages(root) if page not in known], wanted)


def _owners_in(version: Version, root: int, pages: Sequence[int], wanted: set[int]) -> Iterator[Owner]:
    for cells in cells_in(version, pages) if wanted else ():
        for cell in cells.overflow.nonzero()[0].tolist():
            if not wanted:
                return
            if _claims(version.chain(int(cells.overflow[cell])), wanted):
                yield Owner(root, cells, cell)


def _claims(chain: Iterable[int], wanted: set[int]) -> bool:
    """Take the pages of a chain off ``wanted``; return whether there were any."""
    mine = wanted.intersection(chain)
    wanted -= mine
    return bool(mine)


def _is_index(version: Version, page: int) -> bool:
    return page <= version.page_count and kind_of(version.page(page), page) in _INDEX


def _may_overflow(before: Version, after: Version, page: int) -> bool:
    """Return whether a page may be an overflow page of the same row in both versions."""
    if page > min(before.page_count, after.page_count) or page == 1 or after.is_pointer_map(page):
        return False
    if page == _SQLITE_LOCK_BYTE // after.shape.page_bytes + 1:
        return False
    return int.from_bytes(after.page(page)[:4], "big") <= after.page_count
