"""The timeline: one client's unconfirmed mutations, durable before they run.

    directory/timeline.db (SQLite, WAL, synchronous=FULL)
        meta        id, secret (its holder may write to the timeline; absent if an older release made it), link (before
                    start), start (the first LSN that was not dropped), seen (the last LSN whose rejection is stored),
                    born (when the timeline began, microseconds since the Unix epoch), view
        mutations   LSNs start, start + 1, … without a gap; the stored form of sqlsync.envelope
        rejections  rejected mutations, until the application was told

Invariants: the next LSN is ``start`` plus the number of mutations. A prefix is dropped in the same transaction that
stores the rejections among it. One process at a time opens the file (document.lock); threads may share the object.
"""

import functools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graft.disk.sqlite import database_errors, opened, write_transaction
from graft.errors import local_errors
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.envelope import Mutation, Named, Opaque, decode, digest, digest_of, encode
from sqlsync.errors import CorruptTimeline
from sqlsync.identity import GENESIS, Owner, Proof, Stamp, Standing, legacy_link, linked, new_secret, seal_key
from sqlsync.ids import TimelineId

FILE = "timeline.db"
CLOCKS_APART_US = 24 * 3600 * 1_000_000
"""How far apart the clocks of a client and a coordinator may be when timelines expire."""
VERSION = 2
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS mutations (lsn INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS rejections (lsn INTEGER, timeline BLOB, data BLOB NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (timeline, lsn)) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rejected mutation, as stored in the author's file."""

    mutation: Mutation
    reason: str


@dataclass(frozen=True, slots=True)
class ViewMark:
    """Says that a replica's local commits are all pending mutations before ``next_lsn``, and nothing else."""

    next_lsn: int
    local_lsn: int
    lsn: int


class Timeline:
    """An open timeline."""

    def __init__(self, path: Path, runtime: Runtime = SYSTEM) -> None:
        """Open the file at ``path``; create it with a new id if it does not exist."""
        self._path = path
        self._runtime = runtime
        self._lock = threading.Lock()  # guards the connection and what follows
        with local_errors(f"opening {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        with database_errors(f"opening {path}"):
            self._database = opened(path, _SCHEMA, VERSION, synchronous="FULL")
            try:
                self._take_up()
            except BaseException:
                self._database.close()
                raise

    def _take_up(self) -> None:
        raw = self._meta("id")
        if raw is None:
            raw = TimelineId.new(self._runtime).raw
            values = {"id": raw, "secret": new_secret(self._runtime), "link": GENESIS, "born": self._now_us()}
            self._write_meta(self._database, values | {"start": 0, "seen": -1})
        self.id = TimelineId(raw)
        self._born_us: int = self._meta("born")
        self._start: int = self._meta("start")
        self._seen: int = self._meta("seen")
        count, first, last = self._database.execute("SELECT count(*), min(lsn), max(lsn) FROM mutations").fetchone()
        if count and (first, last) != (self._start, self._start + count - 1):
            raise CorruptTimeline(
                f"{self._path} holds {count} mutations with LSNs {first} to {last}; they should start at {self._start}"
            )
        self._next_lsn: int = self._start + count
        self.secret: bytes | None = self._meta("secret")
        link = self._meta("link")
        if link is None:  # an older release made it
            link = legacy_link(self.id, self._start) if self._start else GENESIS
        self._links = [link]
        for (data,) in self._database.execute("SELECT data FROM mutations ORDER BY lsn"):
            self._links.append(linked(self._links[-1], digest_of(data)))

    def adopt_secret(self) -> None:
        """Renew a timeline of an older release with a secret, once nothing is pending."""
        if self.secret is None and self._start == self._next_lsn:
            self.renew()

    def proof(self, lsn: int) -> Proof:
        """Return the proof for the mutations from ``lsn`` on; ``lsn`` is not before `start`."""
        return Proof(self.secret, lsn, self._links[lsn - self._start])

    def stamp(self, lsn: int) -> Stamp:
        """Return the stamp of a pending mutation, for a volume to which this author writes by itself."""
        place = lsn - self._start
        return self._stamp(self._links[place], self._links[place + 1])

    def next_stamp(self, mutation: Mutation) -> Stamp:
        """Return the stamp of the next mutation to append."""
        return self._stamp(self._links[-1], linked(self._links[-1], digest(mutation)))

    def _stamp(self, before: bytes, link: bytes) -> Stamp:
        owner, seal = _identity(self.id, self.secret)
        return Stamp(owner, before, link, seal)

    def agreement(self, applied: int, standing: Standing | None) -> int:
        """Return the LSN up to which a volume that has ``applied`` has the same mutations as this file.

        It is less than ``applied`` if another copy of this file continued the timeline.
        """
        if standing is None or not standing.links:
            return min(applied, self._next_lsn - 1)  # an older release applied it, and recorded no links
        for lsn in range(applied, self._start - 1, -1):
            known, place = standing.link_at(lsn), lsn - self._start + 1
            if known is None:
                break
            if place < len(self._links) and self._links[place] == known:
                return lsn
        known = standing.link_at(self._start - 1)
        if known is not None and known != self._links[0]:
            return self._start - 2
        return min(applied, self._start - 1)

    @property
    def start(self) -> int:
        """The LSN of the first unconfirmed mutation."""
        return self._start

    @property
    def next_lsn(self) -> int:
        """The LSN that the next mutation gets."""
        return self._next_lsn

    @property
    def born_us(self) -> int:
        """When the timeline began, microseconds since the Unix epoch by this machine's clock."""
        return self._born_us

    @property
    def rejections_seen(self) -> int:
        """All rejections up to this LSN are stored here; -1 for none."""
        return self._seen

    def append(self, mutation: Mutation, *, instead_of: Refusal | None = None) -> None:
        """Store a mutation durably; it has the next LSN. It replaces the rejection ``instead_of``, if given."""
        data = encode(mutation)
        with self._transaction() as database:
            assert (mutation.timeline, mutation.lsn) == (self.id, self._next_lsn), "BUG: out of order"
            database.execute("INSERT INTO mutations VALUES (?, ?)", (mutation.lsn, data))
            if instead_of is not None:
                _forget(database, instead_of.mutation)
        self._links.append(linked(self._links[-1], digest_of(data)))
        self._next_lsn += 1

    def take_back(self, mutation: Mutation, *, instead_of: Refusal | None = None) -> None:
        """Undo the last `append`, of a mutation that was not sent."""
        with self._transaction() as database:
            assert mutation.lsn == self._next_lsn - 1, "BUG: only the last one can be taken back"
            database.execute("DELETE FROM mutations WHERE lsn = ?", (mutation.lsn,))
            if instead_of is not None:
                _keep(database, instead_of)
        self._links.pop()
        self._next_lsn -= 1

    def pending(self, first: int = 0, limit: int = -1) -> list[Mutation]:
        """Return the mutations that are not confirmed, from LSN ``first`` on, in order."""
        with self._lock, database_errors(f"reading {self._path}"):
            rows = self._database.execute(
                "SELECT data FROM mutations WHERE lsn >= ? ORDER BY lsn LIMIT ?", (first, limit)
            ).fetchall()
        return [decode(data) for (data,) in rows]

    def confirm(self, applied: int, rejected: Sequence[tuple[int, str]] = (), *, keep: bool = True) -> list[Refusal]:
        """Drop all mutations up to ``applied``; store the rejections among them and return those that are new.

        ``rejected`` has LSNs and reasons; what was stored before is ignored. Without ``keep`` they are only marked as
        seen.
        """
        fresh = []
        with self._transaction() as database:
            for lsn, reason in sorted(rejected):
                row = database.execute("SELECT data FROM mutations WHERE lsn = ?", (lsn,)).fetchone()
                if row is None or not self._seen < lsn <= applied:
                    continue
                fresh.append(Refusal(decode(row[0]), reason))
                if keep:
                    _keep(database, fresh[-1])
            start = max(self._start, min(applied + 1, self._next_lsn))
            seen = max(self._seen, min(applied, self._next_lsn - 1))
            if (start, seen) != (self._start, self._seen):
                database.execute("DELETE FROM mutations WHERE lsn < ?", (start,))
                database.execute("UPDATE meta SET value = ? WHERE key = 'start'", (start,))
                database.execute("UPDATE meta SET value = ? WHERE key = 'seen'", (seen,))
                link = self._links[start - self._start]
                database.execute("INSERT OR REPLACE INTO meta VALUES ('link', ?)", (link,))
        del self._links[: start - self._start]
        self._start, self._seen = start, seen
        return fresh

    def refusals(self) -> list[Refusal]:
        """Return the stored rejected mutations, oldest first."""
        with self._lock, database_errors(f"reading {self._path}"):
            rows = self._database.execute("SELECT data, reason FROM rejections ORDER BY rowid").fetchall()
        return [Refusal(decode(data), reason) for data, reason in rows]

    def forget(self, mutation: Mutation) -> None:
        """Delete a rejection that the application knows of."""
        with self._transaction() as database:
            _forget(database, mutation)

    def renew(self) -> TimelineId:
        """Continue as a new timeline, with the same pending mutations under new LSNs; return its id."""
        pending, fresh, born_us = self.pending(), TimelineId.new(self._runtime), self._now_us()
        secret, links = new_secret(self._runtime), [GENESIS]
        with self._transaction() as database:
            database.execute("DELETE FROM mutations")
            for lsn, mutation in enumerate(pending):
                data = encode(replace(mutation, timeline=fresh, lsn=lsn))
                database.execute("INSERT INTO mutations VALUES (?, ?)", (lsn, data))
                links.append(linked(links[-1], digest_of(data)))
            values = {"id": fresh.raw, "start": 0, "seen": -1, "born": born_us, "secret": secret, "link": GENESIS}
            self._write_meta(database, values)
        self.id, self._born_us, self.secret, self._links = fresh, born_us, secret, links
        self._start, self._seen, self._next_lsn = 0, -1, len(pending)
        return fresh

    def mark_view(self, mark: ViewMark) -> None:
        """Store what the replica holds, so that the next opening need not replay."""
        with self._transaction() as database:
            value = f"{mark.next_lsn} {mark.local_lsn} {mark.lsn}"
            database.execute("INSERT OR REPLACE INTO meta VALUES ('view', ?)", (value,))

    def take_view_mark(self) -> ViewMark | None:
        """Return what `mark_view` said, once."""
        with self._transaction() as database:
            value = self._meta("view")
            if value is not None:
                database.execute("DELETE FROM meta WHERE key = 'view'")
        return ViewMark(*map(int, value.split())) if value else None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _now_us(self) -> int:
        return int(self._runtime.now_s() * 1_000_000)

    def _meta(self, key: str) -> Any:
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    @staticmethod
    def _write_meta(database: sqlite3.Connection, values: dict[str, Any]) -> None:
        rows = ", ".join("(?, ?)" for _ in values)
        database.execute(
            f"INSERT OR REPLACE INTO meta VALUES {rows}",  # noqa: S608 - marks alone
            [part for item in values.items() for part in item],
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, database_errors(f"writing {self._path}"), write_transaction(self._database):
            yield self._database


@functools.lru_cache(maxsize=16)
def _identity(timeline: TimelineId, secret: bytes | None) -> tuple[Owner, bytes | None]:
    return Owner.of(timeline, secret), None if secret is None else seal_key(secret)


def _keep(database: sqlite3.Connection, refusal: Refusal) -> None:
    mutation = refusal.mutation
    database.execute(
        "INSERT INTO rejections VALUES (?, ?, ?, ?)",
        (mutation.lsn, mutation.timeline.raw, encode(mutation), refusal.reason),
    )


def _forget(database: sqlite3.Connection, mutation: Mutation) -> None:
    database.execute("DELETE FROM rejections WHERE timeline = ? AND lsn = ?", (mutation.timeline.raw, mutation.lsn))


def body_of(name_or_payload: str | bytes, arguments: dict[str, object]) -> Named | Opaque:
    """Return what a call of a mutation says: a name with arguments, or bytes that only the reducer understands."""
    if isinstance(name_or_payload, bytes):
        return Opaque(name_or_payload)
    return Named(name_or_payload, arguments)


def may_be_forgotten(born_us: int | None, forgotten_us: int | None) -> bool:
    """Return whether a timeline that the volume does not know may have been forgotten.

    ``born_us`` is when it began, None for now; timelines unused since ``forgotten_us`` may have been forgotten.
    """
    return born_us is not None and forgotten_us is not None and born_us < forgotten_us + CLOCKS_APART_US
