"""Which commit last changed each row of a table.

The versions are compared backwards, commit by commit, until every row that is there now has its commit; so the cost
follows the changes, and a table whose rows were all written lately needs no look at the rest. One row alone is found
by its history.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graft.errors import BadRequest
from graft.replica.directory import replica_path
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.diff.difference import compare
from graft_sqlite_vfs.diff.rows import Values
from graft_sqlite_vfs.history.row_history import row_history
from graft_sqlite_vfs.history.versions import Versions


@dataclass(frozen=True, slots=True)
class Blamed:
    """A row, and the commit that last changed it."""

    key: Values
    lsn: int | None
    """None for a change that is not pushed."""
    time_us: int | None
    author: str | None


def blame(
    database: str | os.PathLike[str] | Replica, table: str, key: Value | Sequence[Value] | None = None
) -> Iterator[Blamed]:
    """Yield each row of a table, or the one with a key, with the commit that last changed it, latest change first.

    If older versions were collected, the oldest that remains stands for them. Raises `BadRequest` for a table or row
    that is not there, and the remote's errors.
    """
    if not isinstance(database, Replica):
        with open_replica(replica_path(database)) as replica:
            yield from blame(replica, table, key)
        return
    if key is None:
        yield from _all_rows(database, table)
        return
    newest = next(row_history(database, table, key), None)
    keys = tuple(key) if isinstance(key, list | tuple) else (key,)
    if newest is None or newest.row is None:
        raise BadRequest(f"table {table} has no row {', '.join(map(repr, keys))} now")
    yield Blamed(keys, newest.lsn, newest.time_us, newest.author)


def _all_rows(replica: Replica, table: str) -> Iterator[Blamed]:
    versions = Versions(replica, local=True)
    newest = versions.at(len(versions) - 1)
    with compare(replica, versions.at(-1).snapshot, newest.snapshot) as difference:
        left = {change.key for change in difference.rows([table])}
    for place in range(len(versions) - 1, -1, -1):
        if not left:
            return
        moment = versions.at(place)
        if moment.moves_pages_only:
            continue
        with compare(replica, versions.at(place - 1).snapshot, moment.snapshot) as difference:
            if table.lower() not in {name.lower() for name in difference.tables}:
                continue
            for change in difference.rows([table]):
                if change.after is not None and change.key in left:
                    left.discard(change.key)
                    yield Blamed(change.key, moment.lsn, moment.time_us, moment.author)
