"""The order of B-tree pages by key: what no page store knows, and what makes a scan of scattered pages predictable.

An interior page names its children in key order. Those that pass by are remembered as "page → parent", 4 bytes a page;
their children are read again from the page itself when they are needed. Everything is a hint: it is checked against the
version being read, and where it is out of date, the order simply ends.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graft.readahead import NumberOrder, PageOrder
from graft_sqlite_vfs.btree import child_array, children, is_interior
from graft_sqlite_vfs.header import Buffer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 65536
"""Pages; memory of a block is taken as it is written to."""
_FAMILIES_MAX = 64
_HEIGHT_MAX = 20
"""SQLite's own bound on the height of a tree."""

Peek = Callable[[int], Buffer | None]
"""Returns a page's bytes if they are here, without fetching anything."""


class Parents:
    """Which interior page named which page, over all that were seen; shared by the threads of a process."""

    def __init__(self) -> None:
        """Know nothing."""
        self.unseen: deque[int] = deque()
        """Frames that arrived and in which nobody has looked for interior pages: who has all at hand need not know."""
        self._blocks: dict[int, NDArray[np.uint32]] = {}
        self._lock = threading.Lock()  # guards the making of blocks

    def saw(self, index: int, page: Buffer, page_count: int) -> None:
        """Learn from a page, if it is an interior one."""
        if not is_interior(page, index):
            return
        named = child_array(page, index, page_count)
        blocks = named // _BLOCK
        if named.size and blocks.min() == blocks.max():
            self._block(int(blocks[0]))[named % _BLOCK] = index
            return
        for number in set(blocks.tolist()):
            self._block(number)[named[blocks == number] % _BLOCK] = index

    def of(self, page: int) -> int:
        """Return the page that last named this one as its child, 0 if none did."""
        block = self._blocks.get(page // _BLOCK)
        return int(block[page % _BLOCK]) if block is not None else 0

    def _block(self, number: int) -> "NDArray[np.uint32]":
        block = self._blocks.get(number)
        if block is None:
            with self._lock:
                block = self._blocks.setdefault(number, np.zeros(_BLOCK, np.uint32))
        return block


class KeyOrder:
    """The order of one version's B-trees; pages that no known tree names are ordered by number."""

    def __init__(
        self, parents: Parents, peek: Peek, page_count: int, families: dict[int, tuple[int, ...]] | None = None
    ) -> None:
        """Use what is known of parents, and ``peek`` to check it against the version.

        ``families`` are the children of this version's interior pages, as far as they were read; more are added.
        """
        self._parents = parents
        self._peek = peek
        self._page_count = page_count
        self._families = {} if families is None else families

    def following(self, page: int, direction: int) -> Iterator[int]:
        """Yield leaves and the interior pages between them, as a scan in key order would read them."""
        siblings = self._siblings(page, direction)
        if siblings is None:
            yield from self._by_number().following(page, direction)
            return
        height = 0
        while siblings is not None:
            for sibling in siblings:
                yield sibling
                yield from self._below(sibling, direction, height)
            page = self._parents.of(page)
            siblings = self._siblings(page, direction)
            height += 1

    def distance(self, page: int, other: int, direction: int, steps_max: int) -> int:
        """See `graft.readahead.PageOrder.distance`; counts families where `following` goes from page to page."""
        siblings = self._siblings(page, direction)
        if siblings is None:
            return self._by_number().distance(page, other, direction, steps_max)
        steps, height = 0, 0
        while siblings is not None:
            found, steps = self._counted(siblings, other, direction, height, steps, steps_max)
            if found or steps >= steps_max:
                return steps if found and steps <= steps_max else 0
            page = self._parents.of(page)
            siblings = self._siblings(page, direction)
            height += 1
        return 0

    def _counted(
        self, pages: Sequence[int], other: int, direction: int, height: int, steps: int, steps_max: int
    ) -> tuple[bool, int]:
        """Go through pages, and what is below each, to ``other``; tell whether it is there, and the steps so far."""
        if not height:
            return (True, steps + pages.index(other) + 1) if other in pages else (False, steps + len(pages))
        for page in pages:
            steps += 1
            if page == other or steps >= steps_max:
                return page == other, steps
            family = self._children(page)[::direction]
            found, steps = self._counted(family, other, direction, height - 1, steps, steps_max)
            if found or steps >= steps_max:
                return found, steps
        return False, steps

    def tree(self, page: int) -> int:
        """Return the topmost page above one, as far as parents are known; 0 for a page of which none is."""
        top = page
        for _ in range(_HEIGHT_MAX):
            parent = self._parents.of(top)
            if not parent:
                break
            top = parent
        return top if top != page else 0

    def _siblings(self, page: int, direction: int) -> tuple[int, ...] | None:
        parent = self._parents.of(page)
        family = self._children(parent) if parent else ()
        if page not in family:
            return None
        place = family.index(page)
        return family[place + 1 :] if direction > 0 else family[:place][::-1]

    def _below(self, page: int, direction: int, height: int) -> Iterator[int]:
        if not height:
            return
        for child in self._children(page)[::direction]:
            yield child
            yield from self._below(child, direction, height - 1)

    def _children(self, page: int) -> tuple[int, ...]:
        found = self._families.get(page)
        if found is not None:
            return found
        body = self._peek(page)
        if body is None:
            return ()
        if len(self._families) >= _FAMILIES_MAX:
            self._families.clear()
        found = self._families[page] = children(body, page, self._page_count)
        return found

    def _by_number(self) -> PageOrder:
        return NumberOrder(self._page_count)
