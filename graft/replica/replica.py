"""A replica: the local directory of a volume, as one process sees it.

    replica/state.db    sync point, identity, intent            (graft.state)
    replica/journal/    local commits that are not pushed yet   (graft.journal)
    replica/cache/      frames, disposable                      (graft.cache)
    replica/shared, replica/*.lock                              (graft.shared, graft.locks)

Invariants: `_view` is the sync point's remote map with all published local commits behind it laid over, in order;
it is replaced whole. Only the holder of the writer lock appends to the journal; only the holder of the sync lock
changes the state; a change that replaces what a writer builds on holds both, and uses up a local LSN, so that a
record that a dead writer left behind is never laid over what it was not made on.
"""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from graft.cache.cache import Cache
from graft.cache.delta_bases import CachedBases
from graft.counters import ReplicaCounts
from graft.disk.boot import boot_number
from graft.disk.files import make_directory
from graft.disk.home import Home
from graft.disk.locks import FileLock, HeldLock, PresenceLock
from graft.disk.shared_counters import SharedCounters
from graft.errors import (
    BadRequest,
    GraftError,
    LocalStorageError,
    ReadOnly,
    StaleSnapshot,
    WriterBusy,
    local_errors,
    remote_errors,
)
from graft.finalizers import hand_over, in_finalizer, may_still_wait
from graft.journal.commit_run import CommitRun
from graft.journal.journal import Journal
from graft.journal.local_commit import LocalCommit
from graft.pagemap.frame_table import FrameTable
from graft.pagemap.page_map import PageMap, compose
from graft.periodic import Housekeeper
from graft.reading.body_loader import BodyLoader
from graft.reading.snapshot import Snapshot
from graft.remote.remote import Remote
from graft.replica.directory import STATE_FILE, is_replica, not_a_replica
from graft.replica.reclaim import reclaim
from graft.replica.replica_remote import remote_for
from graft.replica.state import State, SyncState
from graft.replica.transaction import WriteTransaction
from graft.replica.view import View
from graft.settings import Settings
from metastore.index import CommitIndex, load_chunks
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

