"""The inbox: what a coordinator has promised to apply, durable before it is acknowledged.

    directory/inbox.db (SQLite, WAL, synchronous=FULL)
        meta      id: the coordinator's own timeline
        entries   mutations in the order of their arrival, and when that was, until the volume has them

Invariants: the entries of one timeline are dense and in order; all of them are in memory too. Threads may share it.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from graft.disk.sqlite import database_errors, opened
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.documents.timeline import may_be_forgotten
from sqlsync.envelope import Mutation, decode, encode
from sqlsync.ids import TimelineId

FILE = "inbox.db"
VERSION = 1
_SCHEMA = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE entries (seq INTEGER PRIMARY KEY AUTOINCREMENT, taken_us INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
"""


class Inbox:
    """An open inbox."""

    def __init__(self, path: Path, runtime: Runtime = SYSTEM) -> None:
        """Open the file at ``path``, or make it."""
        self._path = path
        self._lock = threading.Lock()  # guards all that follows
        self._entries: OrderedDict[int, Mutation] = OrderedDict()
        self._taken_us: dict[int, int] = {}
        self._last: dict[TimelineId, int] = {}
        with database_errors(f"opening {path}"):
            self._database = opened(path, _SCHEMA, VERSION, synchronous="FULL")
            try:
                self._database.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (TimelineId.new(runtime).raw,))
                (raw,) = self._database.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
                self.id = TimelineId(raw)
                for seq, taken_us, data in self._database.execute("SELECT * FROM entries ORDER BY seq"):
                    self._entries[seq] = mutation = decode(data)
                    self._taken_us[seq] = taken_us
                    self._last[mutation.timeline] = mutation.lsn
                (found,) = self._database.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
                self._seq = found or 0
            except BaseException:
                self._database.close()
                raise

    def __len__(self) -> int:
        return len(self._entries)

    def last(self, timeline: TimelineId) -> int:
        """Return the LSN of a timeline's last entry, -1 if it has none."""
        return self._last.get(timeline, -1)

    def timelines(self) -> set[TimelineId]:
        """Return the timelines that have entries."""
        with self._lock:
            return set(self._last)

    def add(self, mutations: Sequence[Mutation], *, taken_us: int) -> None:
        """Store mutations durably, behind the others; one thread at a time, which has checked that they follow."""
        if not mutations:
            return
        rows = [(self._seq + place, taken_us, encode(mutation)) for place, mutation in enumerate(mutations, 1)]
        with self._transaction() as database:
            database.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
        with self._lock:
            for (seq, _, _), mutation in zip(rows, mutations, strict=True):
                self._entries[seq], self._taken_us[seq] = mutation, taken_us
                self._last[mutation.timeline] = mutation.lsn
            self._seq += len(mutations)

    def first(self, limit: int) -> list[Mutation]:
        """Return the entries that came first."""
        with self._lock:
            return list(islice(self._entries.values(), limit))

    def drop_first(self, count: int) -> None:
        """Drop the entries that came first, `first` said which: the volume has them, or their timeline is gone."""
        with self._lock:
            dropped = list(islice(self._entries, count))
        self._drop(dropped)

    def drop_known(self, positions: Mapping[TimelineId, int], forgotten_us: int | None) -> None:
        """Drop the entries that the volume has: of each timeline those up to its position.

        With ``forgotten_us`` also entries that were taken so long ago that their timeline, which the volume does not
        know, may have been forgotten with what it says: their author still has them, and learns of that.
        """
        with self._lock:
            dropped = [
                seq
                for seq, entry in self._entries.items()
                if entry.lsn <= positions.get(entry.timeline, -1)
                or (entry.timeline not in positions and may_be_forgotten(self._taken_us[seq], forgotten_us))
            ]
        self._drop(dropped)

    def _drop(self, dropped: Sequence[int]) -> None:
        if not dropped:
            return
        with self._transaction() as database:
            if dropped[-1] - dropped[0] == len(dropped) - 1:
                database.execute("DELETE FROM entries WHERE seq BETWEEN ? AND ?", (dropped[0], dropped[-1]))
            else:
                database.executemany("DELETE FROM entries WHERE seq = ?", [(seq,) for seq in dropped])
        with self._lock:
            for seq in dropped:
                del self._taken_us[seq]
                entry = self._entries.pop(seq)
                if self._last.get(entry.timeline) == entry.lsn:
                    del self._last[entry.timeline]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, database_errors(f"writing {self._path}"):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
