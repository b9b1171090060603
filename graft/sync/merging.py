"""Pull with a merge: what the replica and the remote each changed becomes one local commit on the remote's version.

This module moves pages and commits; what a merge of their contents is, a `ContentMerger` knows (rows of SQLite tables:
graft_sqlite_vfs.merge). The local commits, the sync point and the merge change in one step: a crash leaves either what
was there before, or all of the merge.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol

from graft.errors import BadRequest
from graft.failpoints import failpoint
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.replica.state import Merge
from graft.replica.transaction import WriteTransaction
from graft.replica.view import View
from graft.sync.history import Head
from graft.sync.move import Arrival, arrive, moved, switch


class ContentMerger(Protocol):
    """Merges the contents of versions."""

    def __call__(
        self, replica: Replica, base: Snapshot, ours: Snapshot, onto: WriteTransaction, conflicts: Any
    ) -> object:
        """Make the changes from ``base`` to ``ours`` to ``onto``, and return what was done.

        ``conflicts`` says how to settle them. Raises `MergeConflict` if some remain; ``onto`` is dropped then.
        """
        ...


_merger: ContentMerger | None = None


def set_merger(merger: ContentMerger) -> None:
    """Set what merges the contents of volumes in this process."""
    global _merger  # noqa: PLW0603 - one for the process, as a VFS is
    _merger = merger


def merger() -> ContentMerger:
    """Return it; raises `BadRequest` if there is none."""
    if _merger is None:
        raise BadRequest("nothing here can merge the contents of volumes: import graft_sqlite_vfs first")
    return _merger


@dataclass(frozen=True, slots=True)
class MergedPull:
    """What a pull with a merge did."""

    head: int
    """The remote version that the replica is on now."""
    local_commits: int
    """How many local commits became the merge."""
    merged: object
    """What the `ContentMerger` returned."""


def merge_onto(replica: Replica, view: View, found: Head, base: Snapshot, conflicts: Any) -> MergedPull:
    """Move the replica to ``found``, with the changes from ``base`` to its local commits made there.

    The caller holds the sync lock. Nothing is changed if this raises: `MergeConflict`, `WriterBusy`, and what reading
    the remote raises.
    """
    arrival = arrive(replica, view, found)
    with replica.writer_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        now = replica.view_of_writer()
        parents = {"lsn": int(arrival.head), "base": int(view.state.lsn), "local_commits": len(now.pending)}
        merged = _merge_here(replica, now, arrival, base, conflicts, parents)
    moved(replica, view.state.lsn, arrival)
    return MergedPull(arrival.head, len(now.pending), merged)


def _merge_here(
    replica: Replica, now: View, arrival: Arrival, base: Snapshot, conflicts: Any, parents: dict[str, int]
) -> object:
    transaction = WriteTransaction(replica, arrival.snapshot(replica), _LockOfCaller())
    try:
        merged = merger()(replica, base, now.snapshot, transaction, conflicts)
        merge = None
        if transaction.dirty:
            # The move uses up local LSNs (`graft.replica.replica`), the next one is the merge's.
            merge = Merge(now.snapshot.local_lsn + arrival.used_up + 1, json.dumps(parents))
            transaction.prepare_merge(merge.local_lsn)
            failpoint("merge: after prepare")
        switch(replica, now, arrival, merge)
    finally:
        transaction.close()
    return merged


class _LockOfCaller:
    """The writer lock, which the caller releases."""

    def release(self) -> None:
        """Do nothing."""
