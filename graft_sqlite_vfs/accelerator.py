"""The accelerated path: a file that hands its snapshot to C, which then reads and commits for SQLite without Python.

The VFS in C (native/) and the one in Python (vfs.py) have the same name and open the same replicas. All decisions are
made in `VolumeFile`, for both. C works only with the snapshot that it was handed, and only while no newer version has
been published: it reads the snapshot's pages, takes SHARED locks, and appends small commits to the journal, in the free
space after a commit that Python wrote. Before Python decides anything else, it adopts those commits as if another
process had made them.
"""

# ruff: noqa: N802 - the methods have SQLite's names

import contextlib
import os
from pathlib import Path

import apsw
import xxhash

from graft.errors import GraftError, WriterBusy, local_errors
from graft.finalizers import in_finalizer
from graft.reading.snapshot import Snapshot
from graft.replica.directory import STATE_FILE
from graft.replica.replica import SHARED, Replica
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability
from graft_sqlite_vfs import _accelerator
from graft_sqlite_vfs.errors import FAILURES, as_sqlite, collected, named, sqlite_error
from graft_sqlite_vfs.file import VolumeFile
from graft_sqlite_vfs.header import Buffer
from graft_sqlite_vfs.last_error import remember
from graft_sqlite_vfs.readpath import Accelerated
from graft_sqlite_vfs.vfs import NO_WAL, open_volume
from pagestore.runtime import SYSTEM

_SHARED = apsw.SQLITE_LOCK_SHARED
_APSW_ENTRY = "sqlite3_graftapsw_init"

PATH = Path(_accelerator.__file__)
"""The shared object, which is an SQLite extension too."""


