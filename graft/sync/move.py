"""Moving a replica to another remote version: first everything is read, then the state changes in one step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graft.errors import Diverged
from graft.failpoints import failpoint
from graft.pagemap.locations import FRAME_TAG, frame_of
from graft.pagemap.page_map import PageMap, compose
from graft.reading.snapshot import Snapshot
from graft.remote.carried import frames_held_elsewhere
from graft.remote.landmarks import restored_at
from graft.replica.replica import Replica
from graft.replica.state import Merge
from graft.replica.view import View
from graft.sync.history import Head, reached, way_to
from graft.sync.inline_bodies import keep_inline
from graft.sync.rekey_cached import rekey_cached_frames
from metastore.index import CommitIndex
from metastore.lsn import LSN
from pagestore.segments.format import DecodedFrame


@dataclass(frozen=True, slots=True)
class Arrival:
    """A remote version that is read, and that the replica can move to."""

    head: LSN
    chain: list[CommitIndex]
    remote_map: PageMap | None
    """None if there is no commit."""
    used_up: int
    """How many local LSNs a move there uses up. A second one says that history broke off."""
    begun_s: float
    """When reading it began."""

    def snapshot(self, replica: Replica) -> Snapshot:
        """Return the version."""
        page_map = self.remote_map or PageMap.empty(replica.table)
        byte_size = self.chain[0].commit.byte_size if self.chain else 0
        return replica.snapshot_of(page_map, byte_size=byte_size, lsn=self.head)


def published(replica: Replica, view: View | None = None) -> Snapshot:
    """Return the newest version of the remote that the replica is on, without any local commit; asks nobody."""
    view = view or replica.view()
    chain = view.state.chain
    return replica.snapshot_of(view.remote_map, byte_size=chain[0].commit.byte_size if chain else 0, lsn=view.state.lsn)


def arrive(replica: Replica, view: View, found: Head) -> Arrival:
    """Read the commit ``found``, or a newer one if ``found`` may not be the head; the caller holds the sync lock.

    Raises `HistoryLost` if the head does not continue what the replica builds on.
    """
    begun_s = replica.runtime.monotonic_s()
    chain = way_to(replica, view.state, found)
    head = chain[0].commit.lsn if chain else found.lsn
    remote_map: PageMap | None = None
    if chain:
        remote_map = compose(replica.table, chain, replica.load_chunks, view.remote_map)
        new = [index for index in chain if index.commit.lsn > view.state.lsn]
        keep_inline(replica, new)
        _cache_consolidated(replica, new, view)
        rekey_cached_frames(replica, view.remote_map, view.state.lsn, chain)
    failpoint("pull: after fetch")
    # After a restore, a schema cookie may be one that was seen before.
    breaks_off = bool(chain) and restored_at(chain[0].commit) > view.state.lsn
    return Arrival(head, list(chain), remote_map, 2 if breaks_off else 1, begun_s)


def switch(replica: Replica, now: View, arrival: Arrival, merge: Merge | None = None) -> None:
    """Make an arrival what the replica builds on, without the local commits of ``now``, and with a prepared ``merge``.

    The caller holds the sync lock and the writer lock, and has taken ``now`` under it.
    """
    replica.shared.begin_state()
    state = replica.state.advance(arrival.head, now.snapshot.local_lsn + arrival.used_up, arrival.chain, merge=merge)
    failpoint("pull: after state")
    replica.state_changed(state, remote_map=arrival.remote_map)
    replica.delete_pushed(spare_last=False)


def moved(replica: Replica, before: LSN, arrival: Arrival) -> None:
    """Reclaim and note what follows from a move, once the writer lock is released."""
    replica.reclaimer.after_pull()
    if arrival.head != before and arrival.chain:
        reached(replica, arrival.chain[0], arrival.begun_s)


def move(
    replica: Replica,
    view: View,
    found: Head,
    *,
    before_move: Callable[[], None] | None = None,
    spare_new: bool = True,
) -> LSN:
    """Move the sync point to the commit ``found``, or to a newer one if ``found`` may not be the head; return its LSN.

    The caller holds the sync lock. Raises `WriterBusy`, `Diverged` if a local commit was made meanwhile and
    ``spare_new`` is set, and `HistoryLost` if the head does not continue what the replica builds on.
    """
    arrival = arrive(replica, view, found)
    if before_move is not None:
        before_move()
    with replica.writer_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        now = replica.view_of_writer()
        if spare_new and len(now.pending) != len(view.pending):
            raise Diverged(f"volume {replica.name}: a local commit was made during the pull; pull again")
        switch(replica, now, arrival)
    moved(replica, view.state.lsn, arrival)
    return arrival.head


def _cache_consolidated(replica: Replica, indexes: list[CommitIndex], view: View) -> None:
    """Make consolidated frames that are not inline out of pages that are here at their old places; cache them."""
    old = replica.snapshot_of(view.remote_map, byte_size=0, lsn=view.state.lsn)
    for index in indexes:
        if index.inline is not None:
            continue
        inline_bytes = len(index.inline_start)
        frames = {
            key: pages
            for key, pages in frames_held_elsewhere(index, view.state.lsn).items()
            if key.offset + key.length > inline_bytes
        }
        known = [page for pages in frames.values() for page in pages if view.remote_map.is_built_at(page)]
        locations = (view.remote_map.location(page) for page in known)
        cached = {frame_of(location) for location in locations if location & FRAME_TAG}
        replica.bodies.recheck(cached)
        replica.bodies.attach_cached(cached)
        here = {page: body for page in known if (body := old.peek(page)) is not None}
        replica.bodies.put(
            [
                (key, DecodedFrame(np.array(pages, np.uint32), b"".join(here[page] for page in pages)))
                for key, pages in frames.items()
                if all(page in here for page in pages)
            ]
        )
