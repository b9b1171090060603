"""The tables of sqlsync inside the volume, which change in the same transaction as a mutation's effects.

    __sqlsync_timelines   how far each timeline was applied; exactly the table of SQLSync 0.3.2
    __sqlsync_uses        when each timeline was written to last, for its expiry
    __sqlsync_owners      who may write to each timeline, as hashes, and the last links of its history
    __sqlsync_sealed      rejected mutations and the reasons, encrypted for the author, until it reports having read
                          them
    __sqlsync_rejections  the same unencrypted, for authors without a secret
    __sqlsync_meta        version: up to which version the reducer's migrations ran;
                          forgotten_us: timelines that were not used since before this moment may have been forgotten

They are created by the first write to them. Every function runs inside the caller's transaction.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import apsw

from sqlsync.identity import LINK_BYTES, Owner, Standing, seal_key, sealed, unsealed
from sqlsync.ids import TimelineId

PREFIX = "__sqlsync_"
USE_GRAIN_US = 3600 * 1_000_000
"""The last use is stored to the hour, so that a busy timeline does not update it with every batch."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS __sqlsync_timelines (id BLOB PRIMARY KEY, lsn INTEGER) STRICT",
    "CREATE TABLE IF NOT EXISTS __sqlsync_uses (id BLOB PRIMARY KEY, used_us INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS __sqlsync_rejections (id BLOB, lsn INTEGER, reason TEXT NOT NULL,
        PRIMARY KEY (id, lsn)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS __sqlsync_owners (id BLOB PRIMARY KEY, lsn INTEGER NOT NULL, links BLOB NOT NULL,
        key BLOB, principal BLOB) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS __sqlsync_sealed (id BLOB, lsn INTEGER, reason BLOB NOT NULL,
        PRIMARY KEY (id, lsn)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS __sqlsync_meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)

_REJECTIONS = ("rejections", "sealed")


@dataclass(frozen=True, slots=True)
class RejectionRow:
    """A rejected mutation."""

    lsn: int
    reason: str


def make(connection: apsw.Connection) -> None:
    """Create the missing tables."""
    for statement in _TABLES:
        connection.execute(statement)


def make_first(connection: apsw.Connection) -> None:
    """Create the table of timelines before the application creates any table.

    SQLSync's clients create it first too. So the tables of a new document have the same root pages here and there, by
    which those clients determine which live queries a change affects.
    """
    connection.execute(_TABLES[0])


def applied(connection: apsw.Connection, timeline: TimelineId) -> int | None:
    """Return the LSN up to which a timeline was applied or rejected, None if the volume does not know it."""
    if not _is_there(connection, "timelines"):
        return None
    row = connection.execute("SELECT lsn FROM __sqlsync_timelines WHERE id = ?", (timeline.raw,)).fetchone()
    return row[0] if row else None


def positions(connection: apsw.Connection) -> dict[TimelineId, int]:
    """Return how far every timeline was applied."""
    if not _is_there(connection, "timelines"):
        return {}
    return {TimelineId(raw): lsn for raw, lsn in connection.execute("SELECT id, lsn FROM __sqlsync_timelines")}


def set_applied(connection: apsw.Connection, timeline: TimelineId, lsn: int, *, used_us: int) -> None:
    """Move a timeline's position, and record its use at ``used_us``."""
    make(connection)
    connection.execute(
        "INSERT INTO __sqlsync_timelines VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET lsn = excluded.lsn",
        (timeline.raw, lsn),
    )
    connection.execute(
        "INSERT INTO __sqlsync_uses VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET used_us = excluded.used_us "
        "WHERE used_us <= excluded.used_us - ?",
        (timeline.raw, used_us, USE_GRAIN_US),
    )


def standing(connection: apsw.Connection, timeline: TimelineId) -> Standing | None:
    """Return the owner and the last links of a timeline; None if they were not recorded."""
    return _standings(connection, " AND o.id = ?", (timeline.raw,)).get(timeline)


def standings(connection: apsw.Connection) -> dict[TimelineId, Standing]:
    """Return the `standing` of every timeline."""
    return _standings(connection, "", ())


def _standings(connection: apsw.Connection, which: str, bindings: tuple[bytes, ...]) -> dict[TimelineId, Standing]:
    if not _is_there(connection, "owners"):
        return {}
    rows = connection.execute(
        "SELECT o.id, t.lsn, o.lsn = t.lsn, o.links, o.key, o.principal "
        "FROM __sqlsync_owners AS o, __sqlsync_timelines AS t WHERE o.id = t.id" + which,
        bindings,
    )
    # An older release, which does not know this table, only moves the position; the links are outdated then.
    return {
        TimelineId(raw): Standing(lsn, _split(links) if is_current else (), Owner(key, principal))
        for raw, lsn, is_current, links, key, principal in rows
    }


def _split(links: bytes) -> tuple[bytes, ...]:
    return tuple(links[at : at + LINK_BYTES] for at in range(0, len(links), LINK_BYTES))


