"""The row difference of one table between two versions, given the pages that differ.

Which rows may differ comes from the pages (`graft_sqlite_vfs.diff.payloads`). What their columns hold comes from
SQLite, so that defaults, generated columns, encodings and collations are what every query sees.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from graft_sqlite_vfs.btree.records import Value, first_values
from graft_sqlite_vfs.diff.changed_pages import Sides
from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.overflow import Owner
from graft_sqlite_vfs.diff.payloads import Rowids, differing_rowids, payload_set, whole_payload
from graft_sqlite_vfs.diff.tables import Table, select
from graft_sqlite_vfs.diff.version import Version

Kind: TypeAlias = Literal["insert", "update", "delete"]
Values: TypeAlias = tuple[Value, ...]
Row: TypeAlias = dict[str, Value]

_ROWS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row that differs between two versions."""

    table: str
    kind: Kind
    key: Values
    """The values of its declared primary key, else its rowid."""
    before: Row | None
    """The row in the older version by column; None if it was not there."""
    after: Row | None
    """The row in the newer version by column; None if it is not there."""

    @property
    def changed_columns(self) -> tuple[str, ...]:
        """The columns whose values differ; those of a whole row if only one version has it."""
        if self.before is None or self.after is None:
            return tuple(self.before or self.after or ())
        names = dict.fromkeys([*self.before, *self.after])
        return tuple(name for name in names if not same((self.before.get(name),), (self.after.get(name),)))


@dataclass(frozen=True, slots=True)
class Side:
    """One table in one version; ``table`` is None where the version does not have it."""

    version: Version
    table: Table | None

    def by_rowid(self, rowids: Rowids) -> dict[int, Values]:
        """Return the rows with these rowids."""
        table = self.table
        if table is None or not len(rowids):
            return {}
        assert table.rowid, "BUG: the rows of a table without rowids were asked for by rowid"
        where = f"WHERE {quoted(table.rowid)} IN (SELECT value FROM json_each(?))"  # noqa: S608 - quoted
        query = select(table, (table.rowid, *table.columns), where)
        return {int(row[0]): row[1:] for row in self.version.query(query, (json.dumps(rowids.tolist()),))}  # type: ignore[arg-type]

    def by_key(self, key: Values) -> Values | None:
        """Return the row with this primary key."""
        table = self.table
        if table is None:
            return None
        # The key may have other collations than its columns.
        terms = zip(table.key, table.collations, strict=True)
        where = "WHERE " + " AND ".join(
            f"{quoted(column)} = ? COLLATE {quoted(collation)}" for column, collation in terms
        )
        return next(iter(self.version.query(select(table, table.columns, where), key)), None)

    def row(self, values: Values | None) -> Row | None:
        """Return values by column."""
        return None if values is None or self.table is None else dict(zip(self.table.columns, values, strict=True))


def same(one: Sequence[Value], other: Sequence[Value]) -> bool:
    """Return whether values are equal and of the same types, as 1 and 1.0 are not."""
    return len(one) == len(other) and all(
        mine == theirs and type(mine) is type(theirs) for mine, theirs in zip(one, other, strict=True)
    )


def rowid_changes(before: Side, after: Side, pages: Sides, owned: Iterable[Owner]) -> Iterator[RowChange]:
    """Yield the changes of a table with rowids, which may be in one version only; ascending if that is its key."""
    mine, theirs = pages.row_pages(before.version, after.version)
    extra = np.array([int(owner.cells.rowids[owner.cell]) for owner in owned], np.int64)
    batches = _batches(differing_rowids(before.version, mine, after.version, theirs), np.unique(extra))
    table = after.table or before.table
    assert table is not None, "BUG: a table that is in neither version"
    if table.key and not table.key_is_rowid:
        yield from _matched(before, after, (pair for rowids in batches for pair in _pairs(before, after, rowids)))
        return
    for rowids in batches:
        yield from rows_differing(before, after, rowids)


def rows_differing(before: Side, after: Side, rowids: Rowids) -> Iterator[RowChange]:
    """Yield the changes among the rows with these rowids, identified by them."""
    for start in range(0, len(rowids), _ROWS_AT_ONCE):
        for rowid, old, new in _pairs(before, after, rowids[start : start + _ROWS_AT_ONCE]):
            yield from _changes(before, after, (rowid,), old, new)


