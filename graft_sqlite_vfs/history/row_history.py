"""Every value that one row had, found by search over the versions.

SQLite reads a few pages to find a row by its key. If those pages are in the same place in two versions, and no commit
between went back to an older version, no commit between wrote them: the row is the same in all of them, and none is
opened. Else the search goes on in both halves.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import apsw

from graft.errors import BadRequest
from graft.reading.snapshot import Advisor, Snapshot
from graft.replica.directory import replica_path
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.diff.rows import Row
from graft_sqlite_vfs.header import is_database
from graft_sqlite_vfs.history.versions import Versions
from graft_sqlite_vfs.merge.target import Target
from graft_sqlite_vfs.overlay import overlaid
from pagestore.objectstore import Data


@dataclass(frozen=True, slots=True)
class RowVersion:
    """A value that a row had from a commit on."""

    lsn: int | None
    """The commit that gave it this value; None for a local one."""
    time_us: int | None
    author: str | None
    row: Row | None
    """None where the commit deleted it."""


def row_history(
    database: str | os.PathLike[str] | Replica, table: str, key: Value | Sequence[Value]
) -> Iterator[RowVersion]:
    """Yield the values that a row had, newest first, with the commits that gave them; local commits count as one.

    ``key`` is the value of its declared primary key (several for a key of several columns), else its rowid. Nothing for
    a row that never was. Versions that were collected are missing. Raises `BadRequest` for a table that no version has
    or a key of the wrong length, and the remote's errors.
    """
    if isinstance(database, Replica):
        yield from _History(database, table, key).values()
        return
    with open_replica(replica_path(database)) as replica:
        yield from _History(replica, table, key).values()


class _History:
    def __init__(self, replica: Replica, table: str, key: Value | Sequence[Value]) -> None:
        self._versions = Versions(replica, local=True)
        self._table = table
        self._key = tuple(key) if isinstance(key, list | tuple) else (key,)
        self._seen_table = False
        self._found_at = cache(self._find)

    def values(self) -> Iterator[RowVersion]:
        yield from self._between(-1, len(self._versions) - 1)
        if not self._seen_table:
            raise BadRequest(f"no table {self._table} in any version of the volume")

    def _between(self, low: int, high: int) -> Iterator[RowVersion]:
        """Yield what the versions behind ``low``, up to ``high``, changed, newest first."""
        if low >= high or self._is_untouched(low, high):
            return
        if high - low == 1:
            (_, old), (_, new) = self._found_at(low), self._found_at(high)
            if old != new:
                moment = self._versions.at(high)
                yield RowVersion(moment.lsn, moment.time_us, moment.author, new)
            return
        middle = (low + high) // 2
        yield from self._between(middle, high)
        yield from self._between(low, middle)

    def _is_untouched(self, low: int, high: int) -> bool:
        older, newer = self._versions.at(low), self._versions.at(high)
        if newer.restored_at > (older.lsn or 0) or newer.lsn is None:
            return False
        pages, _ = self._found_at(high)
        maps = older.snapshot.page_map, newer.snapshot.page_map
        return bool(pages) and all(maps[0].location(page) == maps[1].location(page) for page in pages)

    def _find(self, place: int) -> tuple[frozenset[int], Row | None]:
        """Return the pages that SQLite reads to find the row, without the header's, and the row."""
        snapshot = self._versions.at(place).snapshot
        if not snapshot.page_count or not is_database(snapshot.read(1)):
            return frozenset(), None
        pages = _PagesRead(snapshot)
        with overlaid(pages) as connection:
            target = Target(connection)
            table = target.table(self._named(connection))
            if table is None:
                return frozenset(pages.read_pages - {1}), None
            self._seen_table = True
            width = len(table.key) or 1
            if len(self._key) != width:
                raise BadRequest(f"table {table.name} has a key of {width} columns, not {len(self._key)}")
            pages.read_pages.clear()
            found = target.find(table, self._key)
        return frozenset(pages.read_pages - {1}), None if found is None else found[1]

    def _named(self, connection: apsw.Connection) -> str:
        rows = connection.execute(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND lower(name) = lower(?)", (self._table,)
        )
        found = rows.fetchone()
        return str(found[0]) if found else self._table


class _PagesRead:
    """A snapshot that notes which pages are read."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.byte_size = snapshot.byte_size
        self.page_size = snapshot.page_size
        self.read_pages: set[int] = set()

    def read(self, page: int, _advisor: Advisor | None = None) -> bytes | memoryview:
        self.read_pages.add(page)
        return self._snapshot.read(page)

    def write(self, page: int, data: Data) -> None:
        raise BadRequest(f"{self._snapshot.describe()}, page {page}: {len(data)} bytes cannot be written to the past")

    def resize(self, byte_size: int) -> None:
        raise BadRequest(f"{self._snapshot.describe()} cannot be resized to {byte_size} bytes")
