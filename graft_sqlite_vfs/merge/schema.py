"""Three-way merge of schemas: our side's changes of definitions, made to their side.

A definition that one side changed is taken from it. Where both added columns to the same table, the table gets all of
them. Everything else that both changed differently is a conflict.
"""

import re
from collections.abc import Callable, Iterator

from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.rows import Row
from graft_sqlite_vfs.diff.tables import SchemaEntry, schema_of, table_of
from graft_sqlite_vfs.merge.conflicts import OURS, Conflict, Decide
from graft_sqlite_vfs.merge.target import Target

Schema = dict[tuple[str, str], SchemaEntry]
_ORDER = {"table": 0, "index": 1, "view": 2, "trigger": 3}
_NAME = re.compile(r"""^\s*CREATE\s+TABLE\s+("(?:[^"]|"")*"|\[[^\]]*\]|`[^`]*`|'[^']*'|\w+)""", re.IGNORECASE)


class SchemaMerger:
    """Makes our side's changes of definitions to a target."""

    def __init__(
        self,
        target: Target,
        decide: Decide,
        theirs_changed_rows: Callable[[str], bool],
    ) -> None:
        """``theirs_changed_rows`` returns whether their side changed rows of a table since the base."""
        self._target = target
        self._decide = decide
        self._theirs_changed_rows = theirs_changed_rows
        self.conflicts: list[Conflict] = []
        self.unsettled: list[Conflict] = []
        self.dropped: set[str] = set()
        """Tables whose rows are not merged, because the definition of the other side won."""

    def merge(self, base: Schema, ours: Schema, ignored: set[str]) -> None:
        """Make the changes from ``base`` to ``ours``, except of the tables ``ignored``."""
        theirs = schema_of(self._target.connection)
        changed = [
            key for key in {*base, *ours} if _sql(base, key) != _sql(ours, key) and key[1] not in ignored
            and not key[1].lower().startswith("sqlite_")
        ]  # fmt: skip
        for key in sorted(changed, key=lambda key: (_ORDER[key[0]], key[1])):
            self._merge_one(key, _sql(base, key), _sql(ours, key), _sql(theirs, key))
            self._target.schema_changed()

    def _merge_one(self, key: tuple[str, str], base: str | None, ours: str | None, theirs: str | None) -> None:
        kind, name = key
        if ours == theirs:
            return
        if theirs != base:
            added = None if None in {base, ours, theirs} or kind != "table" else _added_columns(base, ours)  # type: ignore[arg-type]
            their_columns = None if added is None else _added_columns(base, theirs)  # type: ignore[arg-type]
            if added is not None and their_columns is not None:
                names = {_first_name(column): column for column in their_columns}
                if all(names.get(_first_name(column), column) == column for column in added):
                    self._add_columns(name, [column for column in added if _first_name(column) not in names])
                    return
            if not self._settle(key, base, ours, theirs, f"{kind} {name}: both sides changed its definition"):
                return
        elif ours is None and kind == "table" and self._theirs_changed_rows(name):
            detail = f"table {name}: one side dropped it, the other changed rows of it"
            if not self._settle(key, base, ours, theirs, detail):
                return
        self._take(kind, name, base, ours, theirs)

    def _settle(
        self, key: tuple[str, str], base: str | None, ours: str | None, theirs: str | None, detail: str
    ) -> bool:
        """Return whether our definition is taken."""
        rows: list[Row | None] = [None if sql is None else {"sql": sql} for sql in (base, ours, theirs)]
        conflict = Conflict(key[1], (), "schema", rows[0], rows[1], rows[2], detail)
        self.conflicts.append(conflict)
        decision = self._decide(conflict)
        if decision is None:
            self.unsettled.append(conflict)
        if decision == OURS:
            return True
        self.dropped.add(key[1].lower())
        return False

    def _take(self, kind: str, name: str, base: str | None, ours: str | None, theirs: str | None) -> None:
        connection = self._target.connection
        if theirs is None:
            if ours is not None:
                connection.execute(ours)
            return
        if ours is None or kind != "table":
            connection.execute(f"DROP {kind.upper()} main.{quoted(name)}")
            if ours is not None:
                connection.execute(ours)
            return
        added = _added_columns(base, ours) if base == theirs and base is not None else None
        if added is not None:
            self._add_columns(name, added)
        else:
            self._rebuild(name, ours)

    def _add_columns(self, name: str, columns: list[str]) -> None:
        for column in columns:
            self._target.connection.execute(f"ALTER TABLE main.{quoted(name)} ADD COLUMN {column}")

    def _rebuild(self, name: str, sql: str) -> None:
        """Give a table another definition, keeping its rows; see sqlite.org/lang_altertable.html, section 7."""
        connection = self._target.connection
        schema = schema_of(connection)
        old = table_of(connection, schema["table", name])
        made = f"graft_merged_{name}"
        connection.execute(_NAME.sub(lambda _: f"CREATE TABLE {quoted(made)}", sql, count=1))
        new = table_of(connection, schema_of(connection)["table", made])
        pairs = _matching(old.stored, new.stored)
        sources = ", ".join(quoted(source) for source, _ in pairs)
        targets = ", ".join(quoted(target) for _, target in pairs)
        rowid = f"{old.rowid}, " if old.rowid and new.rowid and not new.key_is_rowid else ""
        connection.execute(
            f"INSERT INTO main.{quoted(made)}({rowid}{targets}) "  # noqa: S608 - quoted
            f"SELECT {rowid}{sources} FROM main.{quoted(name)}"
        )
        dependents = [
            entry[4] for (kind, _), entry in schema.items() if kind in {"index", "trigger"} and entry[2] == name
        ]
        connection.execute(f"DROP TABLE main.{quoted(name)}")
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(f"ALTER TABLE main.{quoted(made)} RENAME TO {quoted(name)}")
        connection.execute("PRAGMA legacy_alter_table = OFF")
        for dependent in dependents:
            if dependent is not None:
                connection.execute(dependent)


def _sql(schema: Schema, key: tuple[str, str]) -> str | None:
    return schema[key][4] if key in schema else None


def _matching(old: tuple[str, ...], new: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return which old column becomes which new one: by name, or by place where columns were renamed."""
    if len(old) == len(new):
        return list(zip(old, new, strict=True))
    return [(name, name) for name in old if name in new]


def _added_columns(base: str, changed: str) -> list[str] | None:
    """Return the definitions that ALTER TABLE ADD COLUMN put behind the others; None if anything else changed."""
    body, _, behind = base.rpartition(")")
    body = body.rstrip()
    changed_body, _, changed_behind = changed.rpartition(")")
    if behind != changed_behind or not changed_body.startswith(body):
        return None
    added = changed_body[len(body) :].strip()
    if not added.startswith(","):
        return None
    return [column.strip() for column in _top_level_parts(added[1:])]


def _top_level_parts(text: str) -> Iterator[str]:
    """Split at the commas that are in no parentheses and no quotes."""
    depth, quote, start = 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'`[":
            quote = "]" if letter == "[" else letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == "," and not depth:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _first_name(definition: str) -> str:
    found = re.match(r"""\s*("(?:[^"]|"")*"|\[[^\]]*\]|`[^`]*`|\w+)""", definition)
    return found.group(1).strip('"[]`').lower() if found else definition
