"""The row difference of virtual tables: of the rows that they show, not of how they store them.

FTS4, FTS5 with their own content              the rows of ``<table>_content`` that differ, as the table shows them
FTS5 with an external content table, or none   nothing: its rows are another table's, or cannot be read back
R-tree and others                              all rows of both versions, if a table behind it differs
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.payloads import Rowids
from graft_sqlite_vfs.diff.rows import RowChange, Side, rows_differing
from graft_sqlite_vfs.diff.tables import Table

_MODULE = re.compile(r"\bUSING\s+[\"'`\[]?(\w+)", re.IGNORECASE)
_FULL_TEXT = {"fts3", "fts4", "fts5"}
_CONTENT = "_content"

RowsOf = Callable[[str], Iterator[RowChange]]
"""Yields the rows of an ordinary table that differ."""


def module_of(table: Table) -> str:
    """Return the module that a virtual table uses, in lower case."""
    found = _MODULE.search(table.sql)
    return found.group(1).lower() if found else ""


def virtual_changes(before: Side, after: Side, behind: Sequence[str], rows_of: RowsOf) -> Iterator[RowChange]:
    """Yield the changes of a virtual table; ``behind`` are the tables that it stores content in."""
    table = after.table or before.table
    assert table is not None, "BUG: a table that is in neither version"
    content = next((name for name in behind if name.lower() == (table.name + _CONTENT).lower()), None)
    if content is not None:
        yield from rows_differing(before, after, _rowids(rows_of(content)))
    elif module_of(table) not in _FULL_TEXT and any(next(rows_of(name), None) is not None for name in behind):
        yield from rows_differing(before, after, np.union1d(_all_rowids(before), _all_rowids(after)))


def _rowids(changes: Iterator[RowChange]) -> Rowids:
    return np.array(sorted({int(change.key[0]) for change in changes}), np.int64)  # type: ignore[arg-type]


def _all_rowids(side: Side) -> Rowids:
    if side.table is None or side.table.rowid is None:
        return np.empty(0, np.int64)
    query = f"SELECT {side.table.rowid} FROM main.{quoted(side.table.name)}"  # noqa: S608 - quoted
    return np.array([row[0] for row in side.version.query(query)], np.int64)
