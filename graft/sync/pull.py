"""Fetch and pull: learn the remote's head, and move to it. Page lists are read; page bodies are not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from graft.errors import BadRequest, BaseCollected, Diverged, HistoryLost
from graft.replica.freshness import confirm, now
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.sync.fork import fork_locked
from graft.sync.history import Head, checked_head
from graft.sync.merging import merge_onto
from graft.sync.move import move, published
from graft.sync.push import recover
from graft.sync.rescue import save_lost
from metastore.lsn import LSN

Policy = Literal["abort", "discard", "fork", "merge"]
POLICIES: tuple[Policy, ...] = ("abort", "discard", "fork", "merge")


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
    merged: Any = None
    """What the policy ``merge`` did, a `graft_sqlite_vfs.merge.MergeResult`; None if there was nothing to merge."""


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
    conflicts: Any = "fail",
    before_move: Callable[[], None] | None = None,
) -> PullResult:
    """Move the replica to the newest remote version: one request if it is there already, else two round trips.

    ``policy`` decides what happens to local commits. ``abort`` leaves them if the remote has nothing new, and raises
    `Diverged` otherwise. ``discard`` gives them up; ``fork`` pushes them to a new volume ``fork_name`` first. Both do
    so even if the remote has nothing new. ``merge`` makes their changes to the remote's version, row by row, as one
    local commit; ``conflicts`` settles rows that both sides changed: ``fail`` raises `MergeConflict` and changes
    nothing, ``ours`` and ``theirs`` (the remote's) take one side, ``record`` takes theirs and lists the conflict in the
    table ``graft_conflicts``, and a callable gets each `graft_sqlite_vfs.merge.Conflict`.

    Raises `WriterBusy` if a write transaction stays open, `HistoryLost` or `Corrupt` if the remote cannot be right; the
    replica then stays as it is.

    ``before_move`` is called after everything was read, if the replica is about to change. With ``discard``, local
    commits made until it returns are given up too.
    """
    if policy not in POLICIES:
        raise BadRequest(f"no such policy: {policy!r} (there are {', '.join(POLICIES)})")
    if policy == "fork" and not fork_name:
        raise BadRequest("the policy 'fork' needs the name of the fork")
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        try:
            return _pull_locked(replica, policy, fork_name, conflicts, before_move)
        except (HistoryLost, BaseCollected) as lost:
            if policy != "fork":
                raise
            assert fork_name, "BUG: checked above"
            view = replica.view()
            after, forked = save_lost(replica, fork_name, lost, before_move)
            return PullResult(view.state.lsn, after, len(view.pending), forked)


def _pull_locked(
    replica: Replica, policy: Policy, fork_name: str | None, conflicts: Any, before_move: Callable[[], None] | None
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
    if policy == "merge" and view.pending:
        if not replica_moves:
            confirm(replica, begun)
            return PullResult(view.state.lsn, head, 0, None)
        done = merge_onto(replica, view, found, published(replica, view), conflicts)
        confirm(replica, begun)
        return PullResult(view.state.lsn, done.head, 0, None, done.merged)
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
        f"the remote is at LSN {head}; pull with the policy 'merge', 'discard' or 'fork'"
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