def set_standing(connection: apsw.Connection, timeline: TimelineId, found: Standing) -> None:
    """Record the owner and the last links of a timeline, in addition to `set_applied`."""
    connection.execute(
        "INSERT OR REPLACE INTO __sqlsync_owners VALUES (?, ?, ?, ?, ?)",
        (timeline.raw, found.lsn, b"".join(found.links), found.owner.key, found.owner.principal),
    )


def reject_sealed(connection: apsw.Connection, timeline: TimelineId, row: RejectionRow, seal: bytes) -> None:
    """Record a rejection, readable only by the timeline's author."""
    make(connection)
    connection.execute(
        "INSERT OR REPLACE INTO __sqlsync_sealed VALUES (?, ?, ?)",
        (timeline.raw, row.lsn, sealed(seal, timeline, row.lsn, row.reason)),
    )


def reject(connection: apsw.Connection, timeline: TimelineId, rows: Iterable[RejectionRow]) -> None:
    """Record rejections."""
    make(connection)
    connection.executemany(
        "INSERT OR REPLACE INTO __sqlsync_rejections VALUES (?, ?, ?)",
        [(timeline.raw, row.lsn, row.reason) for row in rows],
    )


def rejections(connection: apsw.Connection, timeline: TimelineId, secret: bytes | None = None) -> list[RejectionRow]:
    """Return a timeline's rejections, in order; ``secret`` is its author's."""
    found: dict[Any, Any] = {}
    if _is_there(connection, "rejections"):
        clear: list[Any] = connection.execute(
            "SELECT lsn, reason FROM __sqlsync_rejections WHERE id = ?", (timeline.raw,)
        ).fetchall()
        found.update(clear)
    if secret is not None and _is_there(connection, "sealed"):
        key = seal_key(secret)
        rows: list[Any] = connection.execute(
            "SELECT lsn, reason FROM __sqlsync_sealed WHERE id = ?", (timeline.raw,)
        ).fetchall()
        for lsn, reason in rows:
            found[lsn] = unsealed(key, timeline, lsn, reason) or "the reason cannot be read"
    return [RejectionRow(lsn, reason) for lsn, reason in sorted(found.items())]


def rejected(connection: apsw.Connection) -> dict[TimelineId, list[int]]:
    """Return the sorted LSNs of all rejections, by timeline."""
    found: dict[TimelineId, list[int]] = {}
    for table in _REJECTIONS:
        if _is_there(connection, table):
            for raw, lsn in connection.execute(f"SELECT id, lsn FROM __sqlsync_{table}"):  # noqa: S608 - our own names
                found.setdefault(TimelineId(raw), []).append(lsn)
    return {timeline: sorted(lsns) for timeline, lsns in found.items()}


def forget_rejections(connection: apsw.Connection, timeline: TimelineId, lsn: int) -> None:
    """Remove a timeline's rejections up to an LSN."""
    for table in _REJECTIONS:
        if _is_there(connection, table):
            connection.execute(
                f"DELETE FROM __sqlsync_{table} WHERE id = ? AND lsn <= ?",  # noqa: S608 - our own names
                (timeline.raw, lsn),
            )


def forget_timelines(connection: apsw.Connection, before_us: int, *, keep: Collection[TimelineId] = ()) -> int:
    """Remove the timelines unused since ``before_us``, except those in ``keep``; return how many were removed."""
    if not _is_there(connection, "uses"):
        return 0
    kept = {timeline.raw for timeline in keep}
    rows = connection.execute("SELECT id FROM __sqlsync_uses WHERE used_us < ?", (before_us,)).fetchall()
    gone = [row for row in rows if row[0] not in kept]
    if gone:
        for table in ("timelines", "uses", "owners", *_REJECTIONS):
            if not _is_there(connection, table):
                continue
            connection.executemany(f"DELETE FROM __sqlsync_{table} WHERE id = ?", gone)  # noqa: S608 - our own names
        _set_meta(connection, "forgotten_us", max(before_us, forgotten_us(connection) or before_us))
    return len(gone)


def forgotten_us(connection: apsw.Connection) -> int | None:
    """Return the time before which unused timelines were forgotten; None if none ever was."""
    return _meta(connection, "forgotten_us")


def version(connection: apsw.Connection) -> int:
    """Return the version that migrations have reached, 0 for none."""
    return _meta(connection, "version") or 0


def set_version(connection: apsw.Connection, number: int) -> None:
    """Record that the migration to a version ran."""
    make(connection)
    _set_meta(connection, "version", number)


def _is_there(connection: apsw.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (PREFIX + table,))
    return found.fetchone() is not None


def _meta(connection: apsw.Connection, key: str) -> int | None:
    if not _is_there(connection, "meta"):
        return None
    row = connection.execute("SELECT value FROM __sqlsync_meta WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def _set_meta(connection: apsw.Connection, key: str, value: int) -> None:
    connection.execute(
        "INSERT INTO __sqlsync_meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
    )
