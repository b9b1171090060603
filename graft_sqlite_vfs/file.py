"""The main database file that SQLite sees: one snapshot of a volume at a time, and at times a write transaction on it.

Invariants, between SQLite's calls:
- `_transaction` is set exactly while SQLite holds RESERVED or more; then `_snapshot` is its base.
- `_snapshot` is set exactly while SQLite holds SHARED or more (a file of the past always has one).
- `_reading` is what SQLite sees now: the transaction, else the snapshot, else None for the newest version.
- Only `synced` commits, and only if SQLite moved the change counter of page 1.

SQLite calls a file under its connection's mutex, so one thread at a time runs these methods, and no lock is needed.
The methods are those of sqlite.org/c3ref/io_methods.html; apsw finds them by name, without a base class.
"""

# ruff: noqa: N802 - the methods have SQLite's names

import apsw

from graft.errors import BadRequest, ReadOnly, RemoteUnavailable, WriterBusy
from graft.finalizers import in_finalizer
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability
from graft.sync.commit import commit
from graft.sync.staleness import refresh
from graft.sync.versions import Version
from graft_sqlite_vfs import header
from graft_sqlite_vfs.btree.advisor import BtreeAdvisor
from graft_sqlite_vfs.errors import FAILURES, as_sqlite, collected, named, result_code
from graft_sqlite_vfs.header import HEADER_BYTES, PROBE, PROBED, Buffer, Header, ShownCookie, ShownCounter
from graft_sqlite_vfs.pragma_context import PragmaContext
from graft_sqlite_vfs.pragmas import answer
from graft_sqlite_vfs.room import PAGES_OF_ROOM, require_room
from graft_sqlite_vfs.unsupported_pragmas import refuse

_SHARED = apsw.SQLITE_LOCK_SHARED
_NONE = apsw.SQLITE_LOCK_NONE
_SYNC = apsw.SQLITE_FCNTL_SYNC
_PRAGMA = apsw.SQLITE_FCNTL_PRAGMA
_DEFAULT_PAGE_SIZE = 4096
_CHARACTERISTICS = (
    # Writes stay in memory until one atomic commit: no write order, no torn sector, no partly appended page.
    apsw.SQLITE_IOCAP_SAFE_APPEND
    | apsw.SQLITE_IOCAP_SEQUENTIAL
    | apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE
    # Long values may be read at any offset without passing through the page cache.
    | apsw.SQLITE_IOCAP_SUBPAGE_READ
)


