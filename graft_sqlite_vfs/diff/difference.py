"""The difference of two versions of a database: its schema and its rows.

    page maps → pages that differ → trees they are in → cells that differ → rows, through SQLite

Both versions share every page that neither side wrote, so the cost follows the change, whatever the two versions are:
LSNs, moments, tags, forks, or what the replica has not pushed.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

from graft.errors import BadRequest, Unsupported
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft_sqlite_vfs.diff.changed_pages import ChangedPages, Sides
from graft_sqlite_vfs.diff.overflow import Owner, owners
from graft_sqlite_vfs.diff.rows import RowChange, Side, keyed_changes, rowid_changes
from graft_sqlite_vfs.diff.tables import SchemaEntry, Table, schema_of, shadow_names, table_of
from graft_sqlite_vfs.diff.version import Version, opened
from graft_sqlite_vfs.diff.virtual import virtual_changes


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A table, index, trigger or view that differs between two versions."""

    type: str
    name: str
    before: str | None
    """Its SQL in the older version; None if it was not there."""
    after: str | None
    """Its SQL in the newer version; None if it is not there."""


class Difference:
    """What differs between two versions; use `compare`. Not safe for threads."""

    def __init__(self, before: Version, after: Version) -> None:
        """Compare the schemas; rows are compared when they are asked for."""
        self.before, self.after = before, after
        self.old_schema, self.new_schema = schema_of(before.connection), schema_of(after.connection)
        self._schemas = self.old_schema, self.new_schema
        self._pages = ChangedPages(before, after)

    @property
    def schema(self) -> list[SchemaChange]:
        """What differs in the schema, sorted by type and name; not the tables that virtual tables store content in."""
        old, new = self._schemas
        return [
            SchemaChange(*key, old[key][4] if key in old else None, new[key][4] if key in new else None)
            for key in sorted({*old, *new})
            if _sql_of(old, key) != _sql_of(new, key) and key[1] not in self.shadows and _is_named_by_users(key[1])
        ]

    @cached_property
    def tables(self) -> dict[str, tuple[Table | None, Table | None]]:
        """The tables of either version by name: ordinary and virtual ones, without SQLite's own and shadow tables."""
        return {
            name: self._both(name)
            for kind, name in sorted({*self._schemas[0], *self._schemas[1]})
            if kind == "table" and name not in self.shadows and _is_named_by_users(name)
        }

    @cached_property
    def shadows(self) -> dict[str, str]:
        """The tables of either version that virtual tables store content in, each with its virtual table."""
        return shadow_names(self.before.connection) | shadow_names(self.after.connection)

    def rows(self, tables: Collection[str] | None = None) -> Iterator[RowChange]:
        """Yield the rows that differ, table by table, or of the named tables; `BadRequest` for unknown ones."""
        wanted = self.named(tables)
        for name in wanted:
            before, after = self.tables[name]
            yield from self._rows(Side(self.before, before), Side(self.after, after))

    def changed_tables(self) -> list[str]:
        """Return the tables with rows that differ."""
        return [name for name in self.tables if next(self.rows([name]), None) is not None]

    def rows_of(self, name: str) -> Iterator[RowChange]:
        """Yield the rows of any ordinary table that differ, also of SQLite's own and of those behind virtual tables."""
        before, after = self._both(name)
        if before is not None or after is not None:
            yield from self._rows(Side(self.before, before), Side(self.after, after))

    def _rows(self, before: Side, after: Side) -> Iterator[RowChange]:
        mine, theirs = before.table, after.table
        virtual = next((table.name for table in (mine, theirs) if table is not None and table.is_virtual), None)
        if virtual is not None:
            behind = sorted(shadow for shadow, name in self.shadows.items() if name == virtual)
            yield from virtual_changes(before, after, behind, self.rows_of)
            return
        if mine is not None and theirs is not None and not _is_comparable(mine, theirs):
            yield from self._rows(before, Side(self.after, None))
            yield from self._rows(Side(self.before, None), after)
            return
        table = theirs or mine
        assert table is not None, "BUG: a table that is in neither version"
        if not table.rowid and not table.without_rowid:
            raise Unsupported(
                f"table {table.name}: its columns take all names of the rowid, so SQL cannot tell rows apart"
            )
        in_place = mine is not None and theirs is not None and mine.root == theirs.root
        sides = self._sides[table.root] if in_place else self._moved_tree(mine, theirs)
        owned = self._owners.get(table.root, []) if in_place else []
        yield from (keyed_changes if table.without_rowid else rowid_changes)(before, after, sides, owned)

    def _moved_tree(self, mine: Table | None, theirs: Table | None) -> Sides:
        return self._pages.of_tree(mine.root if mine else None, theirs.root if theirs else None)

    @cached_property
    def _in_place(self) -> list[tuple[Table, Table]]:
        """The tables that are in the same tree in both versions."""
        names = {name for kind, name in self._schemas[0] if kind == "table"}
        found = []
        for name in sorted(names):
            key = ("table", name)
            if key in self._schemas[1] and self._schemas[0][key][3] == self._schemas[1][key][3] != 0:
                mine, theirs = self._both(name)
                assert mine, "BUG: a table without an entry"
                assert theirs, "BUG: a table without an entry"
                if _is_comparable(mine, theirs):
                    found.append((mine, theirs))
        return found

    @cached_property
    def _sides(self) -> dict[int, Sides]:
        """What differs in the trees of the tables that are in the same tree in both versions, by root page."""
        rowid_roots = [table.root for table, _ in self._in_place if not table.without_rowid]
        found = self._pages.of_tables(rowid_roots)
        others = [table.root for table, _ in self._in_place if table.without_rowid]
        return found | {root: self._pages.of_tree(root, root) for root in others}

    @cached_property
    def _owners(self) -> dict[int, list[Owner]]:
        """The rows of each tree that run on in overflow pages that differ."""
        trees = {root: sides.after.all() for root, sides in self._sides.items()}
        found: dict[int, list[Owner]] = {}
        for owner in owners(self.before, self.after, self._pages.pages, trees, self._pages.all_row_pages):
            found.setdefault(owner.root, []).append(owner)
        return found

    def _both(self, name: str) -> tuple[Table | None, Table | None]:
        key = ("table", name)
        old, new = (schema.get(key) for schema in self._schemas)
        return (
            table_of(self.before.connection, old) if old else None,
            table_of(self.after.connection, new) if new else None,
        )

    def named(self, tables: Collection[str] | None) -> list[str]:
        """Return the names of tables as the schema spells them; None: of all. `BadRequest` for unknown ones."""
        if tables is None:
            return list(self.tables)
        known = {name.lower(): name for name in self.tables}
        for name in tables:
            if name.lower() not in known:
                raise BadRequest(
                    f"no table {name} in {self.before.snapshot.describe()} or {self.after.snapshot.describe()}: there "
                    f"are {', '.join(self.tables) or 'none'}"
                )
        return [known[name.lower()] for name in tables]


@contextmanager
def compare(replica: Replica, before: Snapshot, after: Snapshot) -> Iterator[Difference]:
    """Compare two versions that the replica opened, for as long as the block runs.

    Raises the errors of graft: `Corrupt` for what is no SQLite database, and what reading pages raises.
    """
    with ExitStack() as stack:
        yield Difference(stack.enter_context(opened(replica, before)), stack.enter_context(opened(replica, after)))


def _is_comparable(mine: Table, theirs: Table) -> bool:
    """Return whether rows of both can be told to be the same one."""
    return mine.key == theirs.key and mine.without_rowid == theirs.without_rowid


def _sql_of(schema: dict[tuple[str, str], SchemaEntry], key: tuple[str, str]) -> str | None:
    return schema[key][4] if key in schema else None


def _is_named_by_users(name: str) -> bool:
    return not name.lower().startswith("sqlite_")
