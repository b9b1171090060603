"""The order of B-tree pages by key, which makes a scan of scattered pages predictable.

An interior page names its children in key order. When a replica sees an interior page, it records "page → parent" for
each child, 4 bytes a page; the list of children is read again from the interior page when it is needed. All of this is
a hint: it is checked against the version being read, and where it is out of date, the order ends.
"""

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from graft.reading.page_order import NumberOrder, PageOrder
from graft_sqlite_vfs.btree.pages import INTERIOR, child_array, child_count, is_interior
from graft_sqlite_vfs.header import Buffer

_BLOCK = 65536
"""Pages."""
_FAMILIES_MAX = 512
"""Enough for all interior pages of a table of 500 MB. The lists take at most 2 MiB, less than the pages themselves."""
_NO_PAGES = array("I")
_HEIGHT_MAX = 20
"""SQLite's own bound on the height of a tree."""

Peek = Callable[[int], Buffer | None]
"""Returns a page's bytes if they are cached; fetches nothing."""


class Parents:
    """Maps each page to the interior page that names it as a child; shared by the threads of a process."""

    def __init__(self) -> None:
        """Start with no known parents."""
        self.unseen: deque[int] = deque()
        """Fetched frames not yet searched for interior pages; the search is put off until a page is missing."""
        self._blocks: dict[int, array[int]] = {}
        self._lock = threading.Lock()  # guards the creation of blocks

    def saw_frame(self, pages: Sequence[int], data: memoryview, page_count: int) -> None:
        """Record the children of a frame's interior pages; page number 0 marks a page whose bytes are missing."""
        size = len(data) // max(len(pages), 1)
        for slot, (page, first_byte) in enumerate(zip(pages, data[::size].tobytes(), strict=True)):
            if page and (first_byte in INTERIOR or page == 1):
                self.saw(page, data[slot * size : (slot + 1) * size], page_count)

    def saw(self, index: int, page: Buffer, page_count: int) -> None:
        """Record the children of a page, if it is an interior one."""
        if not is_interior(page, index):
            return
        named = child_array(page, index, page_count)
        blocks = named // _BLOCK
        for number in set(blocks.tolist()):
            np.frombuffer(self._block(number), np.uint32)[named[blocks == number] % _BLOCK] = index

    def of(self, page: int) -> int:
        """Return the parent recorded last for a page, 0 if none is known."""
        block = self._blocks.get(page // _BLOCK)
        return block[page % _BLOCK] if block is not None else 0

    def _block(self, number: int) -> "array[int]":
        block = self._blocks.get(number)
        if block is None:
            with self._lock:
                block = self._blocks.setdefault(number, array("I", [0]) * _BLOCK)
        return block


class KeyOrder:
    """The order of one version's B-trees; pages that no known tree names are ordered by number."""

    def __init__(
        self, parents: Parents, peek: Peek, page_count: int, families: "dict[int, array[int]] | None" = None
    ) -> None:
        """Use the known parents, and ``peek`` to check them against the version.

        ``families`` caches the children of this version's interior pages; the order adds to it.
        """
        self._parents = parents
        self._peek = peek
        self._page_count = page_count
        self._families = {} if families is None else families

    def following(self, page: int, direction: int) -> Iterator[int]:
        """Yield leaves and the interior pages between them, in the order in which a scan by key reads them."""
        siblings = self._siblings(page, direction)
        if siblings is None:
            yield from self._by_number().following(page, direction)
            return
        for height in range(_HEIGHT_MAX):
            if siblings is None:
                break
            for sibling in siblings:
                yield sibling
                yield from self._below(sibling, direction, height)
            page = self._parents.of(page)
            siblings = self._siblings(page, direction)

    def distance(self, page: int, other: int, steps_max: int) -> int:
        """See `graft.reading.readahead.PageOrder.distance`; a page without a known parent is not near.

        Where `following` walks from page to page, this counts whole families of siblings.
        """
        if self._is_far(page, other, steps_max):
            return 0
        up = self._path(page)
        if len(up) == 1:
            return self._by_number().distance(page, other, steps_max)
        down = self._path(other)
        top = next((above for above in up if above in down), None)
        if top is None:
            return 0
        height, depth = up.index(top), down.index(top)
        if not 0 < depth <= height:
            return 0  # not below, or deeper than `following` goes
        family = self._children(top)
        begin, end = family.index(up[height - 1]), family.index(down[depth - 1])
        direction = 1 if begin < end else -1
        passed = [(family[begin + direction : end : direction], height - 1)]
        for level in range(height - 1):
            family = self._children(up[level + 1])[::direction]
            passed.append((family[family.index(up[level]) + 1 :], level))
        for level in range(1, depth):
            family = self._children(down[level])[::direction]
            passed.append((family[: family.index(down[level - 1])], height - depth + level - 1))
        steps = depth
        for pages, above in passed:
            steps += self._size(pages, above, steps_max - steps)
            if steps > steps_max:
                return 0
        return direction * steps

    def _is_far(self, page: int, other: int, steps_max: int) -> bool:
        """Classify distant pages without reading their parent pages, where possible.

        True means that more than ``steps_max`` pages lie between the two. This is a cheap check for random lookups.
        """
        for height in range(_HEIGHT_MAX):  # outdated parents may form a circle
            parent, beside = self._parents.of(page), self._parents.of(other)
            if not parent or not beside:
                break
            if parent == beside:
                family = self._children(parent)
                if not height or page not in family or other not in family:
                    break
                begin, end = sorted((family.index(page), family.index(other)))
                return self._size(family[begin + 1 : end], height, steps_max) > steps_max
            page, other = parent, beside
        return False

    def _path(self, page: int) -> list[int]:
        """Return a page and its ancestors, nearest first, as long as each parent still names its child."""
        path = [page]
        for _ in range(_HEIGHT_MAX):
            parent = self._parents.of(path[-1])
            if not parent or path[-1] not in self._children(parent):
                break
            path.append(parent)
        return path

    def _size(self, pages: Sequence[int], height: int, count_max: int) -> int:
        """Count pages and their descendants, ``height`` levels down; stop once the count exceeds ``count_max``."""
        if not height:
            return len(pages)
        size = 0
        for page in pages:
            if size > count_max:
                break
            size += 1
            size += self._size(self._children(page), height - 1, count_max - size) if height > 1 else self._count(page)
        return size

    def tree(self, page: int) -> int:
        """Return the topmost known ancestor of a page, 0 if its parent is not known."""
        top = page
        for _ in range(_HEIGHT_MAX):
            parent = self._parents.of(top)
            if not parent:
                break
            top = parent
        return top if top != page else 0

    def _siblings(self, page: int, direction: int) -> Sequence[int] | None:
        parent = self._parents.of(page)
        if not parent or page not in (family := self._children(parent)):
            return None
        place = family.index(page)
        return family[place + 1 :] if direction > 0 else family[:place][::-1]

    def _below(self, page: int, direction: int, height: int) -> Iterator[int]:
        if not height:
            return
        for child in self._children(page)[::direction]:
            yield child
            yield from self._below(child, direction, height - 1)

    def _children(self, page: int) -> "array[int]":
        found = self._families.get(page)
        if found is not None:
            return found
        body = self._peek(page)
        if body is None:
            return _NO_PAGES
        if len(self._families) >= _FAMILIES_MAX:
            self._families.clear()
        found = self._families[page] = array("I", child_array(body, page, self._page_count).tobytes())
        return found

    def _count(self, page: int) -> int:
        """Return the number of children of an interior page."""
        found = self._families.get(page)
        if found is not None:
            return len(found)
        body = self._peek(page)
        return 0 if body is None else child_count(body, page)

    def _by_number(self) -> PageOrder:
        return NumberOrder(self._page_count)
