"""A row difference as SQL: statements that turn the older version into the newer one.

    settings    foreign keys are not enforced meanwhile, since every effect of them is among the rows already
    take away   triggers, for the same reason; indexes and views that go or change; tables that go
    tables      rows that go; a table whose columns change is made anew around the rows that stay; rows that come
    put back    indexes, views and triggers

Generated columns are left out: SQLite computes them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.diff.difference import Difference
from graft_sqlite_vfs.diff.names import literal, quoted
from graft_sqlite_vfs.diff.rows import Row, RowChange, same
from graft_sqlite_vfs.diff.tables import Table, select
from graft_sqlite_vfs.diff.virtual import module_of

_FULL_TEXT = {"fts3", "fts4", "fts5"}
_SETTINGS = ("user_version", "application_id")


def statements(difference: Difference, tables: Collection[str] | None = None) -> Iterator[str]:
    """Yield statements without their semicolons; nothing if the versions are the same.

    They begin with a pragma that has no effect in a transaction, so run them outside of one: they have their own.
    With ``tables``, those of these tables and what belongs to them, without views.
    """
    wanted = difference.named(tables)
    within = None if tables is None else set(wanted)
    body = _Body(difference, wanted, within).statements()
    first = next(body, None)
    if first is None:
        return
    yield "PRAGMA foreign_keys = OFF"
    yield "PRAGMA legacy_alter_table = ON"
    yield "BEGIN"
    yield first
    yield from body
    yield "COMMIT"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An index, trigger or view."""

    type: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True, slots=True)
class _Body:
    difference: Difference
    tables: Sequence[str]
    within: set[str] | None

    def statements(self) -> Iterator[str]:
        rows = (statement for name in self.tables for statement in self._of_table(name))
        first = next(rows, None)
        old, new = (self._entries(side) for side in (0, 1))
        remade = {name for name in self.tables if self._is_remade(name)}
        touched = first is not None or bool(remade)
        going = [
            entry for entry in old
            if entry not in new or entry.table in remade or (entry.type == "trigger" and touched)
        ]  # fmt: skip
        for entry in sorted(going, key=lambda entry: _DROPPED.index(entry.type)):
            yield f"DROP {entry.type.upper()} {quoted(entry.name)}"
        if first is not None:
            yield first
            yield from rows
        if self.within is None:
            yield from self._sequences()
        for entry in sorted(new, key=lambda entry: _MADE.index(entry.type)):
            if entry not in old or entry in going:
                yield entry.sql
        if self.within is None:
            yield from self._settings()

    def _entries(self, side: int) -> list[_Entry]:
        """Return the indexes, triggers and views of a version, in the order in which they were made."""
        version = (self.difference.before, self.difference.after)[side]
        found = version.query(
            "SELECT type, name, tbl_name, sql FROM main.sqlite_schema "
            "WHERE type IN ('index', 'trigger', 'view') AND sql IS NOT NULL ORDER BY rowid"
        )
        shadows = self.difference.shadows
        entries = (_Entry(*map(str, row)) for row in found)
        return [
            entry for entry in entries
            if entry.table not in shadows and (self.within is None or entry.table in self.within)
        ]  # fmt: skip

    def _is_remade(self, name: str) -> bool:
        before, after = self.difference.tables[name]
        return before is None or after is None or before.sql != after.sql

    def _of_table(self, name: str) -> Iterator[str]:
        before, after = self.difference.tables[name]
        if after is None:
            yield f"DROP TABLE {quoted(name)}"
        elif before is None or (before.sql != after.sql and not _keeps_rows(before, after)):
            if before is not None:
                yield f"DROP TABLE {quoted(name)}"
            yield after.sql
            for row in self.difference.after.query(select(after, _names_read(after), "")):
                yield _insert_values(after, row)
        elif before.sql != after.sql:
            changes = list(self.difference.rows([name]))
            yield from (_delete(before, change) for change in changes if change.before is not None)
            yield from _remake(before, after)
            yield from (_insert(after, change) for change in changes if change.after is not None)
        else:
            yield from self._of_rows(before, after)

    def _of_rows(self, before: Table, after: Table) -> Iterator[str]:
        """Yield the statements for rows; where two could collide on the way, all that go first."""
        if after.is_virtual or self._has_unique_index(after):
            changes = list(self.difference.rows([after.name]))
            yield from (_delete(before, change) for change in changes if change.before is not None)
            yield from (_insert(after, change) for change in changes if change.after is not None)
            return
        for change in self.difference.rows([after.name]):
            if change.after is None:
                yield _delete(before, change)
            elif change.before is None:
                yield _insert(after, change)
            elif updated := _update(after, change.before, change.after, change):
                yield updated

    def _has_unique_index(self, table: Table) -> bool:
        found = self.difference.before.query(
            "SELECT count(*) FROM pragma_index_list(?, 'main') WHERE \"unique\" AND origin <> 'pk'", (table.name,)
        )
        return bool(found[0][0]) or (bool(table.key) and not table.key_is_rowid and not table.without_rowid)

    def _sequences(self) -> Iterator[str]:
        """Yield what sets the counters of AUTOINCREMENT, which SQLite keeps in a table of its own."""
        for change in self.difference.rows_of("sqlite_sequence"):
            for row, is_new in ((change.before, False), (change.after, True)):
                if row is not None and row["name"] not in self._without_counter():
                    yield f"DELETE FROM sqlite_sequence WHERE name = {literal(row['name'])}"  # noqa: S608 - quoted
                    if is_new:
                        values = f"{literal(row['name'])}, {literal(row['seq'])}"
                        yield f"INSERT INTO sqlite_sequence(name, seq) VALUES ({values})"  # noqa: S608 - quoted

    def _without_counter(self) -> set[str]:
        """Return the tables that are dropped, whose counters go with them."""
        return {name for name, (_, after) in self.difference.tables.items() if after is None}

    def _settings(self) -> Iterator[str]:
        for name in _SETTINGS:
            old, new = (
                version.connection.pragma(name, schema="main")
                for version in (self.difference.before, self.difference.after)
            )
            if old != new:
                yield f"PRAGMA {name} = {new}"


