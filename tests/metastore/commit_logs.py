"""Commit logs for tests: one in memory, and wrappers that count, lose and lie as told."""

from collections.abc import Callable
from dataclasses import dataclass, field

from metastore.commitlog import CommitLog
from metastore.errors import CommitMissing, LogUnavailable
from metastore.ids import LogId
from metastore.lsn import LSN


@dataclass
class DictLog:
    """A `CommitLog` that is a dict, and open to tampering."""

    objects: dict[tuple[LogId, LSN], bytes] = field(default_factory=dict)

    def append(self, log, lsn, data):
        return self.objects.setdefault((log, lsn), data) is data

    def read(self, log, lsn, start=0, length=None):
        if (log, lsn) not in self.objects:
            raise CommitMissing(f"commit {lsn} of log {log}")
        return self.objects[log, lsn][start : None if length is None else start + length]

    def head(self, log):
        return max((lsn for other, lsn in self.objects if other == log), default=None)


@dataclass
class CountingLog:
    """Notes every read of ``inner``."""

    inner: CommitLog
    reads: list[tuple[LSN, int, int | None]] = field(default_factory=list)
    """LSN, start, length."""

    def append(self, log, lsn, data):
        return self.inner.append(log, lsn, data)

    def read(self, log, lsn, start=0, length=None):
        self.reads.append((lsn, start, length))
        return self.inner.read(log, lsn, start, length)

    def head(self, log):
        return self.inner.head(log)

    def taken(self) -> list[tuple[LSN, int, int | None]]:
        """Return the reads since the last call."""
        reads, self.reads = self.reads, []
        return reads


@dataclass
class FaultyLog(DictLog):
    """Fails in the way that a test chooses."""

    lands: bool = True
    """Whether an append does what was asked before it fails."""
    append_fails: bool = False
    """Whether an append ends in `LogUnavailable`."""
    refuses: bool = False
    """Whether an append says no whatever it did, as a client's own retry makes it."""
    before_append: Callable[[], None] = lambda: None
    reads_fail: bool = False

    def append(self, log, lsn, data):
        self.before_append()
        landed = self.lands and super().append(log, lsn, data)
        if self.append_fails:
            raise LogUnavailable("the reply was lost")
        return landed and not self.refuses

    def read(self, log, lsn, start=0, length=None):
        if self.reads_fail:
            raise LogUnavailable("no connection")
        return super().read(log, lsn, start, length)
