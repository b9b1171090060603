"""Predicts what a connection reads next, from its cache misses and the B-tree pages it has fetched."""

import contextlib
from array import array
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from graft.reading.lane import NEAR_PAGES
from graft.reading.readahead import Readahead
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft_sqlite_vfs.btree.key_order import KeyOrder, Parents

_UNSEEN_FRAMES_MAX = 256

_parents: WeakKeyDictionary[Replica, Parents] = WeakKeyDictionary()


class BtreeAdvisor:
    """Reads ahead in key order where a known interior page names the next pages, else in order of page number.

    See `graft.reading.snapshot.Advisor`. Each open file has its own trend. All files of a replica share what is known
    about B-trees, which takes at most 4 bytes a page.
    """

    def __init__(self, replica: Replica) -> None:
        """Take the bounds on readahead from the replica's settings."""
        settings = replica.settings
        self._readahead = Readahead(settings.readahead_frames_max, settings.piggyback_frames_max)
        self._parents = _parents.setdefault(replica, Parents())
        self._version = -1
        self._families: dict[int, array[int]] = {}
        """Children of interior pages, of the version that was read last."""
        self._came_to: list[int] = []
        """The first three pages whose frames were missing from the cache."""
        self._aside: tuple[int, int] | None = None
        """A page and its frame that have not been passed to the readahead yet."""

    @property
    def sparse(self) -> bool:
        """See `graft.reading.snapshot.Advisor.sparse`."""
        return self._readahead.sparse

    def plan(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.reading.snapshot.Advisor.plan`.

        A step from page 1 to a distant page follows no trend in any order. It is set aside until the next miss, so that
        a lookup, which ends there, does not wait for the page order to be worked out.
        """
        self._came_to = [*self._came_to, page][:3]
        if len(self._came_to) == 2 and self._came_to[0] == 1 and page - 1 > NEAR_PAGES:
            self._aside = page, frame
            return [frame]
        return self._readahead.plan(page, frame, self._order(snapshot), snapshot)

    def used(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.reading.snapshot.Advisor.used`."""
        self._came_to = [*self._came_to, page][:3]
        return self._readahead.entered(page, frame, self._order(snapshot), snapshot)

    def fetching(self, frames: Sequence[int]) -> None:
        """See `graft.reading.snapshot.Advisor.fetching`."""
        self._readahead.fetching(frames)

    def arrived(self, snapshot: Snapshot, frames: Sequence[int]) -> None:
        """Note fetched frames; their interior pages are parsed when an order is needed, or when many have piled up."""
        self._parents.unseen.extend(frames)
        if len(self._parents.unseen) > _UNSEEN_FRAMES_MAX:
            self._parse_unseen(snapshot)

    def _parse_unseen(self, snapshot: Snapshot) -> None:
        unseen = self._parents.unseen
        while unseen:
            with contextlib.suppress(IndexError):  # another thread may have emptied it
                body = snapshot.page_map.table.body(unseen.popleft())
                if body is not None:
                    self._parents.saw_frame(body.pages, body.data, snapshot.page_count)

    def _order(self, snapshot: Snapshot) -> KeyOrder:
        self._parse_unseen(snapshot)
        if snapshot.content_version != self._version:
            self._version, self._families = snapshot.content_version, {}
        order = KeyOrder(self._parents, snapshot.peek, snapshot.page_count, self._families)
        if self._aside is not None:
            (page, frame), self._aside = self._aside, None
            self._readahead.plan(page, frame, order, snapshot)
        return order
