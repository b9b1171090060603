"""What a connection is likely to read next, from the misses that it had and the B-tree pages that passed by."""

import contextlib
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from graft.readahead import Readahead
from graft.replica import Replica
from graft.snapshot import Snapshot
from graft_sqlite_vfs.keyorder import KeyOrder, Parents

_UNSEEN_FRAMES_MAX = 256

_parents: WeakKeyDictionary[Replica, Parents] = WeakKeyDictionary()


class BtreeAdvisor:
    """Reads ahead in key order where an interior page names what follows, else by number.

    See `graft.snapshot.Advisor`. The trend is of one open file; what is learnt of B-trees is shared by all files of a
    replica, and bounded by 4 bytes a page.
    """

    def __init__(self, replica: Replica) -> None:
        """Be bounded by the replica's settings."""
        settings = replica.settings
        self._readahead = Readahead(settings.readahead_frames_max, settings.readahead_company_max)
        self._parents = _parents.setdefault(replica, Parents())
        self._version = -1
        self._families: dict[int, tuple[int, ...]] = {}
        """Of the version that was read last."""

    @property
    def sparse(self) -> bool:
        """See `graft.snapshot.Advisor.sparse`."""
        return self._readahead.sparse

    def plan(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.snapshot.Advisor.plan`."""
        return self._readahead.plan(page, frame, self._order(snapshot), snapshot)

    def used(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.snapshot.Advisor.used`."""
        return self._readahead.entered(page, frame, self._order(snapshot), snapshot)

    def fetching(self, frames: Sequence[int]) -> None:
        """See `graft.snapshot.Advisor.fetching`."""
        self._readahead.fetching(frames)

    def arrived(self, snapshot: Snapshot, frames: Sequence[int]) -> None:
        """Look for interior pages among what was fetched, once it matters."""
        self._parents.unseen.extend(frames)
        if len(self._parents.unseen) > _UNSEEN_FRAMES_MAX:
            self._look(snapshot)

    def _look(self, snapshot: Snapshot) -> None:
        size, unseen = snapshot.page_size, self._parents.unseen
        while unseen:
            with contextlib.suppress(IndexError):  # another thread looks, too
                body = snapshot.page_map.table.body(unseen.popleft())
                for slot, page in enumerate(body.pages if body else ()):
                    if page and body:
                        self._parents.saw(page, body.data[slot * size : (slot + 1) * size], snapshot.page_count)

    def _order(self, snapshot: Snapshot) -> KeyOrder:
        self._look(snapshot)
        if snapshot.content_version != self._version:
            self._version, self._families = snapshot.content_version, {}
        return KeyOrder(self._parents, snapshot.peek, snapshot.page_count, self._families)
