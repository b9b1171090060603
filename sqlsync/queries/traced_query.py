"""Runs a query and traces it: which trees it reads, and which of its columns identify rows."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import apsw

from sqlsync.queries.read_set import MODULES_SQL, SCHEMA_SQL, Reads, SchemaRow, roots_read
from sqlsync.queries.row_diff import Row
from sqlsync.reducers.reducer import Bindings

_PRIMARY_KEY_SQL = "SELECT name FROM pragma_table_info(?) WHERE pk > 0"
Origin = tuple[str, str | None]
"""The table and column from which a result column comes."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A query's result and its origin."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    roots: frozenset[int] | None
    """The root pages of the trees that it reads, None if unknown."""
    key: tuple[int, ...]
    """The indexes of the columns that are primary keys of the tables read."""

    def places(self, key: Sequence[str] | None) -> Sequence[int]:
        """Return the indexes of the columns ``key``, or of its own key for None; `ValueError` for a missing column."""
        if key is None:
            return self.key
        missing = [name for name in key if name not in self.columns]
        if missing:
            raise ValueError(f"the result has no column {', '.join(missing)}; it has {', '.join(self.columns)}")
        return [self.columns.index(name) for name in key]


def examine(
    connection: apsw.Connection,
    noting: Callable[[Reads], AbstractContextManager[None]],
    sql: str,
    bindings: Bindings,
) -> Examined:
    """Run a query; while ``noting`` is entered, the connection's authorizer passes on its calls.

    Raises `ValueError` unless it is one statement with rows, apsw's errors, and those of the volume.
    """
    descriptions: list[tuple[tuple[str, str | None, str | None, str | None, str | None], ...]] = []

    def traced(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
        descriptions.append(cursor.description_full if cursor.get_description() else ())
        return True

    reads, cursor = Reads(), connection.cursor()
    cursor.exec_trace = traced
    with noting(reads):  # a cached statement would not call the authorizer
        rows = tuple(cursor.execute(sql, bindings, can_cache=False).fetchall())
    if len(descriptions) != 1 or not descriptions[0]:
        raise ValueError(f"a live query must be one statement with rows, not {len(descriptions)} statements: {sql}")
    schema = [SchemaRow(*row) for row in connection.execute(SCHEMA_SQL)]
    origins = [None if table is None else (table, column) for _, _, _, table, column in descriptions[0]]
    return Examined(
        columns=tuple(column[0] for column in descriptions[0]),
        rows=rows,
        roots=roots_read(reads, schema, {name.lower() for (name,) in connection.execute(MODULES_SQL)}),
        key=_key(connection, origins),
    )


def _key(connection: apsw.Connection, origins: Sequence[Origin | None]) -> tuple[int, ...]:
    """Return the indexes of all columns of complete primary keys; the first index of each column."""
    found: list[int] = []
    for table in dict.fromkeys(origin[0] for origin in origins if origin is not None):
        names = [name for (name,) in connection.execute(_PRIMARY_KEY_SQL, (table,))]
        if all((table, name) in origins for name in names):
            found += [origins.index((table, name)) for name in names]
    return tuple(found)
