"""The default commit log: one object per commit, put if absent, in any object store."""

from metastore.errors import CorruptCommit, translated
from metastore.ids import LogId
from metastore.lsn import LSN, parse_descending
from metastore.placement import commit_key
from pagestore.objectstore import ObjectStore


class ObjectCommitLog:
    """A `CommitLog` over an `ObjectStore`; owns nothing, threads and processes may share it."""

    def __init__(self, store: ObjectStore) -> None:
        """Keep the commits in ``store`` under ``logs/``."""
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
        """See `CommitLog.head`; keys sort newest first, so this is a listing of one key."""
        prefix = f"logs/{log}/commits/"
        with translated():
            newest = next(iter(self._store.list(prefix, limit=1)), None)
        if newest is None:
            return None
        try:
            return parse_descending(newest.key.removeprefix(prefix))
        except ValueError as error:
            raise CorruptCommit(f"log {log}: stray object {newest.key}: {error}") from error
