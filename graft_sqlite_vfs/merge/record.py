"""The table ``graft_conflicts``: conflicts that a merge left for people to resolve, in the database itself."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import apsw
import xxhash

from graft.errors import BadRequest
from graft_sqlite_vfs.diff.rows import Row, Values
from graft_sqlite_vfs.merge.conflicts import Conflict
from graft_sqlite_vfs.merge.target import Target

TABLE = "graft_conflicts"
_SCHEMA = f"""CREATE TABLE IF NOT EXISTS main.{TABLE}(
    id TEXT PRIMARY KEY, "table" TEXT NOT NULL, "key" TEXT NOT NULL, kind TEXT NOT NULL,
    base TEXT, ours TEXT, theirs TEXT, detail TEXT NOT NULL)"""


@dataclass(frozen=True, slots=True)
class RecordedConflict:
    """A conflict that waits for somebody to resolve it; its row is as theirs had it."""

    id: str
    table: str
    key: Values
    kind: str
    base: Row | None
    ours: Row | None
    theirs: Row | None
    detail: str


def recorded(connection: apsw.Connection) -> list[RecordedConflict]:
    """Return the conflicts that are recorded in a database, by table and key."""
    if not connection.table_exists("main", TABLE):
        return []
    rows = connection.execute(f'SELECT * FROM main.{TABLE} ORDER BY "table", "key", id')  # noqa: S608 - a constant
    return [
        RecordedConflict(
            str(name), str(table), tuple(_from_json(str(key))), str(kind), _row(base), _row(ours), _row(theirs),
            str(detail),
        )
        for name, table, key, kind, base, ours, theirs, detail in rows
    ]  # fmt: skip


def resolve(connection: apsw.Connection, name: str, take: Literal["ours", "theirs"] | Row | None) -> RecordedConflict:
    """Make the row of a recorded conflict ours, theirs or another one (None deletes it), and forget the conflict.

    One transaction, in which triggers fire as for any change. Raises `BadRequest` for an unknown conflict, and for one
    over a definition, which is resolved by SQL and by deleting its row from the table ``graft_conflicts``.
    """
    with connection:
        found = _named(connection, name)
        row = found.ours if take == "ours" else found.theirs if take == "theirs" else take
        table = Target(connection).table(found.table)
        if take != "theirs":
            if found.kind == "schema" or table is None:
                raise BadRequest(
                    f"conflict {name} is over the definition of {found.table}: change it by SQL, then "
                    f"delete it from {TABLE}"
                )
            target = Target(connection)
            here = target.find(table, found.key)
            if here is not None:
                target.delete(table, here[0])
            if row is not None:
                target.insert(table, row)
        connection.execute(f"DELETE FROM main.{TABLE} WHERE id = ?", (name,))  # noqa: S608 - a constant
    return found


def _named(connection: apsw.Connection, name: str) -> RecordedConflict:
    for one in recorded(connection):
        if one.id == name:
            return one
    raise BadRequest(f"no conflict {name} is recorded here; `graft conflicts` lists them")


def record(connection: apsw.Connection, conflicts: Iterable[Conflict]) -> None:
    """Write conflicts down; one that is there already is not written again."""
    connection.execute(_SCHEMA)
    for conflict in conflicts:
        fields = [
            conflict.table, as_json(conflict.key), conflict.kind,
            *(None if row is None else as_json(row) for row in (conflict.base, conflict.ours, conflict.theirs)),
            conflict.detail,
        ]  # fmt: skip
        name = xxhash.xxh3_64_hexdigest(json.dumps(fields).encode())
        connection.execute(f"INSERT OR IGNORE INTO main.{TABLE} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [name, *fields])  # noqa: S608


def as_json(value: Row | Values) -> str:
    """Return values as JSON; a blob is ``{"blob": hexadecimal}``."""
    return json.dumps(value, default=lambda blob: {"blob": bytes(blob).hex()}, ensure_ascii=False)


def _row(text: object) -> Row | None:
    return None if text is None else dict(_from_json(str(text)))


def _from_json(text: str) -> Any:
    """Return what `as_json` wrote."""
    return json.loads(text, object_hook=lambda each: bytes.fromhex(each["blob"]) if set(each) == {"blob"} else each)
