"""The rows that differ between two versions of a volume: the way in for Python, `graft diff` and SQL.

What compares is imported on first use, since most programs never ask.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graft.replica.directory import replica_path
from graft.replica.opening import open_replica
from graft.sync.local_versions import LOCAL, REMOTE, snapshot_of
from graft.sync.versions import At

if TYPE_CHECKING:
    from graft_sqlite_vfs.diff import Difference, RowChange


@contextmanager
def open_diff(database: str | os.PathLike[str], before: At = REMOTE, after: At = LOCAL) -> "Iterator[Difference]":
    """Compare two versions of the volume in the replica directory ``database``, for as long as the block runs.

    A version is an LSN, a time (ISO 8601 text or `datetime`), a tag, ``branch`` or ``branch@version`` for another
    volume in the same remote, ``local`` (the newest version, with local commits) or ``remote`` (without them). The
    result is a `graft_sqlite_vfs.diff.Difference`. Raises the errors of `graft.errors`: `NotAReplica`, `NoSuchVersion`,
    `NoSuchVolume`, `BadRequest`, `Corrupt` for a version that is no SQLite database, and those of the remote.
    """
    from graft_sqlite_vfs.diff import compare  # noqa: PLC0415 - see the module

    with open_replica(replica_path(database)) as replica:
        old, new = snapshot_of(replica, before), snapshot_of(replica, after)
        with compare(replica, old, new) as difference:
            yield difference


def diff_rows(
    database: str | os.PathLike[str],
    before: At = REMOTE,
    after: At = LOCAL,
    *,
    tables: Collection[str] | None = None,
) -> "Iterator[RowChange]":
    """Yield each row that differs between two versions, table by table; see `open_diff`.

    ``tables`` names the tables to compare, all by default; `BadRequest` for one that neither version has.
    """
    with open_diff(database, before, after) as difference:
        yield from difference.rows(tables)
