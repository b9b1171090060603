"""Which B-trees a query reads, from the calls of SQLite's authorizer while the query is prepared; pure.

The authorizer names tables, whether they are read directly, in a view, a subquery or a CTE. A table stands for its
indexes too. A full-text or R*Tree table stands for the tables that hold its content. Anything else (a
table-valued function that reads the file, another kind of virtual table) may depend on all trees.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import apsw

SCHEMA_SQL = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"
MODULES_SQL = "SELECT name FROM pragma_module_list"
_PRAGMA_PREFIX = "pragma_"
_STORED_MODULES = frozenset({"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"})
_STORELESS = frozenset({
    "generate_series", "json_each", "json_tree", "jsonb_each", "jsonb_tree",
    "sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema",
})  # fmt: skip
"""Tables that read only their arguments, or the schema, whose changes affect all queries."""
_HARMLESS_PRAGMA = "data_version"
"""The pragma that full-text tables query internally."""
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\b.*?\bUSING\s+([a-z0-9_]+)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class SchemaRow:
    """A row of the schema table."""

    type: str
    name: str
    table: str
    root: int | None
    sql: str | None


@dataclass(slots=True)
class Reads:
    """Collects the authorizer's calls while a query is prepared."""

    tables: set[str] = field(default_factory=set)
    is_open: bool = False
    """Whether the query depends on more than tables."""

    def note(self, code: int, first: str | None, second: str | None) -> None:  # noqa: ARG002 - the authorizer's signature
        """Record one call."""
        if code == apsw.SQLITE_READ and first:
            self.tables.add(first.lower())
        elif code == apsw.SQLITE_PRAGMA and (first or "").lower() != _HARMLESS_PRAGMA:
            self.is_open = True


def roots_read(reads: Reads, schema: Collection[SchemaRow], modules: Collection[str]) -> frozenset[int] | None:
    """Return the root pages that a query reads, None if unknown; ``modules`` are the virtual table modules."""
    if reads.is_open:
        return None
    known = {row.name.lower(): row for row in schema if row.type == "table"}
    tables: set[str] = set()
    for name in reads.tables:
        row = known.get(name)
        if row is None:
            if name not in _STORELESS and (name in modules or name.startswith(_PRAGMA_PREFIX)):
                return None
            continue  # a view or a CTE, whose tables are named too
        found = {name} if row.root else _behind(row, known, schema)
        if found is None:
            return None
        tables |= found
    return frozenset(row.root for row in schema if row.root and row.table.lower() in tables)


def _behind(row: SchemaRow, known: Collection[str], schema: Iterable[SchemaRow]) -> set[str] | None:
    """Return the tables that hold a virtual table's content, None if unknown."""
    sql = row.sql or ""
    module = _VIRTUAL.match(sql)
    if module is None or module.group(1).lower() not in _STORED_MODULES:
        return None
    words = {word.lower() for word in _WORD.findall(sql)}
    if any(view.type == "view" and view.name.lower() in words for view in schema):
        return None  # its content comes from a view
    shadow = row.name.lower() + "_"
    return {name for name in known if name.startswith(shadow) or (name in words and name != row.name.lower())}
