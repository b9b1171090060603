"""The difference between two results of a query; pure.

Rows are identified by their key columns if these are given and unique, else by all their values.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sqlsync.reducers.reducer import SQLValue

Row = tuple[SQLValue, ...]


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row whose values changed under the same key."""

    before: Row
    after: Row


@dataclass(frozen=True, slots=True)
class Change:
    """A query's new result, and its difference from the previous one. In the first result, all rows are added.

    Nothing is added, removed or changed if only the order of rows differs.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    added: tuple[Row, ...]
    removed: tuple[Row, ...]
    changed: tuple[RowChange, ...]


def is_same(before: Sequence[Row], after: Sequence[Row]) -> bool:
    """Return whether two results have the same values, of the same types, in the same order."""
    return before == after and all(
        [type(value) for value in old] == [type(value) for value in new] for old, new in zip(before, after, strict=True)
    )


def difference(
    columns: tuple[str, ...], before: Sequence[Row], after: Sequence[Row], key: Sequence[int] | None
) -> Change:
    """Return how ``after`` differs from ``before``; ``key`` holds the indexes of the columns that identify a row."""
    if key:
        old, new = _by_key(before, key), _by_key(after, key)
        if len(old) == len(before) and len(new) == len(after):
            return Change(
                columns,
                tuple(after),
                added=tuple(row for name, row in new.items() if name not in old),
                removed=tuple(row for name, row in old.items() if name not in new),
                changed=tuple(
                    RowChange(old[name], row)
                    for name, row in new.items()
                    if name in old and _identity(row) != _identity(old[name])
                ),
            )
    return Change(columns, tuple(after), added=_beyond(after, before), removed=_beyond(before, after), changed=())


def _by_key(rows: Sequence[Row], key: Sequence[int]) -> dict[Hashable, Row]:
    return {_identity([row[place] for place in key]): row for row in rows}


def _beyond(rows: Sequence[Row], others: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows that ``others`` lacks, or has less often."""
    left = Counter(_identity(row) for row in others)
    found = []
    for row in rows:
        name = _identity(row)
        if left[name] > 0:
            left[name] -= 1
        else:
            found.append(row)
    return tuple(found)


def _identity(row: Sequence[SQLValue]) -> Hashable:
    """Return a key that distinguishes values as SQLite does: 1 is not 1.0."""
    return tuple((type(value), value) for value in row)
