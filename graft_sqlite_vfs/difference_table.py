"""The row difference in SQL: the table-valued function and virtual table ``graft_diff``.

    SELECT change, key, before ->> 'name', after ->> 'name' FROM graft_diff('users', 12, 15);

    CREATE VIRTUAL TABLE temp.changed USING graft_diff(users, 12, 15);
    SELECT change, before_name, after_name FROM changed;

SQLite fixes the columns of a table-valued function before it knows the arguments, so the function has both sides of a
row as JSON. The virtual table is made for one table, and has a column for each of its columns on both sides. Versions
are named as in `graft_sqlite_vfs.open_diff`; without them, ``remote`` is compared with ``local``.
"""

# ruff: noqa: N802 - the methods have apsw's names

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import apsw

from graft.errors import BadRequest, GraftError
from graft.sync.local_versions import LOCAL, REMOTE
from graft_sqlite_vfs.errors import as_sqlite
from graft_sqlite_vfs.row_changes import open_diff

NAME = "graft_diff"
_SHOWN = ("change", "key", "before", "after", "changed")
_ARGUMENTS = ("table_name", "from_version", "to_version")
_EQUAL = apsw.SQLITE_INDEX_CONSTRAINT_EQ


def add_to(connection: apsw.Connection) -> None:
    """Make ``graft_diff`` known to a connection."""
    module: Any = _Module()
    connection.create_module(NAME, module, use_bestindex_object=True, eponymous=True, read_only=True)


class _Module:
    """Makes tables; one for each connection."""

    def Connect(
        self, connection: apsw.Connection, _module: str, _schema: str, _name: str, *arguments: str
    ) -> "tuple[str, _Function | _Table]":
        """Return the columns and the table; without arguments, it is the function."""
        path = connection.db_filename("main")
        if not arguments:
            columns = ", ".join([*_SHOWN, *(f"{name} HIDDEN" for name in _ARGUMENTS)])
            return f"CREATE TABLE x({columns})", _Function(path)
        if len(arguments) > len(_ARGUMENTS):
            raise apsw.SQLError("graft_diff takes a table and two versions")
        table, *versions = (_unquoted(text) for text in arguments)
        made = _Table(path, table, versions)
        columns = ", ".join(_quoted(name) for name in made.columns)
        return f"CREATE TABLE x({columns})", made

    Create = Connect


class _Rows:
    """A table whose rows are the differing rows of one table."""

    def __init__(self, path: str) -> None:
        self.path = path

    def Open(self) -> "_Cursor":
        """Return a cursor."""
        return _Cursor(self)

    def Disconnect(self) -> None:
        """Forget the table."""

    Destroy = Disconnect

    def rows(self, arguments: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows for the arguments of a query."""
        raise NotImplementedError


class _Function(_Rows):
    """The table-valued function: its arguments are constraints on hidden columns."""

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:
        """Take the arguments; a plan that lacks the table is no plan."""
        given: dict[int, int] = {}
        for number in range(info.nConstraint):
            place = info.get_aConstraint_iColumn(number) - len(_SHOWN)
            if place < 0 or info.get_aConstraint_op(number) != _EQUAL:
                continue
            if not info.get_aConstraint_usable(number):
                return False
            given[place] = number
        if 0 not in given:
            info.idxNum, info.estimatedCost = 0, 1e12
            return True
        for argument, place in enumerate(sorted(given), 1):
            info.set_aConstraintUsage_argvIndex(given[place], argument)
            info.set_aConstraintUsage_omit(given[place], True)
        info.idxNum = sum(1 << place for place in given)
        info.estimatedCost, info.estimatedRows = 1e4, 1000
        return True

    def rows(self, arguments: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows; ``arguments`` are table, older and newer version."""
        table, before, after = arguments
        if not isinstance(table, str):
            raise BadRequest("graft_diff needs the name of a table: graft_diff('users', 12, 15)")
        with open_diff(self.path, before, after) as difference:
            for change in difference.rows([table]):
                yield (
                    change.kind,
                    change.key[0] if len(change.key) == 1 else _as_json(change.key),
                    None if change.before is None else _as_json(change.before),
                    None if change.after is None else _as_json(change.after),
                    _as_json(change.changed_columns),
                    table, before, after,
                )  # fmt: skip


class _Table(_Rows):
    """The virtual table of one table."""

    def __init__(self, path: str, table: str, versions: Sequence[str]) -> None:
        super().__init__(path)
        self._table = table
        self._versions = versions
        try:
            with open_diff(path, *versions) as difference:
                (name,) = difference.named([table])
                sides = [side.columns if side else () for side in difference.tables[name]]
        except GraftError as error:
            raise as_sqlite(error) from error
        self._names = list(dict.fromkeys([*sides[0], *sides[1]]))
        self.columns = ["change", *(f"{side}_{name}" for name in self._names for side in ("before", "after"))]

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:
        """Read all rows."""
        info.idxNum, info.estimatedCost = 0, 1e4
        return True

    def rows(self, _arguments: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        with open_diff(self.path, *self._versions) as difference:
            for change in difference.rows([self._table]):
                sides = [change.before or {}, change.after or {}]
                yield (change.kind, *(side.get(name) for name in self._names for side in sides))


class _Cursor:
    """Reads rows, one ahead."""

    def __init__(self, table: _Rows) -> None:
        self._table = table
        self._opened = ExitStack()
        self._row: tuple[Any, ...] | None = None
        self._number = 0

    def Filter(self, number: int, _name: str, values: Sequence[Any]) -> None:
        """Begin a query."""
        given = iter(values)
        arguments = [
            next(given) if number >> place & 1 else default for place, default in enumerate((None, REMOTE, LOCAL))
        ]
        self.Close()
        rows = self._table.rows(arguments)
        self._opened.callback(rows.close)  # type: ignore[attr-defined]  # it is a generator
        self._rows = rows
        self._number = 0
        self.Next()

    def Next(self) -> None:
        """Go to the next row."""
        try:
            self._row = next(self._rows, None)
        except GraftError as error:
            raise as_sqlite(error) from error
        self._number += 1

    def Eof(self) -> bool:
        """Return whether there is no row."""
        return self._row is None

    def Rowid(self) -> int:
        """Return the number of the row."""
        return self._number

    def Column(self, number: int) -> Any:
        """Return a value."""
        assert self._row is not None, "BUG: no row"
        return self._number if number < 0 else self._row[number]

    def Close(self) -> None:
        """Close what the query opened."""
        self._opened.close()


def _as_json(value: object) -> str:
    return json.dumps(value, default=lambda blob: {"blob": bytes(blob).hex()}, ensure_ascii=False)


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = len(text) > 1 and text[0] in "'\"`[" and text[-1] == {"[": "]"}.get(text[0], text[0])
    return text[1:-1].replace(text[0] * 2, text[0]) if quoted else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
