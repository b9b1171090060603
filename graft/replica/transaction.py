"""The write transaction: dirty pages over a snapshot, and their commit to the journal.

Invariants: the transaction holds the writer lock until `close`; `base` is the newest snapshot, since nobody else can
commit; pages above `_kept` that are not dirty read as zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from graft.errors import BadRequest, StaleSnapshot
from graft.failpoints import failpoint
from graft.journal.spill import Spill
from graft.settings import Durability
from pagestore.pages import PAGE_IDX_MAX, page_count_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from graft.disk.locks import HeldLock
    from graft.disk.shared_counters import SharedCounters
    from graft.journal.journal import Journal
    from graft.journal.local_commit import LocalCommit
    from graft.journal.tail import Room
    from graft.reading.snapshot import Advisor, Snapshot
    from graft.settings import Settings
    from pagestore.objectstore import Data
    from pagestore.runtime import Runtime


class Host(Protocol):
    """What a transaction needs of its replica."""

    page_size: int
    settings: Settings
    runtime: Runtime
    shared: SharedCounters
    journal: Journal

    @property
    def is_disowned(self) -> bool:
        """Whether this process is the child of a fork, and the replica belongs to its parent."""
        ...

    def require_own(self) -> None:
        """Raise `BadRequest` if the replica is disowned."""
        ...

    def require_unmoved(self) -> None:
        """Raise as `require_own`, and `ReplicaMoved` if the directory or a lock file was replaced since opening."""
        ...

    def publish(self, commit: LocalCommit) -> Snapshot:
        """Make a commit in the journal visible to readers."""
        ...


class WriteTransaction:
    """The one writer of a replica; used by one thread at a time. Made by `Replica.begin`."""

    def __init__(self, replica: Host, base: Snapshot, lock: HeldLock) -> None:
        """Take over the writer lock."""
        self._replica = replica
        self._lock = lock
        self._page_size = replica.page_size
        self._zeros = bytes(replica.page_size)
        self._dirty_pages_max = replica.settings.spill_bytes // replica.page_size
        self._open = True
        self._outdated = False
        self._journal_clean = True
        """Whether every record of this transaction in the journal was published or taken back."""
        self._spill: Spill | None = None
        self._dirty: dict[int, bytes] = {}
        self.base = base
        """The snapshot that the changes are made to; always the newest one."""
        self.byte_size = base.byte_size
        self._kept = base.page_count

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return self._page_size

    @property
    def page_count(self) -> int:
        """The volume's size in pages, with the changes."""
        return page_count_of(self.byte_size, self._page_size)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        changed_size = self.byte_size != self.base.byte_size or self._kept < self.base.page_count
        return changed_size or bool(self._dirty or self._spill)

    def read(self, page: int, advisor: Advisor | None = None) -> bytes | memoryview:
        """Return a page as it would be committed; ``advisor`` as in `Snapshot.read`."""
        body = self._dirty.get(page)
        if body is not None:
            return body
        if self._spill is not None and page in self._spill:
            return self._spilled().read(page)
        return self.base.read(page, advisor) if page <= self._kept else self._zeros

    def write(self, page: int, data: Data) -> None:
        """Replace a page, copying ``data``; the volume grows to hold it."""
        if not self._open or len(data) != self._page_size or not 1 <= page <= PAGE_IDX_MAX:
            self._check(page, len(data) == self._page_size, f"a page of {len(data)} bytes")
        self._dirty[page] = bytes(data)
        self.byte_size = max(self.byte_size, page * self._page_size)
        if len(self._dirty) > self._dirty_pages_max:
            self._spilled().write(self._dirty)
            self._dirty.clear()

    def write_run(self, first_page: int, data: Data) -> None:
        """Replace consecutive pages at once, without holding them in memory; for bulk loads."""
        count = len(data) // self._page_size
        self._check(first_page + count - 1, len(data) == count * self._page_size, f"a run of {len(data)} bytes")
        spill = self._spilled()
        if any(page in spill or page in self._dirty for page in range(first_page, first_page + count)):
            for index in range(count):
                self.write(first_page + index, memoryview(data)[index * self._page_size :][: self._page_size])
            return
        spill.write_run(first_page, data)
        self.byte_size = max(self.byte_size, (first_page + count - 1) * self._page_size)

    def truncate(self, page_count: int) -> None:
        """Set the volume's size in pages."""
        self.resize(page_count * self._page_size)

    def resize(self, byte_size: int) -> None:
        """Set the volume's size in bytes; pages that are cut off read as zeros if the volume grows again."""
        self._check(max(page_count_of(byte_size, self._page_size), 1), byte_size >= 0, f"a size of {byte_size} bytes")
        self.byte_size = byte_size
        count = self.page_count
        self._kept = min(self._kept, count)
        for page in [page for page in self._dirty if page > count]:
            del self._dirty[page]
        if self._spill is not None:
            self._spill.drop_above(count)

    def commit(self, durability: Durability = Durability.LOCAL) -> Snapshot:
        """Make the changes a local commit and return the snapshot with them, on which the transaction continues.

        `graft.sync.commit.commit` also takes `Durability.REMOTE`. Raises `DiskFull`, `LocalStorageError`.
        """
        if durability is Durability.REMOTE:
            raise BadRequest("a transaction commits locally; graft.commit(replica, transaction, durability) pushes too")
        return self.commit_through(self._published, sync=durability is Durability.LOCAL)

    def commit_through(self, publish: Callable[[LocalCommit], Snapshot], *, sync: bool) -> Snapshot:
        """Put the changes into the journal and let ``publish`` make them visible; returns its snapshot.

        If ``publish`` raises, it has called `take_back` before, or `keep` if others may see the commit. Raises
        `BadRequest` in the child of a fork, and `ReplicaMoved` if the directory or its lock files were replaced.
        """
        self._check_open()
        self._replica.require_unmoved()
        if self._outdated:
            raise StaleSnapshot(f"{self.base.describe()}: this transaction was committed already; begin a new one")
        if not self.dirty:
            return self.base
        replica = self._replica
        failpoint("commit: before journal")
        replica.shared.begin_append()
        self._journal_clean = False
        commit = self._journaled(sync=sync)
        snapshot = publish(commit)
        self._journal_clean = True
        self._forget()
        self._rebase(snapshot)
        failpoint("commit: after publish")
        return snapshot

    def prepare_merge(self, local_lsn: int) -> None:
        """Put the changes on the disk as the commit that the next change of the state brings with it.

        The transaction can only be closed then.
        """
        self._check_open()
        spill = self._spilled()
        spill.write(self._dirty)
        self._dirty.clear()
        self._replica.journal.prepare_merge(
            spill.path, spill.descriptor, spill.slots, local_lsn=local_lsn, byte_size=self.byte_size,
            min_page_count=self._kept, timestamp_us=int(self._replica.runtime.now_s() * 1_000_000),
        )  # fmt: skip

    def room(self) -> Room | None:
        """Return where the record of the next commit would go, None if it needs a new file.

        The accelerator may append a record there later, after it took the writer lock and saw in the `SharedCounters`
        that `base` is still the newest version and that no append is in progress and no state in doubt. It announces
        its append there as `commit` does.
        """
        self._check_open()
        return self._replica.journal.room()

    def rollback(self) -> None:
        """Discard all changes, without releasing the lock."""
        self._check_open()
        self._forget()
        self._rebase(self.base)

    def close(self) -> None:
        """Discard all changes and release the lock; may be called again."""
        if self._open:
            self._open = False
            try:
                self._forget()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _journaled(self, *, sync: bool) -> LocalCommit:
        journal = self._replica.journal
        timestamp_us = int(self._replica.runtime.now_s() * 1_000_000)
        if self._spill is None:
            return journal.append(
                self._dirty.keys(),
                self._dirty.values(),
                byte_size=self.byte_size,
                min_page_count=self._kept,
                timestamp_us=timestamp_us,
                sync=sync,
            )
        self._spill.write(self._dirty)
        self._dirty.clear()
        return journal.adopt(
            self._spill.path,
            self._spill.descriptor,
            self._spill.slots,
            byte_size=self.byte_size,
            min_page_count=self._kept,
            timestamp_us=timestamp_us,
        )

    def _published(self, commit: LocalCommit) -> Snapshot:
        try:
            failpoint("commit: after journal")
            return self._replica.publish(commit)
        except BaseException:
            self.take_back(commit)
            raise

    def keep(self) -> None:
        """Record that the commit stands although publishing it failed: the transaction cannot continue on it."""
        self._outdated = True

    def take_back(self, commit: LocalCommit) -> None:
        """Undo a commit that was not published; the changes stay in the transaction."""
        self._replica.journal.undo_last(commit, self._spill.path if self._spill else None)
        self._journal_clean = True
        if self._spill is None:
            self._replica.shared.end_append()

    def _spilled(self) -> Spill:
        self._replica.require_own()
        if self._spill is None:
            # If this process dies in this transaction, the next writer looks for its file.
            self._replica.shared.begin_append()
            self._spill = Spill(self._replica.journal.spill_path(), self._page_size)
        return self._spill

    def _forget(self) -> None:
        self._dirty.clear()
        if self._spill is not None:
            self._spill.close(remove=not self._replica.is_disowned)
            self._spill = None
            if self._journal_clean:
                self._replica.shared.end_append()

    def _rebase(self, base: Snapshot) -> None:
        self.base = base
        self.byte_size = base.byte_size
        self._kept = base.page_count

    def _check(self, page: int, fits: bool, what: str) -> None:
        self._check_open()
        if not fits or not 1 <= page <= PAGE_IDX_MAX:
            raise BadRequest(
                f"{self.base.describe()}, page {page}: cannot take {what} (pages have {self._page_size} bytes)"
            )

    def _check_open(self) -> None:
        assert self._open, "BUG: a write transaction was used after its end"
