"""Conflict resolution for reducers: each strategy is a function that writes one row.

`last_writer_wins`    the newest call wins the whole row, whenever it arrives
`merge_by_field`      the newest call wins each column separately
`reject_on_conflict`  a call made on an older version of the row is rejected

"Newest" compares the times of the calls by the clients' clocks; timeline and LSN break ties, so that all replicas
agree. Each strategy stores its state in one additional column of the application's table.
"""

import json
from collections.abc import Mapping

from sqlsync.envelope import Mutation
from sqlsync.reducers.reducer import ReducerContext, SQLValue

Row = Mapping[str, SQLValue]
_CLOCK_ZERO = 2**63


def stamp_of(mutation: Mutation) -> str:
    """Return text that sorts by the time of the call and is different for every mutation."""
    return f"{mutation.now_us + _CLOCK_ZERO:020d}-{mutation.timeline.raw.hex()}-{mutation.lsn:020d}"


def last_writer_wins(context: ReducerContext, table: str, key: Row, values: Row, *, stamp: str = "stamp") -> bool:
    """Write a row unless a newer call has written it; return whether it was written.

    ``key`` identifies the row (its columns have a UNIQUE or PRIMARY KEY constraint); ``stamp`` names a TEXT column.
    """
    row = {**key, **values, stamp: stamp_of(context.mutation)}
    updates = ", ".join(f"{_name(column)} = excluded.{_name(column)}" for column in (*values, stamp))
    changed = context.execute(
        f"{_insert(table, row)} ON CONFLICT ({_names(key)}) DO UPDATE SET {updates} "
        f"WHERE {_name(table)}.{_name(stamp)} IS NULL OR {_name(table)}.{_name(stamp)} < excluded.{_name(stamp)}",
        tuple(row.values()),
    )
    return changed > 0


def merge_by_field(
    context: ReducerContext, table: str, key: Row, values: Row, *, stamps: str = "stamps"
) -> frozenset[str]:
    """Write the columns of a row that no newer call has written; return their names.

    ``stamps`` names a TEXT column for a JSON object with the newest call of each column.
    """
    mine, found = stamp_of(context.mutation), _select(context, stamps, table, key)
    known: dict[str, str] = json.loads(str(found[0][0])) if found and found[0][0] is not None else {}
    won = {column: value for column, value in values.items() if known.get(column, "") < mine}
    row = {**won, stamps: json.dumps(known | dict.fromkeys(won, mine), sort_keys=True)}
    if not found:
        row = {**key, **row}
        context.execute(_insert(table, row), tuple(row.values()))
    elif won:
        _update(context, table, row, key)
    return frozenset(won)


def reject_on_conflict(
    context: ReducerContext, table: str, key: Row, values: Row, *, expected: int, version: str = "version"
) -> int:
    """Write a row whose version the caller saw as ``expected`` (0: no row), or reject; return the new version.

    ``version`` names an INTEGER column. Raises `MutationRejected` if another call has changed the row since.
    """
    if expected == 0:
        row = {**key, **values, version: 1}
        changed = context.execute(f"{_insert(table, row)} ON CONFLICT ({_names(key)}) DO NOTHING", tuple(row.values()))
    else:
        changed = _update(context, table, {**values, version: expected + 1}, {**key, version: expected})
    if not changed:
        _refuse(context, table, key, expected, version)
    return expected + 1


def _refuse(context: ReducerContext, table: str, key: Row, expected: int, version: str) -> None:
    found = _select(context, version, table, key)
    row = ", ".join(f"{column} {value!r}" for column, value in key.items())
    now = f"it is now at version {found[0][0]!r}" if found else "it is now deleted"
    saw = f"version {expected}" if expected else "a missing row"
    context.reject(f"{table} {row} was changed by another client: this call was made on {saw}, and {now}")


def _select(context: ReducerContext, column: str, table: str, key: Row) -> list[tuple[SQLValue, ...]]:
    sql = f"SELECT {_name(column)} FROM {_name(table)} WHERE {_equal(key, ' AND ')}"  # noqa: S608 - names are quoted
    return list(context.query(sql, tuple(key.values())))


def _update(context: ReducerContext, table: str, row: Row, key: Row) -> int:
    sql = f"UPDATE {_name(table)} SET {_equal(row, ', ')} WHERE {_equal(key, ' AND ')}"  # noqa: S608 - names are quoted
    return context.execute(sql, (*row.values(), *key.values()))


def _insert(table: str, row: Row) -> str:
    marks = ", ".join("?" * len(row))
    return f"INSERT INTO {_name(table)} ({_names(row)}) VALUES ({marks})"  # noqa: S608 - names are quoted


def _equal(columns: Row, between: str) -> str:
    return between.join(f"{_name(column)} = ?" for column in columns)


def _names(columns: Mapping[str, SQLValue]) -> str:
    return ", ".join(map(_name, columns))


def _name(identifier: str) -> str:
    """Quote the name of a table or column."""
    return '"' + identifier.replace('"', '""') + '"'
