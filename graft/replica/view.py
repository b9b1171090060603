"""A view: all that one process knows of a replica, as one value."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graft.journal.commit_run import CommitRun
from graft.journal.local_commit import LocalCommit
from graft.pagemap.page_map import PageMap
from graft.reading.snapshot import Snapshot
from graft.replica.state import SyncState


class View(NamedTuple):  # one is made for every commit
    """Immutable; replaced whole when the process learns more."""

    state: SyncState
    generation: int
    """The state generation at which `state` was read."""
    remote_map: PageMap
    pending: CommitRun
    """Published local commits that the remote lacks, oldest first."""
    snapshot: Snapshot

    def followed_by(
        self, commits: Sequence[LocalCommit], journal_views: Mapping[int, memoryview], *, content_changed: bool
    ) -> "View":
        """Return the view with more local commits laid over; ``journal_views`` has their bodies."""
        if not commits:
            return self
        state, generation, remote_map, pending, snapshot = self
        page_map = snapshot.page_map
        for commit in commits:
            page_map = page_map.with_change(commit)
        newest = commits[-1]
        snapshot = snapshot.followed_by(
            page_map, journal_views, newest.byte_size, newest.local_lsn, len(commits), content_changed
        )
        return View(state, generation, remote_map, pending.followed_by(commits), snapshot)
