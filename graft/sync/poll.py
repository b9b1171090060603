"""One look at the remote, which takes the replica along: what following and waiting are made of.

    by name      GET of commit n + 1      absent: nothing new; there: move to it, then GET of n + 2
    by listing   LIST for the head        the same as a pull

A second commit that is there, too, means that there may be many: then the head is listed, and the way to it is read in
one batch. So a look costs one request where nothing happened and two where one commit came, and brings it to readers
after one round trip.
"""

from dataclasses import dataclass, replace

from graft.disk.shared_counters import Moment
from graft.errors import Diverged, VersionCollected, remote_errors
from graft.replica.freshness import age_of, confirm, now
from graft.replica.replica import Replica
from graft.sync.history import Head, asks_for_own, checked_head
from graft.sync.pull import move
from graft.sync.push import recover
from metastore.errors import CommitMissing
from metastore.index import CommitIndex, read_index
from metastore.lsn import BEFORE_FIRST, LSN, chain

_AWAY_S = 3600.0
"""The place of a collected commit stays taken for a day at least (`graft.retention.policy.FENCE_S`)."""


@dataclass(slots=True)
class Look:
    """What one look found; filled while it is under way, so that a failed one tells what it cost."""

    before: int = 0
    """The LSN that the replica was on …"""
    after: int = 0
    """… and the one that it is on now."""
    requests: int = 0
    shared: bool = False
    """Whether nothing was asked, since another process looks, or just did."""

    @property
    def moved(self) -> bool:
        """Whether readers see something new."""
        return self.after != self.before


def look(
    replica: Replica, *, listing: bool = False, unless_looked_within_s: float = 0.0, found: Look | None = None
) -> Look:
    """Look whether the remote has anything new, and move there; what is found is put into ``found`` too.

    Does nothing while another process pushes, pulls or looks, or if one began a look ``unless_looked_within_s`` ago.
    Raises `Diverged` when local commits are in the way, `WriterBusy` when a write transaction stays open, and the
    remote's errors; the replica is then as it was, or further on.
    """
    found = found or Look()
    found.before = found.after = replica.view().state.lsn
    if not replica.sync_lock.try_acquire():
        found.shared = True
        return found
    try:
        begun = now(replica.runtime)
        since_us = begun.monotonic_us - replica.shared.polled_us
        if 0 <= since_us < unless_looked_within_s * 1e6:
            found.shared = True
            return found
        replica.shared.begin_poll(begun)
        look_locked(replica, listing=listing or _was_away(replica, begun), found=found)
        return found
    finally:
        replica.sync_lock.release()


def _was_away(replica: Replica, now_: Moment) -> bool:
    """Whether the replica was not fresh for so long that the next commit may have come and been collected since."""
    age_s = age_of(replica.shared.confirmed, now_)
    return age_s is None or age_s > _AWAY_S


def look_locked(replica: Replica, *, listing: bool, found: Look) -> None:
    """Look; the caller holds the sync lock."""
    try:
        recover(replica)
        if listing or replica.state.read().head > replica.view().state.lsn:
            _by_listing(replica, found, [])
        else:
            _by_name(replica, found)
    finally:
        found.after = replica.view().state.lsn


def _by_name(replica: Replica, found: Look) -> None:
    try:
        index = _next(replica, found)
    except VersionCollected:  # the replica is behind the window
        _by_listing(replica, found, [])
        return
    if index is None:
        return
    _go(replica, found, Head(index.commit.lsn, 1, known=(index,)))
    index = _next(replica, found)
    if index is not None:
        _by_listing(replica, found, [index])


def _next(replica: Replica, found: Look) -> CommitIndex | None:
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


def _by_listing(replica: Replica, found: Look, known: list[CommitIndex]) -> None:
    begun = now(replica.runtime)
    found.requests += 1
    head = checked_head(replica, replica.state.read(), by_name=False)  # the next look asks by name
    found.requests += head.requests - 1
    if head.lsn != replica.view().state.lsn:
        _go(replica, found, replace(head, sure=True, known=tuple(known)))
    confirm(replica, begun)


def _go(replica: Replica, found: Look, head: Head) -> None:
    view = replica.view()
    if view.pending:
        replica.state.saw_head(head.lsn)
        raise Diverged(
            f"volume {replica.name}: local commits ({len(view.pending)}) are based on LSN {view.state.lsn}, "
            f"the remote is at LSN {head.lsn}; pull with the policy 'discard' or 'fork'"
        )
    found.requests += _reads_to(head.lsn, [*head.known, *view.state.chain]) + asks_for_own(view.state, head)
    move(replica, view, head)


def _reads_to(head: LSN, known: list[CommitIndex]) -> int:
    """Return how many commits `metastore.index.read_chain` will read."""
    floor = max((index.commit.base for index in known), default=BEFORE_FIRST)
    had = {index.commit.lsn for index in known}
    return sum(lsn >= floor and lsn not in had for lsn in chain(head))
