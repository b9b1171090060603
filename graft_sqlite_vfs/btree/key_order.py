"""The order of B-tree pages by key: what no page store knows, and what makes a scan of scattered pages predictable.

An interior page names its children in key order. Those that pass by are remembered as "page → parent", 4 bytes a page;
their children are read again from the page itself when they are needed. Everything is a hint: it is checked against the
version being read, and where it is out of date, the order simply ends.
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
"""All interior pages of a table of 500 MB. At 4 bytes a child they take less than their own pages, 2 MiB at most."""
_NOBODY = array("I")
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
        self._blocks: dict[int, array[int]] = {}
        self._lock = threading.Lock()  # guards the making of blocks

    def saw_frame(self, pages: Sequence[int], data: memoryview, page_count: int) -> None:
        """Learn from the interior pages of a frame; number 0 stands for a page that is not here."""
        size = len(data) // max(len(pages), 1)
        for slot, (page, first_byte) in enumerate(zip(pages, data[::size].tobytes(), strict=True)):
            if page and (first_byte in INTERIOR or page == 1):
                self.saw(page, data[slot * size : (slot + 1) * size], page_count)

    def saw(self, index: int, page: Buffer, page_count: int) -> None:
        """Learn from a page, if it is an interior one."""
        if not is_interior(page, index):
            return
        named = child_array(page, index, page_count)
        blocks = named // _BLOCK
        for number in set(blocks.tolist()):
            np.frombuffer(self._block(number), np.uint32)[named[blocks == number] % _BLOCK] = index

    def of(self, page: int) -> int:
        """Return the page that last named this one as its child, 0 if none did."""
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
        for height in range(_HEIGHT_MAX):
            if siblings is None:
                break
            for sibling in siblings:
                yield sibling
                yield from self._below(sibling, direction, height)
            page = self._parents.of(page)
            siblings = self._siblings(page, direction)

    def distance(self, page: int, other: int, steps_max: int) -> int:
        """See `graft.reading.readahead.PageOrder.distance`; what no known page names is not near.

        Counts families where `following` goes from page to page.
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
        """Tell whether more than so many pages lie between two, as far as that is seen without their families.

        So it is for what a random lookup comes to, and cheap.
        """
        for height in range(_HEIGHT_MAX):  # pages that are out of date may name each other
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
        """Return a page and what is above it, nearest first, as far as one names the other."""
        path = [page]
        for _ in range(_HEIGHT_MAX):
            parent = self._parents.of(path[-1])
            if not parent or path[-1] not in self._children(parent):
                break
            path.append(parent)
        return path

    def _size(self, pages: Sequence[int], height: int, count_max: int) -> int:
        """Count pages and what is below them, so many levels down; no further than is needed to exceed a maximum."""
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
        """Return the topmost page above one, as far as parents are known; 0 for a page of which none is."""
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
            return _NOBODY
        if len(self._families) >= _FAMILIES_MAX:
            self._families.clear()
        found = self._families[page] = array("I", child_array(body, page, self._page_count).tobytes())
        return found

    def _count(self, page: int) -> int:
        """Return how many children an interior page has."""
        found = self._families.get(page)
        if found is not None:
            return len(found)
        body = self._peek(page)
        return 0 if body is None else child_count(body, page)

    def _by_number(self) -> PageOrder:
        return NumberOrder(self._page_count)
