"""The default commit log: one object per commit in any object store, created by a conditional put."""

from collections.abc import Iterator
from contextlib import suppress

from metastore.commitlog import Newest
from metastore.errors import CorruptCommit, translated
from metastore.ids import LogId
from metastore.lsn import LSN, parse_descending
from metastore.placement import commit_key
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM

_LISTED = 8
"""How many commits the listing of a log's end shows: the commit that a replica builds on is usually among them."""


class ObjectCommitLog:
    """A `CommitLog` over an `ObjectStore`, which the caller owns; safe for threads and processes."""

    def __init__(self, store: ObjectStore) -> None:
        """Use the commits below ``logs/`` in ``store``."""
        self._store = store

    def append(self, log: LogId, lsn: LSN, data: bytes) -> bool:
        """See `CommitLog.append`; one request."""
        with translated():
            return self._store.put_if_absent(commit_key(log, lsn), data)

    def read(self, log: LogId, lsn: LSN, start: int = 0, length: int | None = None) -> bytes:
        """See `CommitLog.read`; one request."""
        key = commit_key(log, lsn)
        with translated():
            if length is None:
                return self._store.get(key)[start:]
            return self._store.get_range(key, start, length)

    def head(self, log: LogId) -> LSN | None:
        """See `CommitLog.head`."""
        newest = self.newest(log)
        return newest.lsn if newest else None

    def newest(self, log: LogId) -> Newest | None:
        """See `CommitLog.newest`; keys sort newest first, so this is a listing of a few keys.

        If the store lists them in another order, the highest LSN is still the newest.
        """
        prefix = f"logs/{log}/commits/"
        with translated():
            # Each listing starts at another random key that sorts before all commits, so no proxy can have cached it.
            start_after = f"{prefix}-{SYSTEM.entropy(8).hex()}"
            listed = list(self._store.list(prefix, start_after=start_after, limit=_LISTED))
        etags: dict[LSN, str] = {}
        for found in listed:
            try:
                etags[parse_descending(found.key.removeprefix(prefix))] = found.etag
            except ValueError as error:
                if not etags:
                    raise CorruptCommit(f"log {log}: stray object {found.key}: {error}") from error
        return Newest(max(etags), etags) if etags else None

    def lsns(self, log: LogId) -> Iterator[LSN]:
        """See `CommitLog.lsns`; skips objects that are not commits."""
        prefix = f"logs/{log}/commits/"
        with translated():
            for found in self._store.list(prefix):
                with suppress(ValueError):
                    yield parse_descending(found.key.removeprefix(prefix))
