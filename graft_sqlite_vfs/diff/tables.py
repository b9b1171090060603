"""The tables of a version, as SQLite describes them."""

import re
from dataclasses import dataclass

import apsw

from graft_sqlite_vfs.diff.names import quoted

_VISIBLE = {0, 2, 3}
"""``hidden`` of `PRAGMA table_xinfo`: ordinary columns and generated ones, not those that virtual tables hide."""
_GENERATED = {2, 3}
_CONTENT = re.compile(r"""[,(]\s*content\s*=\s*('[^']*'|"[^"]*"|\w+)""", re.IGNORECASE)
_ROWID_NAMES = ("rowid", "_rowid_", "oid")

SchemaEntry = tuple[str, str, str, int, str | None]
"""type, name, table, root page, SQL."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that holds rows of its own or, if it is virtual, shows those of others."""

    name: str
    root: int
    """0 for a virtual table."""
    sql: str
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    """The columns that can be written: not those that are generated."""
    key: tuple[str, ...]
    """The declared primary key; empty if there is none."""
    collations: tuple[str, ...]
    """Of the key's columns."""
    rowid: str | None
    """The name by which SQL reads the rowid; None where there is none, or every name for it is another column's."""
    key_is_rowid: bool
    without_rowid: bool
    is_virtual: bool = False

    def content_table(self) -> str | None:
        """Return the table whose content a full-text index is over; None if it is no such index or has its own."""
        found = _CONTENT.search(self.sql) if self.is_virtual else None
        return found.group(1).strip("'\"") or None if found else None

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that tell rows apart: the declared key, else the rowid."""
        return self.key or ((self.rowid,) if self.rowid else self.columns)


def schema_of(connection: apsw.Connection) -> dict[tuple[str, str], SchemaEntry]:
    """Return the schema by type and name."""
    rows = connection.execute("SELECT type, name, tbl_name, coalesce(rootpage, 0), sql FROM main.sqlite_schema")
    return {(row[0], row[1]): row for row in rows}


def shadow_names(connection: apsw.Connection) -> dict[str, str]:
    """Return the tables that virtual tables store their content in, each with the name of its virtual table."""
    listed = connection.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main'")
    kinds = {str(name): kind for name, kind in listed}
    virtual = sorted((name for name, kind in kinds.items() if kind == "virtual"), key=len, reverse=True)
    found: dict[str, str] = {}
    for name, kind in kinds.items():
        if kind == "shadow":
            found[name] = next(owner for owner in virtual if name.lower().startswith(owner.lower() + "_"))
    return found


def table_of(connection: apsw.Connection, entry: SchemaEntry) -> Table:
    """Return what SQLite says of a table, given its entry in the schema."""
    _, name, _, root, sql = entry
    info: list[tuple[str, int, int]] = list(
        connection.execute("SELECT name, pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid", (name,))
    )
    columns = [column for column in info if column[2] in _VISIBLE]
    key = tuple(column for column, pk, _ in sorted(columns, key=lambda column: column[1]) if pk)
    without_rowid = bool(connection.execute("SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (name,)).get)
    index = connection.execute("SELECT name FROM pragma_index_list(?, 'main') WHERE origin = 'pk'", (name,)).get
    listed = connection.execute("SELECT name, coll FROM pragma_index_xinfo(?, 'main') WHERE key", (index,))
    collations = {str(column): str(collation) for column, collation in listed}
    taken = {column.lower() for column, *_ in info}
    key_is_rowid = len(key) == 1 and index is None and not without_rowid
    rowid = next((alias for alias in _ROWID_NAMES if alias not in taken), key[0] if key_is_rowid else None)
    return Table(
        name=name, root=root, sql=sql or "", columns=tuple(column for column, *_ in columns),
        stored=tuple(column for column, _, hidden in columns if hidden not in _GENERATED),
        key=key, collations=tuple(collations.get(column, "BINARY") for column in key),
        rowid=None if without_rowid else rowid, key_is_rowid=key_is_rowid,
        without_rowid=without_rowid, is_virtual=root == 0,
    )  # fmt: skip


def select(table: Table, columns: tuple[str, ...], where: str) -> str:
    """Return a query of some columns of a table."""
    return f"SELECT {', '.join(map(quoted, columns))} FROM main.{quoted(table.name)} {where}"  # noqa: S608 - quoted
