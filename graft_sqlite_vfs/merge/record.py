"""The table ``graft_conflicts``: conflicts that a merge left for people to resolve, in the database itself."""

import json
from collections.abc import Iterable

import apsw
import xxhash

from graft_sqlite_vfs.diff.rows import Row, Values
from graft_sqlite_vfs.merge.conflicts import Conflict

TABLE = "graft_conflicts"
_SCHEMA = f"""CREATE TABLE IF NOT EXISTS main.{TABLE}(
    id TEXT PRIMARY KEY, "table" TEXT NOT NULL, "key" TEXT NOT NULL, kind TEXT NOT NULL,
    base TEXT, ours TEXT, theirs TEXT, detail TEXT NOT NULL)"""


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


def row_from_json(text: str | None) -> Row | None:
    """Return what `as_json` wrote of a row."""
    if text is None:
        return None
    found = json.loads(text, object_hook=lambda each: bytes.fromhex(each["blob"]) if set(each) == {"blob"} else each)
    return dict(found)
