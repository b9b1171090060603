"""Foreign keys after a merge: whether what it wrote refers to rows that are there, and nothing refers to what it took.

Only the rows that the merge touched are looked up, so violations that were there before are not reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.diff.difference import Difference
from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.rows import Row, RowChange
from graft_sqlite_vfs.diff.tables import Table, select
from graft_sqlite_vfs.merge.conflicts import OURS, Conflict, Decide
from graft_sqlite_vfs.merge.rows import RowMerger
from graft_sqlite_vfs.merge.target import Target


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key: columns of a child that refer to columns of a parent."""

    child: str
    parent: str
    columns: tuple[str, ...]
    referred: tuple[str, ...]


def settle_references(target: Target, merger: RowMerger, difference: Difference, decide: Decide) -> None:
    """Find the foreign keys that the merge has broken, and settle each as a conflict.

    Their side wins by undoing our change. Our side wins by putting back the parent that their side deleted, or by
    deleting what refers to the parent that ours deleted.
    """
    keys = _foreign_keys(target)
    for table, change in merger.written:
        for key in keys:
            row = change.after
            if row is None or key.child.lower() != table.name.lower() or _parent_is_there(target, key, row):
                continue
            detail = f"no row of {key.parent} has {_pairs(key, row)}"
            if _settle(merger, decide, change, detail) == OURS:
                _put_back_parent(target, difference, key, row)
            else:
                _undo(target, table, change)
    for table, change in merger.removed:
        for key in keys:
            row = change.before
            if row is None or key.parent.lower() != table.name.lower() or not _is_orphaned(target, key, row):
                continue
            detail = f"rows of {key.child} refer to it by {', '.join(key.columns)}"
            if _settle(merger, decide, change, detail) == OURS:
                _delete_children(target, key, row)
            else:
                _undo(target, table, change)


def _settle(merger: RowMerger, decide: Decide, change: RowChange, detail: str) -> object:
    conflict = Conflict(change.table, change.key, "foreign key", change.before, change.after, None, detail)
    merger.result.conflicts.append(conflict)
    decision = decide(conflict)
    if decision is None:
        merger.result.unsettled.append(conflict)
    return decision


def _undo(target: Target, table: Table, change: RowChange) -> None:
    """Make a row what it was before our change."""
    found = target.find(table, change.key)
    if found:
        target.delete(table, found[0])
    if change.before is not None:
        target.insert(table, change.before)


def _put_back_parent(target: Target, difference: Difference, key: ForeignKey, child: Row) -> None:
    parent = target.table(key.parent)
    where = " AND ".join(f"{quoted(name)} = ?" for name in key.referred)
    if parent is None or not key.referred:
        return
    query = select(parent, parent.stored, f"WHERE {where}")
    for row in difference.after.query(query, [child.get(name) for name in key.columns]):
        target.insert(parent, dict(zip(parent.stored, row, strict=True)))


def _delete_children(target: Target, key: ForeignKey, parent: Row) -> None:
    where = " AND ".join(f"{quoted(name)} = ?" for name in key.columns)
    target.connection.execute(
        f"DELETE FROM main.{quoted(key.child)} WHERE {where}",  # noqa: S608 - quoted
        [parent.get(name) for name in key.referred],
    )


def _is_orphaned(target: Target, key: ForeignKey, parent: Row) -> bool:
    """Return whether something refers to a row that is no longer there."""
    values = [parent.get(name) for name in key.referred]
    if None in values or _has_row(target.connection, key.parent, key.referred, values):
        return False
    return _has_row(target.connection, key.child, key.columns, values)


def _parent_is_there(target: Target, key: ForeignKey, child: Row) -> bool:
    values = [child.get(name) for name in key.columns]
    return any(value is None for value in values) or _has_row(target.connection, key.parent, key.referred, values)


def _has_row(connection: apsw.Connection, table: str, columns: tuple[str, ...], values: Sequence[Value]) -> bool:
    if not columns:  # the parent is not there, and the key names none of its columns
        return False
    where = " AND ".join(f"{quoted(name)} = ?" for name in columns)
    query = f"SELECT 1 FROM main.{quoted(table)} WHERE {where} LIMIT 1"  # noqa: S608 - quoted
    try:
        return connection.execute(query, values).fetchone() is not None
    except apsw.SQLError:  # the parent is not there
        return False


def _foreign_keys(target: Target) -> list[ForeignKey]:
    rows: list[tuple[str, int, str, str, str | None]] = list(
        target.connection.execute(
            'SELECT m.name, f.id, f."table", f."from", f."to" FROM main.sqlite_schema m '
            "JOIN pragma_foreign_key_list(m.name, 'main') f WHERE m.type = 'table' ORDER BY m.name, f.id, f.seq"
        )
    )
    grouped: dict[tuple[str, int], list[tuple[str, str, str | None]]] = {}
    for child, number, parent, column, to in rows:
        grouped.setdefault((child, number), []).append((parent, column, to))
    found = []
    for (child, _), parts in grouped.items():
        name = parts[0][0]
        parent_table = target.table(name)
        named = tuple(to for _, _, to in parts if to is not None)
        referred = named or (parent_table.key if parent_table else ())
        found.append(ForeignKey(child, name, tuple(column for _, column, _ in parts), referred))
    return found


def _pairs(key: ForeignKey, row: Row) -> str:
    return ", ".join(f"{name} = {row.get(name)!r}" for name in key.columns)
