"""The database that a merge changes: rows read, written and deleted by the identity of a table."""

from collections.abc import Sequence

import apsw

from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.rows import Row, Values
from graft_sqlite_vfs.diff.tables import Table, schema_of, table_of


class Target:
    """One side of the merge, which the other side's changes are made to."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Change the database of ``connection``, which has no triggers and foreign keys on."""
        self.connection = connection
        self._tables: dict[str, Table | None] = {}
        self._unique_of: dict[str, list[list[tuple[str, str]]]] = {}

    def table(self, name: str) -> Table | None:
        """Return a table as it is here; None if it is not."""
        if name not in self._tables:
            entry = schema_of(self.connection).get(("table", name))
            self._tables[name] = table_of(self.connection, entry) if entry else None
        return self._tables[name]

    def schema_changed(self) -> None:
        """Read tables again."""
        self._tables.clear()
        self._unique_of.clear()

    def find(self, table: Table, key: Values) -> tuple[Values, Row] | None:
        """Return the row with this identity, and how to address it."""
        where, bindings = self._where(table, key)
        return self._one(table, where, bindings)

    def find_equal(self, table: Table, row: Row) -> tuple[Values, Row] | None:
        """Return a row with these values."""
        names = [name for name in row if name in table.columns]
        where = " AND ".join(f"{quoted(name)} IS ?" for name in names)
        return self._one(table, where, [row[name] for name in names])

    def colliding(self, table: Table, row: Row) -> list[tuple[Values, Row]]:
        """Return the rows that a unique index does not allow beside this one."""
        found: dict[Values, Row] = {}
        for columns in self._unique(table):
            if all(row.get(name) is not None for name, _ in columns):
                where = " AND ".join(f"{quoted(name)} = ? COLLATE {quoted(collation)}" for name, collation in columns)
                one = self._one(table, where, [row[name] for name, _ in columns])
                if one:
                    found[one[0]] = one[1]
        return list(found.items())

    def insert(self, table: Table, row: Row, rowid: int | None = None) -> None:
        """Insert a row; raises `apsw.ConstraintError`."""
        names = [name for name in table.stored if name in row]
        values = [row[name] for name in names]
        if rowid is not None and table.rowid and table.rowid not in names:
            names, values = [table.rowid, *names], [rowid, *values]
        places = ", ".join("?" * len(names))
        columns = ", ".join(map(quoted, names))
        query = f"INSERT INTO main.{quoted(table.name)}({columns}) VALUES ({places})"  # noqa: S608 - quoted
        self.connection.execute(query, values)

    def update(self, table: Table, address: Values, row: Row, columns: Sequence[str]) -> None:
        """Set some columns of the row at an address; raises `apsw.ConstraintError`."""
        names = [name for name in columns if name in table.stored]
        if names:
            where, bindings = self._at(table, address)
            changes = ", ".join(f"{quoted(name)} = ?" for name in names)
            self.connection.execute(
                f"UPDATE main.{quoted(table.name)} SET {changes} WHERE {where}",  # noqa: S608 - quoted
                [*(row[name] for name in names), *bindings],
            )

    def delete(self, table: Table, address: Values) -> None:
        """Delete the row at an address."""
        where, bindings = self._at(table, address)
        self.connection.execute(f"DELETE FROM main.{quoted(table.name)} WHERE {where}", bindings)  # noqa: S608 - quoted

    def touches_unique(self, table: Table, columns: Sequence[str]) -> bool:
        """Return whether a unique index has one of these columns."""
        unique = {name for index in self._unique(table) for name, _ in index}
        return not unique.isdisjoint(columns)

    def _one(self, table: Table, where: str, bindings: Sequence[Value]) -> tuple[Values, Row] | None:
        address = (table.rowid,) if table.rowid else table.key
        names = ", ".join(map(quoted, (*address, *table.columns)))
        query = f"SELECT {names} FROM main.{quoted(table.name)} WHERE {where} LIMIT 1"  # noqa: S608 - quoted
        found = self.connection.execute(query, bindings).fetchone()
        if found is None:
            return None
        return found[: len(address)], dict(zip(table.columns, found[len(address) :], strict=True))

    def _where(self, table: Table, key: Values) -> tuple[str, Values]:
        if not table.key or table.key_is_rowid:
            return f"{quoted(table.rowid or '')} = ?", key
        terms = zip(table.key, table.collations, strict=True)
        return " AND ".join(f"{quoted(name)} = ? COLLATE {quoted(collation)}" for name, collation in terms), key

    def _at(self, table: Table, address: Values) -> tuple[str, Values]:
        if table.rowid:
            return f"{quoted(table.rowid)} = ?", address
        where, bindings = self._where(table, address)
        return where, bindings

    def _unique(self, table: Table) -> list[list[tuple[str, str]]]:
        """Return the columns of each unique index, with their collations; not those with expressions or conditions."""
        if table.name in self._unique_of:
            return self._unique_of[table.name]
        found = []
        for name, is_partial in self.connection.execute(
            "SELECT name, partial FROM pragma_index_list(?, 'main') WHERE \"unique\"", (table.name,)
        ).fetchall():
            columns = self.connection.execute(
                "SELECT name, coll FROM pragma_index_xinfo(?, 'main') WHERE key", (name,)
            ).fetchall()
            if not is_partial and all(column is not None for column, _ in columns):
                found.append([(str(column), str(collation)) for column, collation in columns])
        if table.key_is_rowid:
            found.append([(table.key[0], "BINARY")])
        self._unique_of[table.name] = found
        return found
