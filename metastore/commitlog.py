"""The port to a commit log: an ordered sequence of byte strings with exactly one winner per LSN.

Errors are those of `metastore.errors`. Every method may be called from several threads. Every backend passes the
contract suite in ``metastore.testing.CommitLogContract``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from metastore.ids import LogId
from metastore.lsn import LSN


@dataclass(frozen=True, slots=True)
class Newest:
    """The end of a log, as a listing shows it."""

    lsn: LSN
    """The LSN of the newest commit."""
    etags: Mapping[LSN, str]
    """The ETags of the newest few commits (`pagestore.objectstore.ObjectInfo.etag`)."""

    def etag(self, lsn: LSN) -> str:
        """Return the ETag of a commit, or "" if it was not listed."""
        return self.etags.get(lsn, "")


class CommitLog(Protocol):
    """Commit objects, addressed by log and LSN."""

    def append(self, log: LogId, lsn: LSN, data: bytes) -> bool:
        """Put the commit unless the LSN is taken, atomically; return whether this call put it.

        ``False`` does not decide the outcome: an earlier try of the same call may have landed, and `metastore.append`
        settles that. After `LogUnavailable` the outcome is unknown.
        """
        ...

    def read(self, log: LogId, lsn: LSN, start: int = 0, length: int | None = None) -> bytes:
        """Return the commit's bytes, or ``length`` > 0 of them from ``start``, fewer at its end.

        Raises `CommitMissing`.
        """
        ...

    def newest(self, log: LogId) -> Newest | None:
        """Return the end of the log, or None for a log without commits; one request."""
        ...

    def lsns(self, log: LogId) -> Iterator[LSN]:
        """Yield the LSNs of all existing commits, newest first; one request per thousand."""
        ...

    def head(self, log: LogId) -> LSN | None:
        """Return the newest LSN, or None for a log without commits; one request.

        Raises `CorruptCommit` if an object that is not a commit sorts before the newest commit.
        """
        ...
