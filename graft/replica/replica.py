"""A replica: the local directory of a volume, as one process sees it.

    replica/state.db    sync point, identity, intent            (state.py)
    replica/journal/    local commits that are not pushed yet   (graft/journal, journal_upkeep.py)
    replica/cache/      frames, disposable                      (graft/cache)
    replica/shared      counters of all its processes           (graft/disk/shared_counters.py)
    replica/*.lock      who may write                           (access.py)

    current_view.py     follows commits and changes of the state, also those of other processes
    transaction.py      one write transaction
    reclaim.py          frees disk space
    opening.py          the replicas that this process has open

Invariants: only the holder of the writer lock appends to the journal; only the holder of the sync lock changes the
state; a change that replaces what a writer builds on holds both, and uses up a local LSN, so that a record that a dead
writer left behind is never laid over a version that it was not made on.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from graft.cache.cache import Cache
from graft.cache.delta_bases import CachedBases
from graft.counters import ReplicaCounts
from graft.disk.files import make_directory
from graft.disk.home import Home
from graft.disk.locks import FileLock, HeldLock
from graft.disk.shared_counters import SharedCounters
from graft.errors import GraftError, LocalStorageError, StaleSnapshot, WriterBusy, local_errors, remote_errors
from graft.finalizers import hand_over, in_finalizer, may_still_wait
from graft.journal.journal import Journal
from graft.journal.local_commit import LocalCommit
from graft.pagemap.frame_table import FrameKey, FrameTable
from graft.pagemap.page_map import PageMap
from graft.periodic import Housekeeper
from graft.reading.body_loader import BodyLoader
from graft.reading.snapshot import Snapshot
from graft.remote.remote import Remote
from graft.replica.access import DirectoryAccess
from graft.replica.current_view import CurrentView, ViewSources, joined, recovered
from graft.replica.directory import STATE_FILE, is_replica, not_a_replica
from graft.replica.journal_upkeep import JournalUpkeep, note_journal_end
from graft.replica.missing_frames import collected_error
from graft.replica.reclaim import Reclaimer
from graft.replica.replica_remote import remote_for
from graft.replica.state import State, SyncState
from graft.replica.transaction import WriteTransaction
from graft.replica.view import View
from graft.replica.view_builder import ViewBuilder
from graft.settings import Settings
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex, load_chunks
from metastore.lineage import Lineage
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

JOURNAL = "journal"
SHARED = "shared"


class Replica:
    """An open replica; threads may share it. Made by `open_replica`."""

    def __init__(
        self,
        path: Path,
        *,
        settings: Settings | None = None,
        store: ObjectStore | None = None,
        runtime: Runtime = SYSTEM,
        remote: Remote | None = None,
        on_release: "Callable[[Replica], None] | None" = None,
        read_only: str | None = None,
    ) -> None:
        """Open the directory, and recover it if no other process has it open; a ``remote`` is closed with the replica.

        ``read_only`` says why nothing may be written, if the directory is a private copy of one that cannot be written
        (`graft.replica.read_only`); the copy is removed on closing.

        ``on_release`` is called by `close` instead of closing: several users may share one replica.
        """
        self.path = path
        self.settings = settings or Settings()
        self.runtime = runtime
        self.counts = ReplicaCounts()
        if not is_replica(path):
            raise not_a_replica(path)
        self.read_only = read_only
        """Why this replica can only be read; None if it can be written."""
        self._closed = False
        self._on_release = on_release or Replica.close_now
        with contextlib.ExitStack() as opened:
            if read_only is not None:
                opened.callback(shutil.rmtree, path, ignore_errors=True)
            if remote is not None:
                opened.callback(remote.close)
            self._open_parts(opened, store, remote)
            self._open = opened.pop_all()
            """Closes everything, the locks last."""
        self.access.end_opening()

    def _open_parts(self, opened: contextlib.ExitStack, store: ObjectStore | None, remote: Remote | None) -> None:
        path, settings = self.path, self.settings
        was_closed = not (path / f"{STATE_FILE}-wal").exists()
        self.access = DirectoryAccess(path, read_only=self.read_only)
        opened.callback(self.access.close)
        alone = self.access.alone
        self.state = State(path / STATE_FILE)
        opened.callback(self.state.close)
        identity = self.state.identity()
        self.store_url, self.page_size = identity.store_url, identity.page_size
        if remote is None:
            remote = remote_for(
                path, self.store_url, store=store, settings=settings, runtime=self.runtime, must_exist=True
            )
            opened.callback(remote.close)
        self.remote = remote
        self.shared = SharedCounters(path / SHARED, alone=alone)
        opened.callback(self.shared.close)
        with local_errors(f"opening {path}"):
            make_directory(path / JOURNAL)
        self.access.watch([STATE_FILE, SHARED, JOURNAL])
        self._open_journal(opened)
        self._open_cache(opened, alone=alone)
        builder = ViewBuilder(self.table, self.bodies, self.journal, self.page_size, self.load_chunks)
        sources = ViewSources(self.state, self.shared, self.journal, self._journal_upkeep, builder)
        if alone:
            # A process whose open.lock was deleted may be writing all the same.
            with self.writer_lock.held(settings.lock_timeout_s, self.runtime):
                first = recovered(sources)
            self.access.end_recovery()
        else:
            first = joined(sources)
        self._builder = builder
        self._current = CurrentView(sources, first, self.access)
        self.reclaimer = Reclaimer(self, was_closed=was_closed)

    def _open_journal(self, opened: contextlib.ExitStack) -> None:
        self.journal = Journal(
            self.path / JOURNAL,
            self.page_size,
            file_bytes=self.settings.journal_file_bytes,
            on_rotation=partial(note_journal_end, self.state),
        )
        opened.callback(self.journal.close)
        self._journal_upkeep = JournalUpkeep(self.journal, self.state, self.home)

    def _open_cache(self, opened: contextlib.ExitStack, *, alone: bool) -> None:
        self.table = FrameTable()
        self.cache = Cache(
            self.path / "cache",
            self.page_size,
            bytes_max=self.settings.cache_bytes_max,
            file_bytes=self.settings.cache_file_bytes,
            alone=alone,
            on_release=self.table.detach,
            still_there=self.home.is_unmoved,
            frozen=self.read_only is not None,
        )
        opened.callback(self.cache.close)
        self.remote.explain = self._explain_missing
        self.remote.bases = CachedBases(self.table, self.cache, self.page_size)
        self.remote.bases_to_build_on = CachedBases(self.table, self.cache, self.page_size, trusts_table=False)
        self.bodies = BodyLoader(
            self.table, self.cache, self.remote, self.page_size, self.counts, Housekeeper(self.keep_house)
        )
        opened.callback(self.bodies.close)

    def _explain_missing(self, keys: Sequence[FrameKey]) -> GraftError | None:
        view = self._current.known
        return collected_error(
            self.remote, self.table, keys,
            name=self.name, log=self.lineage.log_of(view.state.lsn), lsn=view.state.lsn, newest=view.remote_map,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The volume's name in its remote."""
        return self._current.known.state.identity.name

    @property
    def volume(self) -> VolumeId:
        """The volume's id."""
        return self._current.known.state.identity.volume

    @property
    def log(self) -> LogId:
        """The log that the replica builds on."""
        return self._current.known.state.identity.log

    @property
    def lineage(self) -> Lineage:
        """In which log each version of the volume is."""
        return self._current.known.state.identity.lineage

    @property
    def remote_address(self) -> str:
        """The volume's address, as `graft.remote.remote.parse_remote` reads it."""
        return f"{self.store_url}#{self.name}"

    @property
    def home(self) -> Home:
        """The directory that was opened, whatever its path leads to now."""
        return self.access.home

    @property
    def writer_lock(self) -> FileLock:
        """The lock of write transactions; it guards the journal's tail."""
        return self.access.writer_lock

    @property
    def sync_lock(self) -> FileLock:
        """The lock of pushes and pulls; it guards the state."""
        return self.access.sync_lock

    @property
    def is_disowned(self) -> bool:
        """Whether this process is the child of a fork, and the replica belongs to its parent."""
        return self.access.is_disowned

    def require_own(self) -> None:
        """Raise `BadRequest` in the child of a fork: the locks, the journal and the state belong to its parent."""
        self.access.require_own()

    def require_unmoved(self) -> None:
        """Raise as `require_own`, and `ReplicaMoved` if the directory or a lock file was replaced since opening."""
        self.access.require_unmoved()

    def snapshot(self) -> Snapshot:
        """Return the newest version, with the local commits of other threads and processes."""
        return self._current.newest().snapshot

    def view(self) -> View:
        """Return the newest view, after taking in what other processes did."""
        return self._current.newest()

    def begin(self, snapshot: Snapshot) -> WriteTransaction:
        """Start the one write transaction, on the newest snapshot.

        Raises `WriterBusy` if another thread or process is writing, `StaleSnapshot` if ``snapshot`` is not the newest.
        """
        if not self.writer_lock.try_acquire():
            raise WriterBusy(f"{snapshot.describe()}: another connection or process is writing")
        try:
            return self.begin_holding(snapshot, self.writer_lock)
        except BaseException:
            self.writer_lock.release()
            raise

    def begin_holding(self, snapshot: Snapshot, lock: HeldLock) -> WriteTransaction:
        """As `begin`, for a caller that holds the writer lock already; the transaction releases it at its end."""
        current = self.view_of_writer().snapshot
        if snapshot.content_version != current.content_version or snapshot.read_only:
            raise StaleSnapshot(f"{snapshot.describe()} is not the newest version any more: {current.describe()}")
        return WriteTransaction(self, current, lock)

    def publish(self, commit: LocalCommit) -> Snapshot:
        """Make a commit in the journal visible to readers; the caller holds the writer lock."""
        return self._current.publish(commit)

    def held_for_finalizer(self) -> contextlib.AbstractContextManager[bool]:
        """See `CurrentView.held_for_finalizer`."""
        return self._current.held_for_finalizer()

    def view_of_writer(self) -> View:
        """Return the newest view to the holder of the writer lock, after finishing what dead processes began."""
        return self._current.newest_for_writer()

    def view_with(self, view: View, commit: LocalCommit) -> View:
        """Return a view with one more commit, without publishing it."""
        return self._current.with_commit(view, commit)

    def state_changed(self, state: SyncState | None = None, *, remote_map: PageMap | None = None) -> View:
        """Adopt a state that was just written, and announce it; see `CurrentView.state_changed`."""
        return self._current.state_changed(state, remote_map=remote_map)

    def delete_pushed(self, *, spare_last: bool) -> None:
        """Delete the journal files that hold nothing newer than the sync point; failures are left for the next call.

        With ``spare_last`` the file stays that a writer may be appending to. Without it the caller holds the writer
        lock and has taken in all commits.
        """
        self._current.delete_pushed(spare_last=spare_last)

    def keep_house(self) -> None:
        """Evict cached frames over the budget, and reclaim if the replica is idle; called every second."""
        self.bodies.evict()
        self.reclaimer.when_idle()

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        """Raise `Corrupt` if the journal's records of these commits were damaged since they were written."""
        self.journal.require_whole(commits)

    def load_chunks(self, wanted: Iterable[tuple[CommitIndex, int]]) -> None:
        """Read the index chunks that are not here from the remote, and store them."""
        wanted = [(index, number) for index, number in wanted if index.lacks(number)]
        if not wanted:
            return
        with remote_errors("reading the index"):
            load_chunks(self.remote.commits, self.remote.parallel, wanted)
        with contextlib.suppress(LocalStorageError, WriterBusy):  # they can be read again
            for index in {id(index): index for index, _ in wanted}.values():
                self.state.keep_chunks(index)

    def snapshot_of(self, page_map: PageMap, *, byte_size: int, lsn: int) -> Snapshot:
        """Return a read-only snapshot over any page map, such as one of an earlier version."""
        return self._builder.read_only_snapshot(self.name, page_map, byte_size=byte_size, lsn=lsn)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on closing, before anything is closed; the last one registered is called first."""
        self._open.callback(callback)

    def close(self) -> None:
        """Undo one `graft.replica.opening.open_replica`; the last one closes.

        In a finalizer, another thread closes. In an ending interpreter whose frozen threads may hold locks, nothing
        is closed: the system does it.
        """
        if in_finalizer():
            hand_over(partial(self._on_release, self))
        elif may_still_wait():
            self._on_release(self)

    def close_now(self) -> None:
        """Close everything."""
        try:
            self.bodies.flush()
            if not self._closed and not self.is_disowned:
                with contextlib.suppress(GraftError):
                    self._journal_upkeep.sync_and_note_end(self.view())
                self.reclaimer.before_closing()
        finally:
            self._closed = True
            self._open.close()

    def before_exit(self) -> None:
        """Stop all threads of the replica: an ending interpreter may freeze them while they hold what closing needs."""
        if not self.is_disowned and not self._closed:
            self.bodies.stop_threads()

    def disown(self) -> None:
        """Give up what belongs to the parent, in the child of a fork. Only snapshots stay usable."""
        self._current.disown()
        self.access.disown()
        self.shared.disown()
        self.state.disown()
        self.bodies.disown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
