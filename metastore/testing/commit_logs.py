"""Commit logs for tests: one in memory, and two over it that count and that fail as told."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from metastore.commitlog import CommitLog, Newest
from metastore.errors import CommitMissing, LogUnavailable
from metastore.ids import LogId
from metastore.lsn import LSN
from pagestore.objectstore import etag_of

_LISTED = 8


@dataclass
class MemoryCommitLog:
    """A `CommitLog` that is a dict, which a test may read and change."""

    objects: dict[tuple[LogId, LSN], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)
    """Makes an append one step."""

    def append(self, log: LogId, lsn: LSN, data: bytes) -> bool:
        """See `CommitLog.append`."""
        with self._lock:
            if (log, lsn) in self.objects:
                return False
            self.objects[log, lsn] = data
            return True

    def read(self, log: LogId, lsn: LSN, start: int = 0, length: int | None = None) -> bytes:
        """See `CommitLog.read`."""
        if (log, lsn) not in self.objects:
            raise CommitMissing(f"commit {lsn} of log {log}")
        return self.objects[log, lsn][start : None if length is None else start + length]

    def newest(self, log: LogId) -> Newest | None:
        """See `CommitLog.newest`."""
        etags = {lsn: etag_of(self.objects[log, lsn]) for lsn in [*self.lsns(log)][:_LISTED]}
        return Newest(max(etags), etags) if etags else None

    def lsns(self, log: LogId) -> Iterator[LSN]:
        """See `CommitLog.lsns`."""
        return iter(sorted((lsn for other, lsn in [*self.objects] if other == log), reverse=True))

    def head(self, log: LogId) -> LSN | None:
        """See `CommitLog.head`."""
        return next(self.lsns(log), None)


@dataclass
class CountingCommitLog:
    """A `CommitLog` that notes every read of ``inner``."""

    inner: CommitLog
    reads: list[tuple[LSN, int, int | None]] = field(default_factory=list)
    """LSN, start and length of each."""

    def append(self, log: LogId, lsn: LSN, data: bytes) -> bool:
        """See `CommitLog.append`."""
        return self.inner.append(log, lsn, data)

    def read(self, log: LogId, lsn: LSN, start: int = 0, length: int | None = None) -> bytes:
        """Note, and read."""
        self.reads.append((lsn, start, length))
        return self.inner.read(log, lsn, start, length)

    def newest(self, log: LogId) -> Newest | None:
        """See `CommitLog.newest`."""
        return self.inner.newest(log)

    def lsns(self, log: LogId) -> Iterator[LSN]:
        """See `CommitLog.lsns`."""
        return self.inner.lsns(log)

    def head(self, log: LogId) -> LSN | None:
        """See `CommitLog.head`."""
        return self.inner.head(log)

    def taken(self) -> list[tuple[LSN, int, int | None]]:
        """Return the reads since the last call."""
        reads, self.reads = self.reads, []
        return reads


@dataclass
class FaultyCommitLog(MemoryCommitLog):
    """A `MemoryCommitLog` that fails in the way that a test chooses."""

    lands: bool = True
    """Whether an append does what was asked before it fails."""
    append_fails: bool = False
    """Whether an append ends in `LogUnavailable`."""
    refuses: bool = False
    """Whether an append returns False whatever it did, as a client's own retry makes it."""
    before_append: Callable[[], object] = lambda: None
    """What somebody else does just before an append arrives."""
    reads_fail: bool = False
    """Whether a read ends in `LogUnavailable`."""

    def append(self, log: LogId, lsn: LSN, data: bytes) -> bool:
        """Append, and fail as told."""
        self.before_append()
        landed = self.lands and super().append(log, lsn, data)
        if self.append_fails:
            raise LogUnavailable("the reply was lost")
        return landed and not self.refuses

    def read(self, log: LogId, lsn: LSN, start: int = 0, length: int | None = None) -> bytes:
        """Read, or fail as told."""
        if self.reads_fail:
            raise LogUnavailable("no connection")
        return super().read(log, lsn, start, length)
