"""Which rows have other bytes in two versions, from the cells of the pages that differ.

A row in a page that both versions share, in the same tree, is the same in both, so only the cells of the pages that
differ are compared: in key order for tables with rowids, in windows of bounded memory; as a set of whole payloads for
tables without.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft_sqlite_vfs.btree.cells import TABLE_INTERIOR, TABLE_LEAF, Cells, cells_of, kind_of
from graft_sqlite_vfs.diff.version import Version

_WINDOW_BYTES = 1 << 20
_EMPTY = np.empty(0, np.int64)

Rowids = npt.NDArray[np.int64]


def differing_rowids(
    before: Version, before_leaves: Sequence[int], after: Version, after_leaves: Sequence[int]
) -> Iterator[Rowids]:
    """Yield the rowids, ascending, that only one side has, or whose cells differ; the leaves are in key order."""
    left, right = _Window(before, before_leaves), _Window(after, after_leaves)
    while left.fill() | right.fill():
        bound = min(left.bound, right.bound)
        mine, theirs = left.take(bound), right.take(bound)
        found = _differing(mine, theirs)
        if len(found):
            yield found


def whole_payload(version: Version, cells: Cells, cell: int) -> bytes:
    """Return a cell's payload, with what is in overflow pages."""
    size, parts = int(cells.payloads[cell]), [cells.local_part(cell)]
    missing = size - int(cells.local[cell])
    for page in version.chain(int(cells.overflow[cell])) if missing else ():
        part = bytes(version.page(page)[4 : 4 + min(missing, version.shape.usable_bytes - 4)])
        parts.append(part)
        missing -= len(part)
        if not missing:
            break
    if missing:
        raise Corrupt(f"{version.snapshot.describe()}: a row of {size} bytes ends {missing} bytes too early")
    return b"".join(parts)


def cells_in(version: Version, pages: Sequence[int]) -> Iterator[Cells]:
    """Yield the cells of B-tree pages, in windows; a table's interior pages hold no rows and are left out."""
    step = max(1, _WINDOW_BYTES // version.shape.page_bytes)
    for start in range(0, len(pages), step):
        window = pages[start : start + step]
        version.bring(window)
        read = [(page, version.page(page)) for page in window]
        kinds = [kind_of(content, page) for page, content in read]
        for kind in sorted(set(kinds) - {TABLE_INTERIOR}):
            yield cells_of([one for one, its in zip(read, kinds, strict=True) if its == kind], version.shape, kind)


def payload_set(version: Version, pages: Sequence[int]) -> set[bytes]:
    """Return the whole payloads of all cells in these pages of a table without rowids."""
    return {
        whole_payload(version, cells, cell) for cells in cells_in(version, pages) for cell in range(len(cells.starts))
    }


@dataclass(frozen=True, slots=True)
class _Part:
    """Some neighbouring cells."""

    cells: Cells
    rows: slice

    @property
    def rowids(self) -> Rowids:
        return self.cells.rowids[self.rows]

    def bytes_at(self, places: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.uint8]:
        """Return the ``size`` bytes of each of these cells, one row each."""
        found: npt.NDArray[np.uint8] = self.cells.data[self.cells.starts[self.rows][places][:, None] + np.arange(size)]
        return found


class _Window:
    """The cells of leaves in key order, a bounded number at a time."""

    def __init__(self, version: Version, leaves: Sequence[int]) -> None:
        self._version = version
        self._leaves = leaves
        self._next_leaf = 0
        self._step = max(1, _WINDOW_BYTES // version.shape.page_bytes)
        self._cells = cells_of([], version.shape, TABLE_LEAF)
        self._next = 0
        self._last = np.iinfo(np.int64).min

    def fill(self) -> bool:
        """Read on if everything that was read is taken; return whether there is anything."""
        while self._next == len(self._cells.rowids) and self._next_leaf < len(self._leaves):
            leaves = self._leaves[self._next_leaf : self._next_leaf + self._step]
            self._version.bring(leaves)
            pages = [(leaf, self._version.page(leaf)) for leaf in leaves]
            self._cells, self._next = cells_of(pages, self._version.shape, TABLE_LEAF), 0
            self._next_leaf += len(leaves)
            rowids = self._cells.rowids
            if len(rowids) and (rowids[0] < self._last or (np.diff(rowids) <= 0).any()):
                raise Corrupt(f"{self._version.snapshot.describe()}: rowids are out of order at page {leaves[0]}")
            self._last = rowids[-1] if len(rowids) else self._last
        return self._next < len(self._cells.rowids)

    @property
    def bound(self) -> int:
        """Return up to which rowid everything is here; only after `fill`."""
        is_last = self._next_leaf == len(self._leaves)
        return np.iinfo(np.int64).max if is_last else int(self._cells.rowids[-1])

    def take(self, bound: int) -> _Part:
        """Return the cells that are left up to a rowid."""
        end = int(np.searchsorted(self._cells.rowids, bound, side="right"))
        part = _Part(self._cells, slice(self._next, end))
        self._next = end
        return part


def _differing(mine: _Part, theirs: _Part) -> Rowids:
    both, at_mine, at_theirs = np.intersect1d(mine.rowids, theirs.rowids, assume_unique=True, return_indices=True)
    only = np.setxor1d(mine.rowids, theirs.rowids, assume_unique=True)
    if not len(both):
        return only
    differs = np.zeros(len(both), np.bool_)
    for name in ("payloads", "local", "overflow"):
        differs |= getattr(mine.cells, name)[mine.rows][at_mine] != getattr(theirs.cells, name)[theirs.rows][at_theirs]
    sizes = mine.cells.local[mine.rows][at_mine]
    for size in np.unique(sizes[~differs]).tolist():
        alike = np.flatnonzero((sizes == size) & ~differs)
        differs[alike] = (mine.bytes_at(at_mine[alike], size) != theirs.bytes_at(at_theirs[alike], size)).any(axis=1)
    return np.union1d(only, both[differs])
