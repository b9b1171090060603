"""One poll of the remote, which moves the replica to what is new there; following and waiting are made of polls.

    by name      GET of commit n + 1      absent: nothing new; present: move to it, then GET of n + 2
    by listing   LIST for the head        the same as a pull

If the second commit is there too, there may be many: then the poll lists the head and reads the way to it in one batch.
So a poll costs one request if there is nothing new and two if there is one new commit, which readers see after one
round trip.
"""

from dataclasses import dataclass, replace

from graft.counters import ReplicaCounts
from graft.disk.shared_counters import Moment
from graft.errors import VersionCollected, remote_errors
from graft.replica.freshness import age_of, confirm, now
from graft.replica.replica import Replica
from graft.sync.history import Head, asks_for_own, checked_head
from graft.sync.move import move
from graft.sync.pull import require_not_diverged
from graft.sync.push import recover
from metastore.errors import CommitMissing
from metastore.index import CommitIndex, read_index
from metastore.lsn import BEFORE_FIRST, LSN, chain

_AWAY_S = 3600.0
"""The place of a collected commit stays taken for a day at least (`graft.retention.policy.FENCE_S`)."""


@dataclass(slots=True)
class PollResult:
    """What one poll found; filled during the poll, so that the cost of a failed one is known."""

    before: int = 0
    """The LSN of the replica before the poll."""
    after: int = 0
    """The LSN of the replica now."""
    requests: int = 0
    shared: bool = False
    """Whether no request was made, because another process is polling or has just polled."""

    @property
    def moved(self) -> bool:
        """Whether readers see something new."""
        return self.after != self.before


def poll(
    replica: Replica,
    *,
    listing: bool = False,
    unless_polled_within_s: float = 0.0,
    found: PollResult | None = None,
) -> PollResult:
    """Ask whether the remote has anything new, and move there; ``found`` is filled if given.

    Does nothing while another process pushes, pulls or polls, or if one began a poll ``unless_polled_within_s`` ago.
    Raises `Diverged` if local commits are in the way, `WriterBusy` if a write transaction stays open, and the remote's
    errors; the replica is then where it was, or further.
    """
    found = found or PollResult()
    found.before = found.after = replica.view().state.lsn
    if not replica.sync_lock.try_acquire():
        found.shared = True
        return found
    try:
        begun = now(replica.runtime)
        since_us = begun.monotonic_us - replica.shared.polled_us
        if 0 <= since_us < unless_polled_within_s * 1e6:
            found.shared = True
            return found
        replica.shared.begin_poll(begun)
        poll_locked(replica, listing=listing or _was_away(replica, begun), found=found)
        return found
    finally:
        replica.sync_lock.release()


def poll_locked(replica: Replica, *, listing: bool, found: PollResult) -> None:
    """As `poll`, for a caller that holds the sync lock."""
    try:
        recover(replica)
        if listing or replica.state.read().head > replica.view().state.lsn:
            _by_listing(replica, found, [])
        else:
            _by_name(replica, found)
    finally:
        found.after = replica.view().state.lsn


def count_poll(counts: ReplicaCounts, found: PollResult, *, failed: bool) -> None:
    """Add a poll to the replica's counters."""
    counts.add(
        looks=not found.shared,
        looks_shared=found.shared,
        looks_failed=failed,
        look_requests=found.requests,
        moves=found.moved,
    )


def _was_away(replica: Replica, now_: Moment) -> bool:
    """Return whether the next commit may have been pushed and collected since the replica was last fresh."""
    age_s = age_of(replica.shared.confirmed, now_)
    return age_s is None or age_s > _AWAY_S


def _by_name(replica: Replica, found: PollResult) -> None:
    try:
        index = _next(replica, found)
    except VersionCollected:  # the replica is behind the retention window
        _by_listing(replica, found, [])
        return
    if index is None:
        return
    _move(replica, found, Head(index.commit.lsn, 1, known=(index,)))
    index = _next(replica, found)
    if index is not None:
        _by_listing(replica, found, [index])


def _next(replica: Replica, found: PollResult) -> CommitIndex | None:
    """Return the commit after the one that the replica builds on, None if there is none yet; one request."""
    begun, state = now(replica.runtime), replica.view().state
    lsn = LSN(state.lsn + 1)
    found.requests += 1
    with remote_errors(f"looking for commit {lsn} of volume {replica.name}"):
        try:
            return read_index(replica.remote.commits, state.identity.log, lsn)
        except CommitMissing:
            confirm(replica, begun)
            return None


def _by_listing(replica: Replica, found: PollResult, known: list[CommitIndex]) -> None:
    begun = now(replica.runtime)
    found.requests += 1
    head = checked_head(replica, replica.state.read(), by_name=False)  # the next poll asks by name
    found.requests += head.requests - 1
    if head.lsn != replica.view().state.lsn:
        _move(replica, found, replace(head, sure=True, known=tuple(known)))
    confirm(replica, begun)


def _move(replica: Replica, found: PollResult, head: Head) -> None:
    view = replica.view()
    require_not_diverged(replica, view, head.lsn)
    found.requests += _reads_to(head.lsn, [*head.known, *view.state.chain]) + asks_for_own(view.state, head)
    move(replica, view, head)


def _reads_to(head: LSN, known: list[CommitIndex]) -> int:
    """Return how many commits `metastore.index.read_chain` will read."""
    floor = max((index.commit.base for index in known), default=BEFORE_FIRST)
    known_lsns = {index.commit.lsn for index in known}
    return sum(lsn >= floor and lsn not in known_lsns for lsn in chain(head))
