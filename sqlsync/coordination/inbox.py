"""The inbox: mutations that a coordinator has accepted, durable before they are acknowledged.

    directory/inbox.db (SQLite, WAL, synchronous=FULL)
        meta      id, secret: the coordinator's own timeline
        entries   mutations in order of arrival, with the time of arrival, until the volume has them
        stamps    the owner and the links of each entry (sqlsync.identity.Stamp)

Invariants: the entries of one timeline are dense and in order; all of them are in memory too. Threads may share it.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from graft.disk.sqlite import database_errors, opened, write_transaction
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.coordination.limits import Tally
from sqlsync.documents.timeline import may_be_forgotten
from sqlsync.envelope import Mutation, decode, encode
from sqlsync.identity import Owner, Stamp, new_secret
from sqlsync.ids import TimelineId

FILE = "inbox.db"
VERSION = 2
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY AUTOINCREMENT, taken_us INTEGER NOT NULL,
        data BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS stamps (seq INTEGER PRIMARY KEY, key BLOB, principal BLOB, before BLOB, link BLOB,
        seal BLOB) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An accepted mutation."""

    mutation: Mutation
    stamp: Stamp


class Inbox:
    """An open inbox."""

    def __init__(self, path: Path, runtime: Runtime = SYSTEM) -> None:
        """Open the file at ``path``; create it if it does not exist."""
        self._path = path
        self._lock = threading.Lock()  # guards all that follows
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._taken_us: dict[int, int] = {}
        self._stamps: dict[TimelineId, dict[int, Stamp]] = {}
        self.tally = Tally()
        """Counts and sizes of the entries, by timeline."""
        with database_errors(f"opening {path}"):
            self._database = opened(path, _SCHEMA, VERSION, synchronous="FULL")
            try:
                self.id, self.secret = self._own(runtime)
                rows = self._database.execute(
                    "SELECT seq, taken_us, data, key, principal, before, link, seal "
                    "FROM entries LEFT JOIN stamps USING (seq) ORDER BY seq"
                )
                for seq, taken_us, data, key, principal, before, link, seal in rows:
                    self._note(seq, taken_us, Entry(decode(data), Stamp(Owner(key, principal), before, link, seal)))
                (found,) = self._database.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
                self._seq = found or 0
            except BaseException:
                self._database.close()
                raise

    def __len__(self) -> int:
        return len(self._entries)

    def last(self, timeline: TimelineId) -> int:
        """Return the LSN of a timeline's last entry, -1 if it has none."""
        stamps = self._stamps.get(timeline)
        return next(reversed(stamps)) if stamps else -1

    def stamps(self, timeline: TimelineId) -> dict[int, Stamp]:
        """Return the stamps of a timeline's entries by LSN, in order; only valid until entries are added or dropped."""
        return self._stamps.get(timeline, {})

    def timelines(self) -> set[TimelineId]:
        """Return the timelines that have entries."""
        with self._lock:
            return set(self._stamps)

    def add(self, entries: Sequence[Entry], *, taken_us: int) -> None:
        """Append entries durably. The caller has checked that they follow, and serializes calls."""
        if not entries:
            return
        numbered = list(enumerate(entries, self._seq + 1))
        rows = [(seq, taken_us, encode(entry.mutation)) for seq, entry in numbered]
        stamps = [(seq, *_columns(entry.stamp)) for seq, entry in numbered]
        with self._transaction() as database:
            database.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
            database.executemany("INSERT INTO stamps VALUES (?, ?, ?, ?, ?, ?)", stamps)
        with self._lock:
            for seq, entry in numbered:
                self._note(seq, taken_us, entry)
            self._seq += len(entries)

    def first(self, limit: int) -> list[Entry]:
        """Return the oldest entries."""
        with self._lock:
            return list(islice(self._entries.values(), limit))

    def drop_first(self, count: int) -> None:
        """Drop the oldest entries, as `first` returned them: the volume has them, or their timeline is gone."""
        with self._lock:
            dropped = list(islice(self._entries, count))
        self._drop(dropped)

    def drop_known(self, positions: Mapping[TimelineId, int], forgotten_us: int | None) -> None:
        """Drop the entries that the volume has: in each timeline those up to its position.

        With ``forgotten_us``, also drop old entries whose timeline the volume does not know and may have forgotten.
        Their author still has them, and gets `TimelineExpired`.
        """
        with self._lock:
            dropped = [
                seq
                for seq, mutation in ((seq, entry.mutation) for seq, entry in self._entries.items())
                if mutation.lsn <= positions.get(mutation.timeline, -1)
                or (mutation.timeline not in positions and may_be_forgotten(self._taken_us[seq], forgotten_us))
            ]
        self._drop(dropped)

    def _drop(self, dropped: Sequence[int]) -> None:
        if not dropped:
            return
        with self._transaction() as database:
            if dropped[-1] - dropped[0] == len(dropped) - 1:
                database.execute("DELETE FROM entries WHERE seq BETWEEN ? AND ?", (dropped[0], dropped[-1]))
                database.execute("DELETE FROM stamps WHERE seq BETWEEN ? AND ?", (dropped[0], dropped[-1]))
            else:
                database.executemany("DELETE FROM entries WHERE seq = ?", [(seq,) for seq in dropped])
                database.executemany("DELETE FROM stamps WHERE seq = ?", [(seq,) for seq in dropped])
        with self._lock:
            for seq in dropped:
                del self._taken_us[seq]
                mutation = self._entries.pop(seq).mutation
                self.tally.remove(mutation.timeline, len(encode(mutation)))
                stamps = self._stamps[mutation.timeline]
                stamps.pop(mutation.lsn, None)
                if not stamps:
                    del self._stamps[mutation.timeline]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _own(self, runtime: Runtime) -> tuple[TimelineId, bytes | None]:
        """Return the coordinator's own timeline and its secret; create them if there are none."""
        stored = dict(self._database.execute("SELECT key, value FROM meta"))
        if "id" not in stored:
            secret, raw = new_secret(runtime), TimelineId.new(runtime).raw
            stored = {"id": raw, "secret": secret}
            with self._database:
                self._database.execute("BEGIN")
                self._database.executemany("INSERT INTO meta VALUES (?, ?)", stored.items())
        return TimelineId(stored["id"]), stored.get("secret")

    def _note(self, seq: int, taken_us: int, entry: Entry) -> None:
        self._entries[seq], self._taken_us[seq] = entry, taken_us
        self._stamps.setdefault(entry.mutation.timeline, {})[entry.mutation.lsn] = entry.stamp
        self.tally.add(entry.mutation.timeline, len(encode(entry.mutation)))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, database_errors(f"writing {self._path}"), write_transaction(self._database):
            yield self._database


def _columns(stamp: Stamp) -> tuple[bytes | None, ...]:
    return stamp.owner.key, stamp.owner.principal, stamp.before, stamp.link, stamp.seal
