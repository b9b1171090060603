"""Fetch and pull: learn the remote's head, and move to it. Page lists are read; page bodies are not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graft.errors import BadRequest, BaseCollected, Diverged, HistoryLost
from graft.failpoints import failpoint
from graft.pagemap.locations import FRAME_TAG, frame_of
from graft.pagemap.page_map import PageMap, compose
from graft.remote.carried import frames_held_elsewhere
from graft.remote.landmarks import restored_at
from graft.replica.freshness import confirm, now
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.sync.fork import fork_locked
from graft.sync.history import Head, checked_head, reached, way_to
from graft.sync.inline_bodies import keep_inline
from graft.sync.push import recover
from graft.sync.rekey_cached import rekey_cached_frames
from graft.sync.rescue import save_lost
from metastore.index import CommitIndex
from metastore.lsn import LSN
from pagestore.segments.format import DecodedFrame

Policy = Literal["abort", "discard", "fork"]
POLICIES: tuple[Policy, ...] = ("abort", "discard", "fork")


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The replica's LSN and the remote's head."""

    lsn: int
    """The LSN of the replica."""
    head: int
    """The newest LSN of the remote."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did."""

    before: int
    after: int
    discarded_commits: int
    """How many local commits the replica gave up; with the policy ``fork`` the fork has them."""
    forked_to: str | None


def fetch(replica: Replica) -> FetchResult:
    """Ask for the remote's head, in one request, and store it. The replica does not move."""
    state, begun = replica.state.read(), now(replica.runtime)
    found = checked_head(replica, state)
    head = found.lsn if found.sure else replica.remote.above(state.identity.log, found.lsn)[0]
    if head != state.head:
        replica.state.saw_head(head)
    if head == state.lsn:
        confirm(replica, begun)
    return FetchResult(state.lsn, head)


def pull(
    replica: Replica,
    *,
    policy: Policy = "abort",
    fork_name: str | None = None,
    before_move: Callable[[], None] | None = None,
) -> PullResult:
    """Move the replica to the newest remote version: one request if it is there already, else two round trips.

    ``policy`` decides what happens to local commits. ``abort`` leaves them if the remote has nothing new, and raises
    `Diverged` otherwise. ``discard`` gives them up; ``fork`` pushes them to a new volume ``fork_name`` first. Both do
    so even if the remote has nothing new. Raises `WriterBusy` if a write transaction stays open, `HistoryLost` or
    `Corrupt` if the remote cannot be right; the replica then stays as it is.

    ``before_move`` is called after everything was read, if the replica is about to change. With ``discard``, local
    commits made until it returns are given up too.
    """
    if policy not in POLICIES:
        raise BadRequest(f"no such policy: {policy!r} (there are {', '.join(POLICIES)})")
    if policy == "fork" and not fork_name:
        raise BadRequest("the policy 'fork' needs the name of the fork")
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        try:
            return _pull_locked(replica, policy, fork_name, before_move)
        except (HistoryLost, BaseCollected) as lost:
            if policy != "fork":
                raise
            assert fork_name, "BUG: checked above"
            view = replica.view()
            after, forked = save_lost(replica, fork_name, lost, before_move)
            return PullResult(view.state.lsn, after, len(view.pending), forked)


def _pull_locked(
    replica: Replica, policy: Policy, fork_name: str | None, before_move: Callable[[], None] | None
) -> PullResult:
    try:
        recover(replica)
    except Diverged:
        if policy == "abort":
            raise
    view, begun = replica.view(), now(replica.runtime)
    found = checked_head(replica, replica.state.read())
    head = found.lsn
    replica_moves = head != view.state.lsn
    gives_up = bool(view.pending) and policy != "abort"
    if replica_moves and policy == "abort":
        require_not_diverged(replica, view, head)
    if not replica_moves and not gives_up:
        confirm(replica, begun)
        return PullResult(view.state.lsn, head, 0, None)
    forked = None
    if gives_up and policy == "fork":
        assert fork_name, "BUG: checked above"
        forked = fork_locked(replica, fork_name).name
    reached = move(
        replica, view, found, before_move=before_move,
        spare_new=policy != "discard" or before_move is None,
    )  # fmt: skip
    confirm(replica, begun)
    return PullResult(view.state.lsn, reached, len(view.pending) if gives_up else 0, forked)


def require_not_diverged(replica: Replica, view: View, head: LSN) -> None:
    """Raise `Diverged` if there are local commits, which stand in the way to ``head``."""
    if not view.pending:
        return
    replica.state.saw_head(head)
    raise Diverged(
        f"volume {replica.name}: local commits ({len(view.pending)}) are based on LSN {view.state.lsn}, "
        f"the remote is at LSN {head}; pull with the policy 'discard' or 'fork'"
    )


def discard(replica: Replica) -> int:
    """Give up all local commits without asking the remote; return how many there were.

    A push whose outcome is unknown is forgotten: if it landed, the next pull gets it. Raises `WriterBusy`.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        if replica.shared.state_in_doubt:
            replica.state_changed()
        view = replica.view()
        if view.pending:
            move(replica, view, Head(view.state.lsn, 0))
        return len(view.pending)


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
    if before_move is not None:
        before_move()
    with replica.writer_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        now = replica.view_of_writer()
        if spare_new and len(now.pending) != len(view.pending):
            raise Diverged(f"volume {replica.name}: a local commit was made during the pull; pull again")
        replica.shared.begin_state()
        # A second one says that history broke off: after a restore, a schema cookie may be one that was seen before.
        used_up = 2 if chain and restored_at(chain[0].commit) > view.state.lsn else 1
        state = replica.state.advance(head, now.snapshot.local_lsn + used_up, chain)
        failpoint("pull: after state")
        replica.state_changed(state, remote_map=remote_map)
        replica.delete_pushed(spare_last=False)
    replica.reclaimer.after_pull()
    if head != view.state.lsn and chain:
        reached(replica, chain[0], begun_s)
    return head


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
