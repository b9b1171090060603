"""The newest view of a replica: follows the commits of this process and of others, and changes of the state.

Invariants: the view is the sync point's remote map with all published local commits behind it laid over, in order; it
is replaced whole. Commits that were read from the journal and are not in the view yet wait in `_read`, so that an error
while reading loses none of them.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from graft.disk.boot import boot_number
from graft.disk.shared_counters import SharedCounters
from graft.errors import GraftError
from graft.journal.journal import Journal
from graft.journal.local_commit import LocalCommit
from graft.pagemap.page_map import PageMap
from graft.reading.snapshot import Snapshot
from graft.replica.access import DirectoryAccess
from graft.replica.journal_upkeep import JournalUpkeep
from graft.replica.state import State, SyncState
from graft.replica.view import View
from graft.replica.view_builder import ViewBuilder


@dataclass(frozen=True, slots=True)
class ViewSources:
    """What a view is read from."""

    state: State
    shared: SharedCounters
    journal: Journal
    upkeep: JournalUpkeep
    builder: ViewBuilder


class CurrentView:
    """What one process knows of a replica; safe for threads."""

    def __init__(self, sources: ViewSources, first: View, access: DirectoryAccess) -> None:
        """Begin with the view that `recovered` or `joined` returned."""
        self._state = sources.state
        self._shared = sources.shared
        self._journal = sources.journal
        self._upkeep = sources.upkeep
        self._builder = sources.builder
        self._access = access
        self._view = first
        self._read: list[LocalCommit] = []
        """Commits that were read from the journal and are not in the view yet."""
        self._lock = threading.RLock()  # guards the journal's reading position and the replacing of _view

    @property
    def known(self) -> View:
        """The newest view that this process has made; it does not ask what others did."""
        return self._view

    def newest(self) -> View:
        """Return the newest view, after taking in what other processes did."""
        view = self._view
        words = self._shared.words
        if words[1] != view.generation or words[2] > view.snapshot.local_lsn:
            return self._refreshed()
        return view

    def newest_for_writer(self) -> View:
        """Return the newest view to the holder of the writer lock, after finishing what dead processes began."""
        self._access.require_own()
        view = self._view
        local_lsn = view.snapshot.local_lsn
        if self._journal.last_local_lsn == local_lsn and self._shared.match(view.generation, local_lsn):
            return view
        if self._shared.state_in_doubt:
            self._resolve_doubt()
        return self._refreshed(adopt=self._shared.append_in_progress)

    def publish(self, commit: LocalCommit) -> Snapshot:
        """Make a commit in the journal visible to readers; the caller holds the writer lock."""
        with self._lock:
            self._view = view = self.with_commit(self._view, commit)
            self._shared.announce_commit(commit.local_lsn)
            return view.snapshot

    def with_commit(self, view: View, commit: LocalCommit) -> View:
        """Return a view with one more commit, without publishing it."""
        return view.followed_by((commit,), self._journal.views, content_changed=True)

    def state_changed(self, state: SyncState | None = None, *, remote_map: PageMap | None = None) -> View:
        """Adopt a state that was just written, and announce it; the caller holds the sync lock.

        Without ``state`` it is read again. Unchanged chunks of ``remote_map`` are reused.
        """
        with self._lock:
            generation = self._shared.state_generation + 1
            view = self._after_state(generation, state, remote_map)
            if self._journal.last_local_lsn < _merged_through(view.state):
                # Nobody may see the state without the merge that came with it.
                found = list(self._journal.read_new(_merged_through(view.state)))
                view = view.followed_by(found, self._journal.views, content_changed=False)
                self._shared.announce_commit(self._journal.last_local_lsn)
            self._view = view
            self._shared.announce_state()
            return view

    def delete_pushed(self, *, spare_last: bool) -> None:
        """Delete the journal files that hold nothing newer than the sync point."""
        with self._lock:
            self._upkeep.delete_through(self._view.state.local_lsn, spare_last=spare_last)

    @contextlib.contextmanager
    def held_for_finalizer(self) -> Iterator[bool]:
        """Keep others from changing the view during a block; yield False if one of them is changing it.

        A finalizer may not wait, and may have interrupted its own thread in the middle of such a change. So it asks
        before it publishes a commit.
        """
        is_owned: Callable[[], bool] = getattr(self._lock, "_is_owned", lambda: True)
        if is_owned() or not self._lock.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()

    def disown(self) -> None:
        """Replace the lock in the child of a fork: another thread of the parent may have held it."""
        self._lock = threading.RLock()

    def _refreshed(self, *, adopt: bool = False) -> View:
        """Take in what others did. ``adopt``, under the writer lock, also takes a commit whose writer died."""
        with self._lock:
            self._access.require_own()
            while True:
                generation = self._shared.state_generation
                try:
                    if generation != self._view.generation:
                        self._view = self._after_state(generation)
                    published = max(
                        self._shared.published_local_lsn,
                        self._journal.last_local_lsn,
                        _merged_through(self._view.state),
                    )
                    for commit in self._journal.read_new(None if adopt else published):
                        self._read.append(commit)  # also kept if reading the next one fails
                except GraftError:
                    if self._shared.state_generation == generation:
                        raise
                    continue  # a push of another process deleted journal files meanwhile
                if adopt and self._shared.state_generation != generation:
                    continue  # likewise: a commit that was not found may have been pushed, not torn
                self._view = self._view.followed_by(self._read, self._journal.views, content_changed=True)
                self._read = []
                if adopt:
                    self._journal.drop_torn_tail(published)
                    self._shared.announce_commit(self._journal.last_local_lsn)
                return self._view

    def _resolve_doubt(self) -> None:
        """Adopt a change of the state whose author died, or is about to announce it."""
        with self._access.sync_lock.held_briefly() as held:
            if held:
                self.state_changed()
                return
        with self._lock:
            self._view = self._after_state(self._view.generation)

    def _after_state(self, generation: int, state: SyncState | None = None, remote_map: PageMap | None = None) -> View:
        state = state or self._state.read()
        if self._journal.last_local_lsn < state.local_lsn:
            self._journal.start_after(state.local_lsn)
        self._journal.forget_through(state.local_lsn)
        for merge in state.merges:
            self._journal.finish_merge(merge.local_lsn)
        self._read = [commit for commit in self._read if commit.local_lsn > state.local_lsn]
        return self._builder.after_state(self._view, state, generation, remote_map)


def recovered(sources: ViewSources) -> View:
    """Recover the journal and return the first view; the caller is `alone` and holds the writer lock."""
    shared, journal = sources.shared, sources.journal
    state = sources.state.read()
    for merge in state.merges:
        journal.finish_merge(merge.local_lsn)
    journal.start_after(state.local_lsn)
    found = list(journal.read_new())
    intended = state.intent.local_lsn if state.intent else 0
    journal.drop_torn_tail(
        max(state.journal_end, intended, _merged_through(state), shared.published_since(boot_number()))
    )
    sources.upkeep.delete_through(state.local_lsn, spare_last=False)
    shared.announce_state()
    shared.announce_commit(journal.last_local_lsn)
    shared.begin_boot(boot_number())
    view = sources.builder.of_state(state, shared.state_generation, None)
    return view.followed_by(found, journal.views, content_changed=False)


def joined(sources: ViewSources) -> View:
    """Return the first view of a replica that other processes have open too."""
    shared, journal = sources.shared, sources.journal
    while True:
        generation = shared.state_generation
        try:
            state = sources.state.read()
            for merge in state.merges:
                journal.finish_merge(merge.local_lsn)
            journal.start_after(state.local_lsn)
            found = list(journal.read_new(max(shared.published_local_lsn, state.local_lsn, _merged_through(state))))
        except GraftError:
            if shared.state_generation == generation:
                raise
            continue  # a push of another process deleted journal files meanwhile
        view = sources.builder.of_state(state, generation, None)
        return view.followed_by(found, journal.views, content_changed=False)


def _merged_through(state: SyncState) -> int:
    """Return the newest local commit that a merge made, which belongs to the state."""
    return state.merges[-1].local_lsn if state.merges else 0