def keyed_changes(before: Side, after: Side, pages: Sides, owned: Iterable[Owner]) -> Iterator[RowChange]:
    """Yield the changes of a table without rowids."""
    mine, theirs = payload_set(before.version, pages.before.rows()), payload_set(after.version, pages.after.rows())
    differing = [(before, payload) for payload in mine - theirs] + [(after, payload) for payload in theirs - mine]
    differing += [(after, whole_payload(after.version, owner.cells, owner.cell)) for owner in owned]
    seen = set()
    for side, payload in differing:
        assert side.table is not None, "BUG: rows of a table that is not there"
        key = first_values(payload, len(side.table.key), side.version.encoding)
        old, new = before.by_key(key), after.by_key(key)
        # Keys that a collation holds for equal name the same row.
        if (old, new) not in seen:
            seen.add((old, new))
            shown = after if new is not None else before
            yield from _changes(before, after, _key_of(shown, new or old), old, new)


def _batches(rowids: Iterator[Rowids], extra: Rowids) -> Iterator[Rowids]:
    """Yield rowids in batches that are read together; ``extra`` ones at their places among them."""
    for found in rowids:
        here = int(np.searchsorted(extra, found[-1], side="right"))
        merged, extra = np.union1d(found, extra[:here]), extra[here:]
        for start in range(0, len(merged), _ROWS_AT_ONCE):
            yield merged[start : start + _ROWS_AT_ONCE]
    if len(extra):
        yield extra


def _pairs(before: Side, after: Side, rowids: Rowids) -> Iterator[tuple[int, Values | None, Values | None]]:
    old, new = before.by_rowid(rowids), after.by_rowid(rowids)
    for rowid in rowids.tolist():
        yield rowid, old.get(rowid), new.get(rowid)


def _matched(
    before: Side, after: Side, pairs: Iterable[tuple[int, Values | None, Values | None]]
) -> Iterator[RowChange]:
    """Match rows by the declared key instead of by rowid."""
    old: dict[object, Values] = {}
    new: dict[object, Values] = {}
    for rowid, mine, theirs in pairs:
        for side, values, found in ((before, mine, old), (after, theirs, new)):
            if values is not None:
                key = _key_of(side, values)
                found[(rowid,) if None in key else _folded(side, key)] = values
    for name in dict.fromkeys([*old, *new]):
        mine, theirs = old.get(name), new.get(name)
        side = after if theirs is not None else before
        yield from _changes(before, after, _key_of(side, theirs or mine), mine, theirs)


def _changes(before: Side, after: Side, key: Values, old: Values | None, new: Values | None) -> Iterator[RowChange]:
    if old is None and new is None:
        return
    mine, theirs = before.row(old), after.row(new)
    table = (after.table or before.table).name  # type: ignore[union-attr]  # one of them is there
    kind: Kind = "insert" if mine is None else "delete" if theirs is None else "update"
    change = RowChange(table, kind, key, mine, theirs)
    if kind != "update" or change.changed_columns:
        yield change


def _key_of(side: Side, values: Values | None) -> Values:
    table = side.table
    assert table is not None, "BUG: a row of a table that is not there"
    assert values is not None, "BUG: a change without a row"
    places = {column: place for place, column in enumerate(table.columns)}
    return tuple(values[places[column]] for column in table.key)


def _folded(side: Side, key: Values) -> tuple[object, ...]:
    """Return a key such that two are equal if SQLite's built-in collations hold them for equal."""
    assert side.table is not None, "BUG: a row of a table that is not there"
    return tuple(fold(value, collation) for value, collation in zip(key, side.table.collations, strict=True))


def fold(value: Value, collation: str) -> object:
    """Return what stands for a value in comparisons under a built-in collation; any other counts as BINARY."""
    if isinstance(value, str):
        name = collation.upper()
        if name == "NOCASE":
            return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in value)
        return value.rstrip(" ") if name == "RTRIM" else value
    return value
