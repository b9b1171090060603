"""Which view a state of the replica leads to.

The view of a state has the sync point's remote map and no local commit. When the state changes, the local commits that
it does not cover are laid over the new remote map again.
"""

from graft.journal.commit_run import CommitRun
from graft.journal.journal import Journal
from graft.pagemap.frame_table import FrameTable
from graft.pagemap.page_map import ChunkLoader, PageMap, compose
from graft.reading.body_loader import BodyLoader
from graft.reading.snapshot import Snapshot
from graft.replica.state import SyncState
from graft.replica.view import View


class ViewBuilder:
    """Makes the views and snapshots of one replica; safe for threads."""

    def __init__(
        self, table: FrameTable, bodies: BodyLoader, journal: Journal, page_size: int, load_chunks: ChunkLoader
    ) -> None:
        """Make snapshots that read through ``bodies`` and ``journal``."""
        self._table = table
        self._bodies = bodies
        self._journal = journal
        self._page_size = page_size
        self._load_chunks = load_chunks

    def of_state(
        self, state: SyncState, generation: int, previous: PageMap | None, version: int = 1, history: int = 0
    ) -> View:
        """Return the view of a sync point without local commits; unchanged chunks of ``previous`` are reused."""
        if state.chain:
            remote_map = compose(self._table, state.chain, self._load_chunks, previous)
            byte_size = state.chain[0].commit.byte_size
        else:
            remote_map, byte_size = PageMap.empty(self._table), 0
        snapshot = Snapshot(
            remote_map, self._bodies, self._journal.views, volume_name=state.identity.name, page_size=self._page_size,
            byte_size=byte_size, lsn=state.lsn, local_lsn=state.local_lsn, local_commits=0,
            content_version=version, history=history,
        )  # fmt: skip
        return View(state, generation, remote_map, CommitRun.empty(), snapshot)

    def after_state(self, old: View, state: SyncState, generation: int, remote_map: PageMap | None) -> View:
        """Return the view that follows ``old`` when the state has changed; ``remote_map`` as ``previous`` above."""
        pending = [commit for commit in old.pending if commit.local_lsn > state.local_lsn]
        # A push covers local LSNs that the view has already. Every other change of the state uses up new ones.
        is_new_content = state.local_lsn > old.snapshot.local_lsn
        # Local commits were given up, or the log is another one: the new content was not built on the old.
        breaks_off = (is_new_content and bool(old.pending)) or state.identity.log != old.state.identity.log
        # A pull uses up one local LSN. A replica that leaves lost commits behind uses up more (`graft.sync.rescue`).
        breaks_off = breaks_off or state.local_lsn > old.snapshot.local_lsn + 1
        version, history = old.snapshot.content_version + is_new_content, old.snapshot.history + breaks_off
        view = self.of_state(state, generation, remote_map or old.remote_map, version, history)
        return view.followed_by(pending, self._journal.views, content_changed=False)

    def read_only_snapshot(self, volume_name: str, page_map: PageMap, *, byte_size: int, lsn: int) -> Snapshot:
        """Return a read-only snapshot over any page map, such as one of an earlier version."""
        return Snapshot(
            page_map, self._bodies, self._journal.views, volume_name=volume_name, page_size=self._page_size,
            byte_size=byte_size, lsn=lsn, local_lsn=0, local_commits=0, content_version=0,
            read_only=True,
        )  # fmt: skip