class VolumeFile:
    """One opened volume."""

    __slots__ = (
        "_advisor",
        "_base_header",
        "_committed",
        "_cookie",
        "_counter",
        "_durability",
        "_encoded_page_size",
        "_fixed",
        "_header_written",
        "_mask",
        "_page_one_written",
        "_page_size",
        "_pages_of_room",
        "_probe",
        "_probe_written",
        "_read_path",
        "_reading",
        "_replica",
        "_shift",
        "_shown",
        "_snapshot",
        "_transaction",
        "max_staleness_s",
        "version",
    )  # fmt: skip

    def __init__(
        self, replica: Replica, *, fixed: Snapshot | None, durability: Durability, read_path: str = "pure"
    ) -> None:
        """Take over one reference to ``replica``, which `xClose` releases.

        ``fixed`` is the old version to show instead of the newest; ``read_path`` is the name of the read path.
        """
        self._replica = replica
        self._fixed = fixed
        self._durability = durability
        self._read_path = read_path
        self._advisor = BtreeAdvisor(replica)
        self._page_size = replica.page_size
        self._encoded_page_size = header.encoded_page_size(replica.page_size)
        self._mask = replica.page_size - 1
        self._shift = self._mask.bit_length()
        self._shown = ShownCounter()
        self._cookie = ShownCookie()
        self._counter = 0
        """The change counter that SQLite sees in page 1; within a transaction, the one it wrote last."""
        self._base_header: Header | None = None
        """Header of the snapshot's page 1; None until it was read."""
        self._header_written: Header | None = None
        """Header of the page 1 that was stored last."""
        self._probe: bytes | None = None
        """Answer to `PROBE`, SQLite's first read in each transaction; None if unknown or while page 1 is written."""
        self._probe_written = b""
        """Answer to `PROBE` for the page 1 that SQLite wrote last."""
        self._page_one_written = False
        self._pages_of_room = 0
        """How many pages can be written before memory is looked at again."""
        self._committed = False
        """Whether this transaction has committed already."""
        self._transaction: WriteTransaction | None = None
        self.version: Version | None = None
        """Which old version is shown, where ``at`` said it."""
        self.max_staleness_s: float | None = None
        """Each transaction reads all that the remote had this many seconds before; None: any local version."""
        self._snapshot: Snapshot | None = None
        self._reading: WriteTransaction | Snapshot | None = None
        """The source of pages; None: the newest version."""
        if fixed is not None:
            self._turn_to(fixed)

    # Reading

    def xRead(self, amount: int, offset: int) -> Buffer:
        """Return ``amount`` bytes from ``offset``, fewer only at the end of the volume."""
        try:
            if amount == self._page_size and offset and not offset & self._mask:
                return (self._reading or self._replica.snapshot()).read((offset >> self._shift) + 1, self._advisor)
            if self._probe is not None and (amount, offset) == PROBE:
                return self._probe
            return self._read_range(amount, offset)
        except FAILURES as error:
            raise as_sqlite(error) from named(error)

    def _read_range(self, amount: int, offset: int) -> Buffer:
        size = self.xFileSize()
        if not size and self._snapshot is None and offset == 0 and amount == HEADER_BYTES:
            # The only read without a lock: SQLite reads the page size when it opens the file. If an empty volume did
            # not give SQLite its page size, SQLite would use the default.
            return b"" if self._page_size == _DEFAULT_PAGE_SIZE else header.empty_header(self._page_size)
        end = min(offset + amount, size)
        pieces = bytearray()
        while offset < end:
            page, start = (offset >> self._shift) + 1, offset & self._mask
            stop = min(self._page_size, start + end - offset)
            pieces += (self._read_page_one() if page == 1 else self._read_page(page))[start:stop]
            offset += stop - start
        if (amount, offset - len(pieces)) == PROBE and self._transaction is None and self._snapshot is not None:
            self._probe = bytes(pieces)
        return pieces

    def _read_page_one(self) -> Buffer:
        page = self._read_page(1)
        if self._base_header is None and not self._page_one_written:
            self._base_header = Header.of(page)
        shown = header.shown(page, self._counter)
        self._cookie.show(shown, writing=self._transaction is not None)
        return shown

    def _read_page(self, page: int) -> Buffer:
        return (self._reading or self._replica.snapshot()).read(page, self._advisor)

    def xFileSize(self) -> int:
        """Return the size in bytes, a whole number of pages."""
        return (self._transaction or self.snapshot).page_count << self._shift

    # Locks

    def xLock(self, level: int) -> None:
        """Take a snapshot to read, or begin a write transaction on it."""
        try:
            if level == _SHARED:
                if self._fixed is None:
                    if self.max_staleness_s is not None:
                        refresh(self._replica, self.max_staleness_s)
                    self._turn_to(self._replica.snapshot())
            elif self._transaction is None:
                self._begin()
        except FAILURES as error:
            raise as_sqlite(error) from named(error)

    def xUnlock(self, level: int) -> None:
        """End the write transaction and drop uncommitted pages. Below SHARED, release the snapshot too."""
        transaction = self._transaction
        if level <= _SHARED and transaction is not None:
            self._transaction = None
            self._read_from(transaction.base)
            if level == _NONE and transaction.dirty:  # SQLite could not put back what it wrote, and may still show it
                self._shown.drop_cache()
                self._counter, self._probe = self._shown.value, None
            try:
                transaction.close()
            except FAILURES as error:
                raise as_sqlite(error) from named(error)
        if level == _NONE and self._fixed is None:
            self._snapshot = self._reading = None

    def xCheckReservedLock(self) -> bool:
        """Return whether this connection is writing; SQLite asks only if it finds a journal, and there never is one."""
        return self._transaction is not None

    def _begin(self) -> None:
        snapshot = self._snapshot
        assert snapshot is not None, "BUG: SQLite asks to write without having read"
        if self._fixed is not None:
            raise ReadOnly(f"{snapshot.describe()}: an old version cannot be written; open the volume without `at`")
        self._begin_with(self._replica.begin(snapshot))

    def _begin_with(self, transaction: WriteTransaction) -> None:
        # The content is equal; the LSN may be newer if a push came between.
        self._snapshot = transaction.base
        self._transaction = self._reading = transaction
        self._page_one_written = self._committed = False

    def _turn_to(self, snapshot: Snapshot) -> None:
        if self._shown.turn_to(snapshot.content_version):
            self._probe = self._base_header = None
        self._cookie.turn_to(snapshot.history, empty=not snapshot.page_count)
        self._read_from(snapshot)

    def _read_from(self, snapshot: Snapshot) -> None:
        self._snapshot = self._reading = snapshot
        self._forget_writes()

    def _forget_writes(self) -> None:
        self._counter = self._shown.value
        self._page_one_written = False

    # Writing

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write a page into the transaction."""
        transaction = self._transaction
        assert transaction is not None, "BUG: SQLite writes without a lock"
        try:
            if len(data) != self._page_size or offset & self._mask:
                raise BadRequest(self._other_page_size(len(data)))
            if self._pages_of_room:
                self._pages_of_room -= 1
            else:
                require_room(self._page_size, self._replica.name)
                self._pages_of_room = PAGES_OF_ROOM
            if offset:
                transaction.write((offset >> self._shift) + 1, data)
            else:
                self._write_page_one(transaction, data)
        except FAILURES as error:
            raise as_sqlite(error) from named(error)

    def _write_page_one(self, transaction: WriteTransaction, data: bytes) -> None:
        written = Header.of(data)
        if written.page_size != self._encoded_page_size and header.is_database(data):
            raise BadRequest(self._other_page_size(header.page_size_in(data)))
        page = self._cookie.stored(data, written.cookie)
        base = self._base_header
        if base is None and transaction.base.page_count:
            base = self._base_header = Header.of(transaction.base.read(1))
        if base is not None and written.counter == self._shown.value:
            stored: Buffer = header.stored_as_before(page, base)
        else:
            stored = header.stored_as_changed(page, base)
        transaction.write(1, stored)
        self._header_written = Header.of(stored)
        self._shown.saw_written(written.counter)
        self._counter = written.counter
        self._page_one_written = True
        self._probe, self._probe_written = None, data[PROBED]

    def _other_page_size(self, page_size: int) -> str:
        return (
            f"volume {self._replica.name} has pages of {self._page_size} bytes, which cannot change, and SQLite tries "
            f"to write pages of {page_size} bytes: do not set `PRAGMA page_size`, or create a volume with that size"
        )

    def xTruncate(self, size: int) -> None:
        """Cut the volume to ``size`` bytes."""
        transaction = self._transaction
        assert transaction is not None, "BUG: SQLite truncates without a lock"
        try:
            if size >> self._shift < transaction.page_count:
                transaction.truncate(size >> self._shift)
        except FAILURES as error:
            raise as_sqlite(error) from named(error)

    def xSync(self, flags: int) -> None:
        """Do nothing: SQLITE_FCNTL_SYNC has committed before, and SQLite sends that with synchronous=OFF too."""

    def synced(self) -> None:
        """Commit, or drop the pages that a rollback restored; SQLITE_FCNTL_SYNC."""
        try:
            if in_finalizer():
                self._commit_in_finalizer()
            else:
                self._commit_or_drop()
        except FAILURES as error:
            raise as_sqlite(error) from named(error)

    def _commit_in_finalizer(self) -> None:
        """Commit for a statement that was collected before its rows were read to the end, if that needs no waiting."""
        with self._replica.held_for_finalizer() as held:
            if not held or self._durability is Durability.REMOTE:
                raise WriterBusy(collected(self._replica.name))
            self._commit_or_drop()

    def _commit_or_drop(self) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.dirty:
            return
        if self._committed and not self._page_one_written:
            raise BadRequest(
                f"volume {self._replica.name}: locking_mode=EXCLUSIVE cannot be used with a volume, and was set in a "
                "way that could not be refused; this transaction is not committed. Set locking_mode=NORMAL first"
            )
        page_count, written = transaction.page_count, self._header_written
        if not page_count or not self._moved(transaction.base) or written is None:
            transaction.rollback()
            self._forget_writes()
            return
        # After the commit SQLite would truncate to the size that page 1 already states.
        if 1 <= written.page_count < page_count:
            transaction.truncate(written.page_count)
        self._commit(transaction)

    def _moved(self, base: Snapshot) -> bool:
        # An empty volume has no counter that a rollback could restore.
        return self._page_one_written and not (base.page_count and self._counter == self._shown.value)

    def _commit(self, transaction: WriteTransaction) -> None:
        base = transaction.base
        try:
            snapshot = commit(self._replica, transaction, self._durability)
        except RemoteUnavailable as error:
            has_committed = self._replica.snapshot().content_version != base.content_version
            raise as_sqlite(error, result_code(error) if has_committed else apsw.SQLITE_BUSY) from error
        except FAILURES as error:
            raise as_sqlite(error) from named(error)
        self._snapshot = snapshot
        self._shown.committed(snapshot.content_version, self._counter)
        self._cookie.committed(snapshot.history)
        self._base_header, self._probe = self._header_written, self._probe_written
        self._committed, self._page_one_written = True, False
        if self._base_header is not None and header.is_wal_format(self._base_header):
            # A backup of a database in WAL mode: make SQLite read page 1 as `header.shown` translates it.
            self._shown.drop_cache()
            self._probe = None

    # Everything else

    def xFileControl(self, op: int, pointer: int) -> bool:
        """Commit at SYNC, answer pragmas, and leave the rest to SQLite."""
        if op == _SYNC:
            self.synced()
            return True
        if op != _PRAGMA:
            return False
        asked = apsw.VFSFcntlPragma(pointer)
        text = self.pragma(asked.name, asked.value)
        if text is not None:
            asked.result = text
        return text is not None

    def pragma(self, name: str, value: str | None) -> str | None:
        """Return the text of a pragma, None if SQLite must handle it; SQLITE_FCNTL_PRAGMA."""
        try:
            refuse(name, value, self._replica.name, self._page_size)
            context = PragmaContext(
                self._replica, self.snapshot, self._durability,
                fixed=self._fixed is not None, reading=self._snapshot is not None,
                writing=self._transaction is not None, read_path=self._read_path, version=self.version,
                bounds=self,
            )  # fmt: skip
            return answer(name, value, context)
        except FAILURES as error:
            raise as_sqlite(error) from named(error)

    @property
    def snapshot(self) -> Snapshot:
        """The version that SQLite reads, or would read now."""
        return self._snapshot or self._replica.snapshot()

    def xSectorSize(self) -> int:
        """Return the unit of writing in bytes."""
        return _DEFAULT_PAGE_SIZE

    def xDeviceCharacteristics(self) -> int:
        """Return the guarantees that let SQLite skip work."""
        return _CHARACTERISTICS

    def xClose(self) -> None:
        """Drop an unfinished transaction and release the replica."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.close()
        self._replica.close()