_DROPPED = ("trigger", "view", "index")
_MADE = ("index", "view", "trigger")


def _keeps_rows(before: Table, after: Table) -> bool:
    """Return whether rows of the older table can stay in one with other columns."""
    return (
        not before.is_virtual
        and not after.is_virtual
        and (len(before.key), before.without_rowid) == (len(after.key), after.without_rowid)
        and before.key == after.key
    )


def _remake(before: Table, after: Table) -> Iterator[str]:
    """Yield what makes a table anew around the rows of the older one that are left.

    A column that has another name at the same place was renamed: ``ALTER TABLE`` wrote no row then. If it was not, all
    rows were written, and none of them is left here.
    """
    aside = quoted(f"graft_before_{after.name}")
    pairs = [(column, column) for column in after.stored if column in before.stored]
    pairs += [
        (old, new)
        for old, new in zip(before.stored, after.stored, strict=False)
        if old not in after.stored and new not in before.stored
    ]
    if after.rowid and before.rowid and not after.key_is_rowid:
        pairs.append((before.rowid, after.rowid))
    into, values = (", ".join(quoted(pair[place]) for pair in pairs) for place in (1, 0))
    yield f"ALTER TABLE {quoted(before.name)} RENAME TO {aside}"
    yield after.sql
    yield f"INSERT INTO {quoted(after.name)}({into}) SELECT {values} FROM {aside}"  # noqa: S608 - quoted
    yield f"DROP TABLE {aside}"


def _names_read(table: Table) -> tuple[str, ...]:
    return (table.rowid, *table.stored) if table.rowid and _needs_rowid(table) else table.stored


def _needs_rowid(table: Table) -> bool:
    """Return whether a row is told by a rowid that is none of its columns."""
    if table.is_virtual:
        return module_of(table) in _FULL_TEXT
    return not table.key


def _insert(table: Table, change: RowChange) -> str:
    assert change.after is not None, "BUG: a row that is not there"
    row = change.after
    values: tuple[Value, ...] = tuple(row[column] for column in table.stored)
    if table.rowid and _needs_rowid(table):
        values = (change.key[0], *values)
    return _insert_values(table, values)


def _insert_values(table: Table, values: Sequence[Value]) -> str:
    columns = ", ".join(map(quoted, _names_read(table)))
    return f"INSERT INTO {quoted(table.name)}({columns}) VALUES ({', '.join(map(literal, values))})"  # noqa: S608 - quoted


def _update(table: Table, old: Row, new: Row, change: RowChange) -> str | None:
    changed = [column for column in table.stored if not same((old[column],), (new[column],))]
    if not changed:
        return None  # a generated column alone
    values = ", ".join(f"{quoted(column)} = {literal(new[column])}" for column in changed)
    return f"UPDATE {quoted(table.name)} SET {values} WHERE {_where(table, change, old)}"  # noqa: S608 - quoted


def _delete(table: Table, change: RowChange) -> str:
    assert change.before is not None, "BUG: a row that is not there"
    return f"DELETE FROM {quoted(table.name)} WHERE {_where(table, change, change.before)}"  # noqa: S608 - quoted


def _where(table: Table, change: RowChange, row: Row) -> str:
    if not table.key or table.is_virtual:
        return f"{quoted(table.rowid or table.columns[0])} = {literal(change.key[0])}"
    if None in (key := [row[column] for column in table.key]):
        # Any number of rows may have this key, also equal ones: one of them is meant.
        terms = " AND ".join(f"{quoted(column)} IS {literal(row[column])}" for column in table.stored)
        rowid = quoted(table.rowid or "rowid")
        return f"{rowid} = (SELECT {rowid} FROM {quoted(table.name)} WHERE {terms} LIMIT 1)"  # noqa: S608 - quoted
    return " AND ".join(
        f"{quoted(column)} = {literal(value)}" + (f" COLLATE {quoted(collation)}" if _is_collated(table, value) else "")
        for column, value, collation in zip(table.key, key, table.collations, strict=True)
    )


def _is_collated(table: Table, value: Value) -> bool:
    """Return whether a comparison names its collation: a column's may be another than its key's."""
    return isinstance(value, str) and "collate" in table.sql.lower()