class AcceleratedFile(VolumeFile):
    """One opened volume, whose snapshot C may read while no write transaction is open on it."""

    __slots__ = ("_aimed", "appender", "reader")

    def __init__(self, replica: Replica, *, fixed: Snapshot | None, durability: Durability, read_path: str) -> None:
        """See `VolumeFile`."""
        self.reader = _accelerator.Reader(None if fixed is not None else replica.shared.words)
        self.appender: _accelerator.Appender | None = None
        """Appends small commits in C; None if Python must make every commit."""
        self._aimed: int | None = None
        """The local LSN after which the appender knows the free space in the journal."""
        super().__init__(replica, fixed=fixed, durability=durability, read_path=read_path)
        may_append = durability is not Durability.REMOTE and replica.runtime is SYSTEM and replica.read_only is None
        if fixed is None and may_append:
            sync = durability is not Durability.RELAXED
            lock = replica.writer_lock.path
            descriptor = replica.home.open(lock.name, os.O_RDWR)  # its lock is separate from the replica's
            try:
                with local_errors(f"opening {lock}"):
                    self.appender = _accelerator.Appender(
                        self.reader, replica.page_size, os.fsencode(lock), descriptor,
                        os.fsencode(replica.home.path / SHARED), replica.home.id_of(SHARED), sync,
                        os.fsencode(replica.home.path / STATE_FILE), replica.home.id_of(STATE_FILE),
                    )  # fmt: skip
            finally:
                os.close(descriptor)

    def xLock(self, level: int) -> None:
        """Lock, and hand C the snapshot to read and the space to append to."""
        try:
            self._catch_up(reads=level != _SHARED)
        except FAILURES as error:
            raise as_sqlite(error) from named(error)
        super().xLock(level)
        self._hand_over()

    def xUnlock(self, level: int) -> None:
        """Unlock, and hand C the snapshot to read, unless a finalizer calls, which must not load it."""
        try:
            super().xUnlock(level)
        finally:
            if in_finalizer():
                self.reader.withdraw()
            else:
                self._hand_over()

    def xRead(self, amount: int, offset: int) -> Buffer:
        """Read what C could not, and hand C the snapshot's pages if it lacked them."""
        found = super().xRead(amount, offset)
        snapshot = self._snapshot
        lacks_pages = self.reader.snapshot is None and self._transaction is None
        if lacks_pages and snapshot is not None and snapshot.page_map.read:
            self.reader.provide(_native(snapshot, None))
        return found

    def pragma(self, name: str, value: str | None) -> str | None:
        """Answer from the newest version that this connection has read or committed."""
        try:
            self._catch_up(reads=self._snapshot is not None)
        except FAILURES as error:
            raise as_sqlite(error) from named(error)
        return super().pragma(name, value)

    def take_over(self) -> None:
        """Take over a write transaction that C began; its pages are written next."""
        appender, snapshot = self.appender, self._snapshot
        assert appender is not None, "BUG: no transaction was begun in C"
        assert snapshot is not None, "BUG: SQLite writes without having read"
        try:
            if in_finalizer():
                raise WriterBusy(collected(self._replica.name))
            self._replica.require_unmoved()
            committed = self._catch_up(reads=True)
            self._begin_with(self._replica.begin_holding(self._snapshot or snapshot, appender))
        except FAILURES as error:
            raise as_sqlite(error) from named(error)
        self._committed = committed
        self._hand_over()

    def xClose(self) -> None:
        """Close the file and stop C's part."""
        if self.appender is not None:
            self.appender.close()
        self.reader.close()
        super().xClose()

    def _commit(self, transaction: WriteTransaction) -> None:
        super()._commit(transaction)
        room = transaction.room()
        if self.appender is not None and room is not None:
            # The commit is done. If C cannot duplicate the descriptor, it appends nothing after it.
            with contextlib.suppress(OSError, MemoryError):
                self.appender.aim(*room)
                self._aimed = transaction.base.local_lsn

    def _catch_up(self, *, reads: bool) -> bool:
        """Adopt what C has committed; return whether its open transaction is already committed.

        If SQLite ``reads``, the version shown does not change. If another writer has committed since, only C knows that
        version.
        """
        appender = self.appender
        told = None if appender is None else appender.told()
        if appender is None or told is None:
            return False
        local_lsn, shown, counter_top, cookie_top, committed = told
        self._shown.saw_written(counter_top)
        self._cookie.saw_written(cookie_top)
        snapshot = self._replica.snapshot() if local_lsn else None
        if snapshot is not None and snapshot.local_lsn == local_lsn:
            self._continue_with(snapshot, shown, reads=reads)
        elif snapshot is not None and reads:
            return committed
        appender.forget()
        return committed

    def _hand_over(self) -> None:
        snapshot = self._snapshot
        if snapshot is None or self._transaction is not None:
            self.reader.withdraw()
            return
        # Build C's snapshot only once a page was read: after a commit, the next transaction may not read either.
        native = _native(snapshot, self.reader.snapshot) if snapshot.page_map.read else None
        size = snapshot.page_count * snapshot.page_size
        generation = self._generation(snapshot)
        self.reader.publish(native, size, generation, snapshot.local_lsn, self._probe or None)
        if generation is not None:
            self._lend_room(snapshot)

    def _lend_room(self, snapshot: Snapshot) -> None:
        """Let C append after the newest version, if it knows the position and Python knows page 1's header."""
        appender, base = self.appender, self._base_header
        if appender is None or base is None or self._aimed != snapshot.local_lsn or not self._cookie.as_stored:
            return
        if snapshot.page_count and snapshot.byte_size == snapshot.page_count * snapshot.page_size:
            appender.lend(base.counter, self._shown.value)

    def _continue_with(self, snapshot: Snapshot, shown: int, *, reads: bool) -> None:
        """Record that SQLite's cache holds the version that C has committed."""
        self._shown.committed(snapshot.content_version, shown)
        self._cookie.committed(snapshot.history)
        self._base_header = self._probe = None
        if reads:
            self._read_from(snapshot)

    def _generation(self, snapshot: Snapshot) -> int | None:
        """Return the state generation at which this is the newest version; None if it is not, or if that is unknown.

        None also if each transaction has to check the age of the version.
        """
        if self.max_staleness_s is not None:
            return None
        try:
            view = self._replica.view()
        except GraftError:
            return None  # the next lock raises it
        return view.generation if view.snapshot is snapshot else None


def _native(snapshot: Snapshot, previous: _accelerator.NativeSnapshot | None) -> _accelerator.NativeSnapshot:
    known = snapshot.native
    if isinstance(known, _accelerator.NativeSnapshot):
        return known
    page_map = snapshot.page_map
    if page_map.table.observer is None:
        page_map.table.observe(_accelerator.FrameSlots(snapshot.page_size))
    slots = page_map.table.observer
    assert isinstance(slots, _accelerator.FrameSlots), "BUG: another accelerator observes the frames"
    views = snapshot.journal_views
    assert isinstance(views, dict), "BUG: the journal's views are not in a dict"
    snapshot.native = made = _accelerator.NativeSnapshot(slots, snapshot.page_count, page_map.chunks, views, previous)
    return made


def _open(name: str, flags: int, parameters: dict[str, str]) -> VolumeFile:
    if flags & apsw.SQLITE_OPEN_WAL:
        raise sqlite_error(apsw.SQLITE_CANTOPEN, NO_WAL)
    return open_volume(
        name, parameter=parameters.get, make=AcceleratedFile, read_path=str(Accelerated())
    )  # fmt: skip


def install() -> None:
    """Register the VFS with apsw's SQLite; raises `apsw.Error` if apsw cannot load extensions."""
    _accelerator.set_hooks(
        open_file=_open, full_pathname=os.path.abspath, failed=remember, checksum=xxhash.xxh3_64_intdigest
    )
    connection = apsw.Connection(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(str(PATH), _APSW_ENTRY)
    finally:
        connection.close()