JOURNAL = "journal"
SHARED = "shared"
_WATCHED = ("open.lock", "writer.lock", "sync.lock", STATE_FILE, SHARED, JOURNAL)
"""What an open replica would lose touch with other processes by, or write beside, if it were replaced."""


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
        """Open the directory, recovering it if nobody else has it open; a ``remote`` is closed with the replica.

        ``read_only`` says why nothing may be written, where the directory is a private copy of one that cannot be
        (`graft.replica.read_only`); it is removed on closing.

        ``on_release`` is called by `close` instead of closing: several users may share one replica.
        """
        self.path = path
        self.settings = settings or Settings()
        self.runtime = runtime
        self.counts = ReplicaCounts()
        if not is_replica(path):
            raise not_a_replica(path)
        self._lock = threading.RLock()  # guards the journal's reading position and the replacing of _view
        self._disowned = self._closed = False
        self.read_only = read_only
        """Why this replica can only be read; None if it can be written."""
        self._is_up = False
        self._on_release = on_release or Replica.close_now
        self._read: list[LocalCommit] = []
        """Commits that were taken from the journal and are not in the view yet."""
        self._open = contextlib.ExitStack()
        """What to let go of, the locks last."""
        with contextlib.ExitStack() as opened:
            if read_only is not None:
                opened.callback(shutil.rmtree, path, ignore_errors=True)
            self._take_up(opened, store, remote)
            self._open = opened.pop_all()
        self._is_up = True

    def _take_up(self, opened: contextlib.ExitStack, store: ObjectStore | None, remote: Remote | None) -> None:
        path, settings = self.path, self.settings
        if remote is not None:
            opened.callback(remote.close)
        was_closed = not (path / f"{STATE_FILE}-wal").exists()
        self.home = Home(path)
        opened.callback(self.home.close)
        self._presence = PresenceLock(path / "open.lock")
        opened.callback(self._presence.close)
        alone = self._presence.enter()
        self.writer_lock = FileLock(path / "writer.lock", f"the writer lock of {path}", check=self._require_writable)
        opened.callback(self.writer_lock.close)
        self.sync_lock = FileLock(path / "sync.lock", f"a push or pull of {path}", check=self._require_writable)
        opened.callback(self.sync_lock.close)
        self.state = State(path / STATE_FILE)
        opened.callback(self.state.close)
        identity = self.state.identity()
        self.name, self.store_url = identity.name, identity.store_url
        self.volume, self.log, self.page_size = identity.volume, identity.log, identity.page_size
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
        self.home.watch(_WATCHED)
        self.journal = Journal(
            path / JOURNAL,
            self.page_size,
            file_bytes=settings.journal_file_bytes,
            on_rotation=self._note_journal_end,
        )
        opened.callback(self.journal.close)
        self.table = FrameTable()
        self.cache = Cache(
            path / "cache",
            self.page_size,
            bytes_max=settings.cache_bytes_max,
            file_bytes=settings.cache_file_bytes,
            alone=alone,
            on_release=self.table.detach,
            still_there=self.home.is_unmoved,
            frozen=self.read_only is not None,
        )
        opened.callback(self.cache.close)
        self.remote.bases = CachedBases(self.table, self.cache, self.page_size)
        self.remote.bases_to_build_on = CachedBases(self.table, self.cache, self.page_size, trusts_table=False)
        self._seen_by_housekeeper = self._reclaimed = (0, 0)
        self.unreclaimed_pages = 0
        """Pushed since somebody last looked what is of no use any more (`graft.replica.reclaim`)."""
        self.bodies = BodyLoader(
            self.table, self.cache, self.remote, self.page_size, self.counts, Housekeeper(self.keep_house)
        )
        opened.callback(self.bodies.close)
        if alone:
            # Somebody may be writing after all, whose open.lock was deleted.
            with self.writer_lock.held(settings.lock_timeout_s, self.runtime):
                self._view = self._first_view(alone=True)
            self._presence.admit_others()
        else:
            self._view = self._first_view(alone=False)
        if was_closed:
            self._reclaimed = self._counters()

    @property
    def is_disowned(self) -> bool:
        """Whether this process is the child of a fork, and the replica its parent's."""
        return self._disowned

    def require_own(self) -> None:
        """Raise `BadRequest` in the child of a fork: the locks, the journal and the state are its parent's."""
        if self._disowned:
            raise BadRequest(f"{self.path} was opened before a fork; open it again in the new process")

    def _require_writable(self) -> None:
        """Raise `ReadOnly` where nothing may be written, and `ReplicaMoved` as `require_unmoved`."""
        if self.read_only is not None and self._is_up:
            raise ReadOnly(self.read_only)
        self.home.require_unmoved()

    def require_unmoved(self) -> None:
        """Raise `ReplicaMoved` if the directory or a lock file is not the one that was opened, and as `require_own`."""
        self.require_own()
        self.home.require_unmoved()

    @property
    def remote_address(self) -> str:
        """The volume's address, as `graft.remote.remote.parse_remote` reads it."""
        return f"{self.store_url}#{self.name}"

    def snapshot(self) -> Snapshot:
        """Return the newest version, local commits of other threads and processes included."""
        return self.view().snapshot

    def view(self) -> View:
        """Return what is known now, looking first whether anything changed."""
        view = self._view
        words = self.shared.words
        if words[1] != view.generation or words[2] > view.snapshot.local_lsn:
            return self._refreshed()
        return view

    def begin(self, snapshot: Snapshot) -> WriteTransaction:
        """Start the one write transaction, on the newest snapshot.

        Raises `WriterBusy` when somebody else is writing, `StaleSnapshot` when ``snapshot`` is not the newest.
        """
        if not self.writer_lock.try_acquire():
            raise WriterBusy(f"{snapshot.describe()}: another connection or process is writing")
        try:
            return self.begin_holding(snapshot, self.writer_lock)
        except BaseException:
            self.writer_lock.release()
            raise

    def begin_holding(self, snapshot: Snapshot, lock: HeldLock) -> WriteTransaction:
        """Start it for one who holds the writer lock already, which the transaction gives back at its end."""
        current = self.view_of_writer().snapshot
        if snapshot.content_version != current.content_version or snapshot.read_only:
            raise StaleSnapshot(f"{snapshot.describe()} is not the newest version any more: {current.describe()}")
        return WriteTransaction(self, current, lock)

    def publish(self, commit: LocalCommit) -> Snapshot:
        """Let readers see a local commit that is in the journal; the caller holds the writer lock."""
        with self._lock:
            self._view = view = self._view.followed_by((commit,), self.journal.views, content_changed=True)
            self.shared.announce_commit(commit.local_lsn)
            return view.snapshot

    @contextlib.contextmanager
    def held_for_finalizer(self) -> Iterator[bool]:
        """Keep others from changing the view for a block, unless one of them is at it; tell whether that was to be had.

        A finalizer, which may not wait and may have interrupted its own thread in the midst of that, asks for it before
        it publishes a commit.
        """
        is_owned: Callable[[], bool] = getattr(self._lock, "_is_owned", lambda: True)
        if is_owned() or not self._lock.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()

    def view_of_writer(self) -> View:
        """Return the newest view to one who holds the writer lock, with what dead processes left unsaid taken in."""
        self.require_own()
        view = self._view
        local_lsn = view.snapshot.local_lsn
        if self.journal.last_local_lsn == local_lsn and self.shared.match(view.generation, local_lsn):
            return view
        if self.shared.state_in_doubt:
            self._resolve_doubt()
        return self._refreshed(adopt=self.shared.append_in_progress)

    def view_with(self, view: View, commit: LocalCommit) -> View:
        """Return a view with a commit that nobody else is to see yet."""
        return view.followed_by([commit], self.journal.views, content_changed=True)

    def state_changed(self, state: SyncState | None = None, *, remote_map: PageMap | None = None) -> View:
        """Take over a state that was just written, and tell others; the caller holds the sync lock.

        It is read again where the caller does not know it. Chunks of ``remote_map`` that are as the new state wants
        them are kept.
        """
        with self._lock:
            generation = self.shared.state_generation + 1
            self._view = self._rebuilt(generation, state, remote_map)
            self.shared.announce_state()
            return self._view

    def delete_pushed(self, *, spare_last: bool) -> None:
        """Delete the journal files that the sync point made superfluous; what fails is left for the next one to do.

        With ``spare_last`` the file that a writer may be appending to stays; without it the caller holds the writer
        lock and has taken in all commits.
        """
        with self._lock:
            self._delete_through(self._view.state.local_lsn, spare_last=spare_last)

    def keep_house(self) -> None:
        """Let go of what others want gone; settle once if nothing was committed, pushed or pulled since last time."""
        self.bodies.evict()
        now = self._counters()
        if now == self._seen_by_housekeeper and now != self._reclaimed and reclaim(self):
            self._reclaimed = now
        self._seen_by_housekeeper = now

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        """Raise `Corrupt` if the journal's records of these commits were damaged since they were written."""
        self.journal.require_whole(commits)

    def load_chunks(self, wanted: Iterable[tuple[CommitIndex, int]]) -> None:
        """Read index chunks that are lacking from the remote, and keep them."""
        wanted = [(index, number) for index, number in wanted if index.lacks(number)]
        if not wanted:
            return
        with remote_errors("reading the index"):
            load_chunks(self.remote.commits, self.remote.parallel, wanted)
        with contextlib.suppress(LocalStorageError, WriterBusy):  # they can be read again
            for index in {id(index): index for index, _ in wanted}.values():
                self.state.keep_chunks(index)

    def snapshot_of(self, page_map: PageMap, *, byte_size: int, lsn: int) -> Snapshot:
        """Return a read-only snapshot over a map of the past."""
        return Snapshot(
            page_map, self.bodies, self.journal.views, volume_name=self.name, page_size=self.page_size,
            byte_size=byte_size, lsn=lsn, local_lsn=0, local_commits=0, content_version=0,
            read_only=True,
        )  # fmt: skip

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call something before anything else is closed with the replica; the last registered first."""
        self._open.callback(callback)

    def close(self) -> None:
        """Give back one `graft.replica.opening.open_replica`; the last one closes.

        A finalizer may call this: another thread closes then. So may one of an ending interpreter, which leaves it to
        the system where threads that may hold locks are frozen.
        """
        if in_finalizer():
            hand_over(partial(self._on_release, self))
        elif may_still_wait():
            self._on_release(self)

    def close_now(self) -> None:
        """Let go of everything."""
        try:
            self.bodies.flush()
            self._vouch_for_journal()
            if not self._closed and not self._disowned and (self.cache.grew or self._counters() != self._reclaimed):
                reclaim(self)
        finally:
            self._closed = True
            self._open.close()

    def before_exit(self) -> None:
        """Let no thread run by itself any more: one that an ending interpreter freezes may hold what closing needs."""
        if not self._disowned and not self._closed:
            self.bodies.stop_threads()

    def disown(self) -> None:
        """In the child of a fork: let go of what is the parent's. Snapshots stay readable, all else is refused."""
        self._lock = threading.RLock()
        self._disowned = True
        for lock in (self._presence, self.writer_lock, self.sync_lock):
            lock.close()
        self.shared.disown()
        self.state.disown()
        self.bodies.disown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _delete_through(self, local_lsn: int, *, spare_last: bool) -> None:
        if not self.home.is_unmoved():  # what is at the path now is not ours
            return
        with contextlib.suppress(LocalStorageError, WriterBusy):
            self.journal.delete_through(local_lsn, spare_last=spare_last, sync=self.state.sync)

    def _vouch_for_journal(self) -> None:
        """Note durably where the journal ends, so that damage there can be told from what a crash may leave.

        What fails is left: then the journal is vouched for by less.
        """
        if self._closed or self._disowned or not self.home.is_unmoved():
            return
        with contextlib.suppress(GraftError):
            view = self.view()
            local_lsn = view.snapshot.local_lsn
            if view.pending and local_lsn > self.state.read().journal_end:
                self.journal.sync_through(local_lsn)
                self.state.note_journal_end(local_lsn)

    def _note_journal_end(self, local_lsn: int) -> None:
        with contextlib.suppress(LocalStorageError, WriterBusy):  # it is vouched for by less then
            self.state.note_journal_end(local_lsn)

    def _counters(self) -> tuple[int, int]:
        """Return what is another value after a commit, a push or a pull."""
        return self.shared.state_generation, self.shared.published_local_lsn

    def _first_view(self, *, alone: bool) -> View:
        if alone:
            state = self.state.read()
            self.journal.start_after(state.local_lsn)
            found = list(self.journal.read_new())
            intended = state.intent.local_lsn if state.intent else 0
            self.journal.drop_torn_tail(max(state.journal_end, intended, self.shared.published_since(boot_number())))
            self._delete_through(state.local_lsn, spare_last=False)
            self.shared.announce_state()
            self.shared.announce_commit(self.journal.last_local_lsn)
            self.shared.begin_boot(boot_number())
            synced = self._synced(state, self.shared.state_generation, None)
            return synced.followed_by(found, self.journal.views, content_changed=False)
        while True:
            generation = self.shared.state_generation
            try:
                state = self.state.read()
                self.journal.start_after(state.local_lsn)
                found = list(self.journal.read_new(max(self.shared.published_local_lsn, state.local_lsn)))
            except GraftError:
                if self.shared.state_generation == generation:
                    raise
                continue  # a push of another process deleted journal files under our eyes
            return self._synced(state, generation, None).followed_by(found, self.journal.views, content_changed=False)

    def _refreshed(self, *, adopt: bool = False) -> View:
        """Learn what others did; ``adopt``, under the writer lock, takes in a commit whose writer died unpublished."""
        with self._lock:
            self.require_own()
            while True:
                generation = self.shared.state_generation
                try:
                    if generation != self._view.generation:
                        self._view = self._rebuilt(generation)
                    published = max(self.shared.published_local_lsn, self.journal.last_local_lsn)
                    for commit in self.journal.read_new(None if adopt else published):
                        self._read.append(commit)  # those before an error count
                except GraftError:
                    if self.shared.state_generation == generation:
                        raise
                    continue  # a push of another process deleted journal files under our eyes
                if adopt and self.shared.state_generation != generation:
                    continue  # likewise: what was not found may have been pushed, not torn
                self._view = self._view.followed_by(self._read, self.journal.views, content_changed=True)
                self._read = []
                if adopt:
                    self.journal.drop_torn_tail(published)
                    self.shared.announce_commit(self.journal.last_local_lsn)
                return self._view

    def _resolve_doubt(self) -> None:
        """Take in a change of the state whose author died, or is about to tell of it."""
        with self.sync_lock.held_briefly() as held:
            if held:
                self.state_changed()
                return
        with self._lock:
            self._view = self._rebuilt(self._view.generation)

    def _rebuilt(self, generation: int, state: SyncState | None = None, remote_map: PageMap | None = None) -> View:
        state = state or self.state.read()
        self.log, self.name, self.volume = state.identity.log, state.identity.name, state.identity.volume
        old = self._view
        if self.journal.last_local_lsn < state.local_lsn:
            self.journal.start_after(state.local_lsn)
        self.journal.forget_through(state.local_lsn)
        self._read = [commit for commit in self._read if commit.local_lsn > state.local_lsn]
        pending = [commit for commit in old.pending if commit.local_lsn > state.local_lsn]
        # A push says again what is in the view already. All else brings, or uses up, a local LSN that is not in it.
        brought = state.local_lsn > old.snapshot.local_lsn
        # Local commits that were given up, or another log: what comes now was not built on what was there.
        broken = (brought and bool(old.pending)) or state.identity.log != old.state.identity.log
        # A pull brings one local LSN, a replica that leaves lost commits behind brings more (`graft.sync.rescue`).
        broken = broken or state.local_lsn > old.snapshot.local_lsn + 1
        version, history = old.snapshot.content_version + brought, old.snapshot.history + broken
        fresh = self._synced(state, generation, remote_map or old.remote_map, version, history)
        return fresh.followed_by(pending, self.journal.views, content_changed=False)

    def _synced(
        self, state: SyncState, generation: int, previous: PageMap | None, version: int = 1, history: int = 0
    ) -> View:
        """Return the view of a sync point without any local commit."""
        if state.chain:
            remote_map = compose(self.table, state.chain, self.load_chunks, previous)
            byte_size = state.chain[0].commit.byte_size
        else:
            remote_map, byte_size = PageMap.empty(self.table), 0
        snapshot = Snapshot(
            remote_map, self.bodies, self.journal.views, volume_name=self.name, page_size=self.page_size,
            byte_size=byte_size, lsn=state.lsn, local_lsn=state.local_lsn, local_commits=0,
            content_version=version, history=history,
        )  # fmt: skip
        return View(state, generation, remote_map, CommitRun.empty(), snapshot)
