"""The port to a commit log: ordered bytes with exactly one winner for each LSN.

Errors are those of `metastore.errors`. Every method may be called from several threads. Every backend passes the
one contract suite in ``tests/metastore/log_contract.py``.
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
    """Of the newest commit."""
    etags: Mapping[LSN, str]
    """Of the newest few commits (`pagestore.objectstore.ObjectInfo.etag`)."""

    def etag(self, lsn: LSN) -> str:
        """Return the ETag of a commit, empty if it was not listed."""
        return self.etags.get(lsn, "")


class CommitLog(Protocol):
    """Commit objects by (log, LSN)."""

    def append(self, log: LogId, lsn: LSN, data: bytes) -> bool:
        """Put the commit unless the LSN is taken, atomically; tell whether this call put it.

        ``False`` is a question, not an answer: an earlier try of the same call may have landed
        (`metastore.append` settles it). `LogUnavailable` means that the outcome is unknown.
        """
        ...

    def read(self, log: LogId, lsn: LSN, start: int = 0, length: int | None = None) -> bytes:
        """Return the commit's bytes, or ``length`` > 0 of them from ``start``, fewer where it ends.

        Raises `CommitMissing`.
        """
        ...

    def newest(self, log: LogId) -> Newest | None:
        """Return the end of the log, None for one without commits; one request."""
        ...

    def lsns(self, log: LogId) -> Iterator[LSN]:
        """Yield the LSN of each commit that there is, newest first; one request for each thousand."""
        ...

    def head(self, log: LogId) -> LSN | None:
        """Return the newest LSN in one request, None for a log without commits.

        Raises `CorruptCommit` when something that is no commit lies where the newest one is looked for.
        """
        ...
