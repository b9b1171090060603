"""The change feed: what each commit did, row by row, in the order of the commits.

The position is the caller's: the LSN of the last record whose work is done. A feed that starts there again yields every
later change at least once.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from graft.errors import BadRequest
from graft.replica.directory import replica_path
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.time_travel import snapshot_at
from graft.sync.versions import AnyVersion, resolve
from graft_sqlite_vfs.diff.difference import compare
from graft_sqlite_vfs.diff.rows import Kind, Row, Values
from graft_sqlite_vfs.history.versions import Moment, Versions

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class RowChanged:
    """One row that a commit changed."""

    lsn: int
    time_us: int | None
    """When the commit was made, in microseconds since the Unix epoch."""
    table: str
    change: Kind
    key: Values
    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class SchemaChanged:
    """One definition that a commit changed."""

    lsn: int
    time_us: int | None
    type: str
    name: str
    before: str | None
    after: str | None


def changes(
    database: str | os.PathLike[str] | Replica,
    since: AnyVersion = 0,
    *,
    tables: Collection[str] | None = None,
    follow: bool = False,
    poll_s: float = _POLL_S,
) -> Iterator[RowChanged | SchemaChanged]:
    """Yield what each commit after ``since`` changed in the volume of a replica directory, oldest first.

    ``since`` is an LSN or anything else that names a version. With ``tables``, only their rows; a commit before which a
    table was made has none of it. With ``follow`` the feed waits for new commits, and asks the remote every ``poll_s``
    seconds. Versions that were collected are in the changes of the next one that remains.

    Local commits are not in the feed: they have no LSN before they are pushed. Raises `VersionCollected` if ``since``
    was collected, `NoSuchVersion`, `BadRequest`, and the remote's errors.
    """
    if poll_s <= 0:
        raise BadRequest(f"a feed cannot poll every {poll_s} seconds")
    if isinstance(database, Replica):
        yield from _changes(database, since, tables, follow=follow, poll_s=poll_s)
        return
    with open_replica(replica_path(database)) as replica:
        yield from _changes(replica, since, tables, follow=follow, poll_s=poll_s)


def _changes(
    replica: Replica, since: AnyVersion, tables: Collection[str] | None, *, follow: bool, poll_s: float
) -> Iterator[RowChanged | SchemaChanged]:
    start: int = resolve(replica, since).lsn
    snapshot_at(replica, since)  # raises if it was collected
    versions = Versions(replica)
    while True:
        for place, lsn in enumerate(versions.lsns):
            if lsn > start:
                yield from _of_commit(replica, versions.at(place - 1), versions.at(place), tables)
        start = max([start, *versions.lsns[-1:]])
        if not follow:
            return
        replica.runtime.sleep_s(poll_s)
        if replica.remote.head(replica.lineage) > start:
            versions = Versions(replica)


def _of_commit(
    replica: Replica, before: Moment, after: Moment, tables: Collection[str] | None
) -> Iterator[RowChanged | SchemaChanged]:
    assert after.lsn is not None, "BUG: a feed of local commits"
    if after.moves_pages_only:
        return
    with compare(replica, before.snapshot, after.snapshot) as difference:
        wanted = None
        if tables is None:
            for change in difference.schema:
                yield SchemaChanged(after.lsn, after.time_us, change.type, change.name, change.before, change.after)
        else:
            known = {name.lower() for name in difference.tables}
            wanted = [name for name in tables if name.lower() in known]
        for row in difference.rows(wanted):
            yield RowChanged(after.lsn, after.time_us, row.table, row.kind, row.key, row.before, row.after)
