"""Which of the pages that differ between two versions belong to which table: found from the top, along guide keys.

SQLite changes pages in place, so an unchanged interior page says nothing of what is below it, and a page does not name
its tree. But a page of a table's B-tree holds keys, and the way down by such a key leads to the page if it is in the
tree, and to another page if it is not. So all tables are searched at once, level by level, along the first keys of the
changed pages alone: reading follows the size of the change, and each level is one round trip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft_sqlite_vfs.btree.cells import (
    INDEX_INTERIOR,
    INDEX_LEAF,
    TABLE_INTERIOR,
    TABLE_LEAF,
    children_of,
    first_key,
    keys_of,
    kind_of,
)
from graft_sqlite_vfs.diff.version import Version

PageSet = npt.NDArray[np.bool_]
"""Whether a page is in the set, by its index."""

_HEIGHT_MAX = 20
"""SQLite's own bound on the height of a tree."""
_INTERIOR = {TABLE_INTERIOR, INDEX_INTERIOR}
_BTREE = {TABLE_INTERIOR, INDEX_INTERIOR, TABLE_LEAF, INDEX_LEAF}


@dataclass(slots=True)
class TreePages:
    """The changed pages of one version of a table's B-tree."""

    leaves: list[int] = field(default_factory=list)
    """In key order."""
    interior: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    """Leaves that are the same in both versions, and in this tree in only one of them."""

    def rows(self) -> list[int]:
        """Return the pages whose cells may be other rows than in the other version."""
        return self.leaves + self.moved

    def all(self) -> list[int]:
        """Return all of them."""
        return self.leaves + self.interior + self.moved


@dataclass(frozen=True, slots=True)
class Guides:
    """Keys by which pages can be found in the tree that they belong to, if they belong to one."""

    keys: npt.NDArray[np.int64]
    """Ascending."""
    pages: npt.NDArray[np.int64]
    """The page that each was read from."""


def guides_to(version: Version, pages: Sequence[int]) -> Guides:
    """Return the guides to those of ``pages`` that may be pages of a table's B-tree."""
    found = [(key, page) for page in pages if (key := first_key(version.page(page), page)) is not None]
    found.sort()
    keys, indexes = zip(*found, strict=True) if found else ((), ())
    return Guides(np.array(keys, np.int64), np.array(indexes, np.int64))


def guided(version: Version, roots: Sequence[int], changed: PageSet, guides: Guides) -> dict[int, TreePages]:
    """Return the changed pages of these tables' trees, by root page; ``guides`` lead to all that may be among them."""
    search = _Search(version, changed, guides, {root: TreePages() for root in roots})
    levels: dict[int, _Level] = {root: [(root, np.arange(len(guides.keys)))] for root in roots}
    version.bring(roots)
    for _ in range(_HEIGHT_MAX):
        if not levels:
            return search.found
        levels = search.below(levels)
    raise Corrupt("the B-trees of the database are too high")


_Level = list[tuple[int, npt.NDArray[np.int64]]]
"""Pages of one level of a tree, in key order, each with the positions of the guides that lead to it."""


@dataclass(frozen=True, slots=True)
class _Search:
    """The search of several trees, level by level from their roots."""

    version: Version
    changed: PageSet
    guides: Guides
    found: dict[int, TreePages]

    def below(self, levels: dict[int, _Level]) -> dict[int, _Level]:
        """Note which pages of these levels are changed; return the pages of the levels below that guides lead to."""
        claimed = np.zeros(len(self.changed), np.bool_)
        kinds = {root: kind for root, level in levels.items() if (kind := self._known_kind(level, claimed))}
        # A guide to a page that is in one tree leads nowhere in the others.
        levels = {root: left for root, level in levels.items() if (left := self._without(level, claimed))}
        unknown = {root: level[0][0] for root, level in levels.items() if root not in kinds}
        self.version.bring(unknown.values())
        kinds |= {root: kind_of(self.version.page(page), page) for root, page in unknown.items()}
        for root, level in levels.items():
            pages = [page for page, _ in level if self.changed[page]]
            if kinds[root] == TABLE_LEAF:
                self.found[root].leaves = pages
            elif kinds[root] == TABLE_INTERIOR:
                self.found[root].interior += pages
            else:
                raise Corrupt(f"page {level[0][0]} of the database: a page of a table's B-tree was expected")
        interior = {root: level for root, level in levels.items() if kinds[root] == TABLE_INTERIOR}
        self.version.bring(page for level in interior.values() for page, _ in level)
        return {root: below for root, level in interior.items() if (below := self._children(level))}

    def _known_kind(self, level: _Level, claimed: PageSet) -> int:
        """Return the kind of a level's pages if one of them is changed, so that it was read already; else 0."""
        mine = [page for page, _ in level if self.changed[page]]
        claimed[mine] = True
        return kind_of(self.version.page(mine[0]), mine[0]) if mine else 0

    def _without(self, level: _Level, claimed: PageSet) -> _Level:
        return [
            (page, left)
            for page, guides in level
            if len(left := guides[~claimed[self.guides.pages[guides]]]) or self.changed[page]
        ]

    def _children(self, level: _Level) -> _Level:
        below: _Level = []
        for page, guides in level:
            content = self.version.page(page)
            children, keys = children_of(content, page), keys_of(content, page)
            places = np.searchsorted(keys, self.guides.keys[guides], side="left")
            for place in np.unique(places).tolist():
                child = int(children[place])
                if not 1 < child < len(self.changed):
                    raise Corrupt(f"page {page} of the database names page {child}, of {len(self.changed) - 1}")
                below.append((child, guides[places == place]))
        return below


def all_changed(version: Version, root: int, changed: PageSet) -> TreePages:
    """Return the changed pages of a tree of either kind, by reading all its interior pages."""
    found, level = TreePages(), [root]
    for _ in range(_HEIGHT_MAX):
        version.bring(level[:1])
        kind = kind_of(version.page(level[0]), level[0])
        mine = [page for page in level if changed[page]]
        if kind not in _INTERIOR:
            if kind not in _BTREE:
                raise Corrupt(f"page {level[0]} of the database is not a B-tree page")
            found.leaves = mine
            return found
        found.interior += mine
        version.bring(level)
        below = [child for page in level for child in children_of(version.page(page), page).tolist()]
        if not below or max(below) >= len(changed) or min(below) < 1:
            raise Corrupt(f"page {level[0]} of the database, or one of its level, names pages beyond the end")
        level = below
    raise Corrupt(f"the B-tree at page {root} of the database is too high")


def page_set(pages: Iterable[int], page_count: int) -> PageSet:
    """Return a set of pages of a version that has ``page_count`` of them; others are left out."""
    result = np.zeros(page_count + 1, np.bool_)
    indexes = np.fromiter(pages, np.int64)
    result[indexes[indexes <= page_count]] = True
    return result
