"""Table-valued functions over versions: what differs, and the history of rows, in SQL.

    SELECT change, key, before ->> 'name', after ->> 'name' FROM graft_diff('users', 12, 15);
    SELECT lsn, time, value ->> 'name' FROM graft_history('users', 17);
    SELECT key, lsn, author FROM graft_blame('users');
    SELECT lsn, change, key FROM graft_changes(12) WHERE "table" = 'users';

    CREATE VIRTUAL TABLE temp.changed USING graft_diff(users, 12, 15);
    SELECT change, before_name, after_name FROM changed;

SQLite fixes the columns of a table-valued function before it knows the arguments, so the functions have rows as JSON.
The virtual table ``graft_diff`` is made for one table, and has a column for each of its columns on both sides. Versions
are named as in `graft_sqlite_vfs.open_diff`; without them, `graft_diff` compares ``remote`` with ``local``.
"""

# ruff: noqa: N802 - the methods have apsw's names

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apsw

from graft.errors import BadRequest, GraftError
from graft.sync.local_versions import LOCAL, REMOTE
from graft_sqlite_vfs.errors import as_sqlite
from graft_sqlite_vfs.row_changes import open_diff

_DIFF = "graft_diff"
_EQUAL = apsw.SQLITE_INDEX_CONSTRAINT_EQ


def add_to(connection: apsw.Connection) -> None:
    """Make the functions known to a connection."""
    for function in _FUNCTIONS:
        module: Any = _Module(function)
        connection.create_module(function.name, module, use_bestindex_object=True, eponymous=True, read_only=True)


@dataclass(frozen=True, slots=True)
class _Function:
    """One function: the columns that it shows, and what yields their values for a replica and the arguments."""

    name: str
    columns: tuple[str, ...]
    arguments: tuple[str, ...]
    rows: Callable[..., Iterator[tuple[Any, ...]]]


def _diff_rows(path: str, table: Any = None, before: Any = REMOTE, after: Any = LOCAL) -> Iterator[tuple[Any, ...]]:
    if not isinstance(table, str):
        raise BadRequest("graft_diff needs the name of a table: graft_diff('users', 12, 15)")
    with open_diff(path, before, after) as difference:
        for change in difference.rows([table]):
            rows = [None if row is None else _as_json(row) for row in (change.before, change.after)]
            yield change.kind, _shown(change.key), *rows, _as_json(change.changed_columns)


def _history_rows(path: str, table: Any = None, *key: Any) -> Iterator[tuple[Any, ...]]:
    from graft_sqlite_vfs.history.row_history import row_history  # noqa: PLC0415 - few connections need it

    if not isinstance(table, str) or not key:
        raise BadRequest("graft_history needs a table and a key: graft_history('users', 17)")
    for one in row_history(path, table, key):
        yield one.lsn, _time(one.time_us), one.author, None if one.row is None else _as_json(one.row)


def _blame_rows(path: str, table: Any = None, *key: Any) -> Iterator[tuple[Any, ...]]:
    from graft_sqlite_vfs.history.blame import blame  # noqa: PLC0415 - few connections need it

    if not isinstance(table, str):
        raise BadRequest("graft_blame needs the name of a table: graft_blame('users')")
    for one in blame(path, table, key or None):
        yield _shown(one.key), one.lsn, _time(one.time_us), one.author


def _change_rows(path: str, since: Any = 0) -> Iterator[tuple[Any, ...]]:
    from graft_sqlite_vfs.history.feed import RowChanged, changes  # noqa: PLC0415 - few connections need it

    for one in changes(path, since):
        if isinstance(one, RowChanged):
            rows = [None if row is None else _as_json(row) for row in (one.before, one.after)]
            yield one.lsn, _time(one.time_us), one.table, one.change, _shown(one.key), *rows
        else:
            yield one.lsn, _time(one.time_us), one.name, "schema", None, one.before, one.after


_FUNCTIONS = (
    _Function(
        _DIFF, ("change", "key", "before", "after", "changed"), ("table_name", "from_version", "to_version"), _diff_rows
    ),
    _Function(
        "graft_history", ("lsn", "time", "author", "value"), ("table_name", "k1", "k2", "k3", "k4"), _history_rows
    ),
    _Function("graft_blame", ("key", "lsn", "time", "author"), ("table_name", "k1", "k2", "k3", "k4"), _blame_rows),
    _Function("graft_changes", ("lsn", "time", "table", "change", "key", "before", "after"), ("since",), _change_rows),
)


class _Module:
    """Makes tables of one function; one for each connection."""

    def __init__(self, function: _Function) -> None:
        self._function = function

    def Connect(
        self, connection: apsw.Connection, _module: str, _schema: str, _name: str, *arguments: str
    ) -> "tuple[str, _FunctionTable | _Table]":
        """Return the columns and the table; without arguments, it is the function."""
        path, function = connection.db_filename("main"), self._function
        if not arguments:
            columns = [_quoted(name) for name in function.columns]
            columns += [f"{name} HIDDEN" for name in function.arguments]
            return f"CREATE TABLE x({', '.join(columns)})", _FunctionTable(path, function)
        if function.name != _DIFF or len(arguments) > len(function.arguments):
            raise apsw.SQLError(
                "graft_diff takes a table and two versions"
                if function.name == _DIFF
                else f"{function.name} is a function: use it as a table, {function.name}(…)"
            )
        table, *versions = (_unquoted(text) for text in arguments)
        made = _Table(path, table, versions)
        columns = [_quoted(name) for name in made.columns]
        return f"CREATE TABLE x({', '.join(columns)})", made

    Create = Connect


class _Rows:
    """A table whose rows somebody yields."""

    def __init__(self, path: str) -> None:
        self.path = path

    def Open(self) -> "_Cursor":
        """Return a cursor."""
        return _Cursor(self)

    def Disconnect(self) -> None:
        """Forget the table."""

    Destroy = Disconnect

    def rows(self, number: int, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows for what `BestIndexObject` has chosen, and the values of a query."""
        raise NotImplementedError


class _FunctionTable(_Rows):
    """The table of a function: its arguments are constraints on hidden columns."""

    def __init__(self, path: str, function: _Function) -> None:
        super().__init__(path)
        self._function = function

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:
        """Take the arguments; a plan that cannot give them all is no plan."""
        given: dict[int, int] = {}
        for number in range(info.nConstraint):
            place = info.get_aConstraint_iColumn(number) - len(self._function.columns)
            if place < 0 or info.get_aConstraint_op(number) != _EQUAL:
                continue
            if not info.get_aConstraint_usable(number):
                return False
            given[place] = number
        for argument, place in enumerate(sorted(given), 1):
            info.set_aConstraintUsage_argvIndex(given[place], argument)
            info.set_aConstraintUsage_omit(given[place], True)
        info.idxNum = sum(1 << place for place in given)
        info.estimatedCost, info.estimatedRows = 1e4, 1000
        return True

    def rows(self, number: int, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows; the hidden columns have the arguments."""
        places = [place for place in range(len(self._function.arguments)) if number >> place & 1]
        if places != list(range(len(places))):
            raise BadRequest(f"{self._function.name} takes {', '.join(self._function.arguments)}, in this order")
        hidden = (*values, *[None] * (len(self._function.arguments) - len(values)))
        for row in self._function.rows(self.path, *values):
            yield (*row, *hidden)


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

    def rows(self, _number: int, _values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
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
        self.Close()
        rows = self._table.rows(number, values)
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


def _shown(key: tuple[Any, ...]) -> Any:
    return key[0] if len(key) == 1 else _as_json(key)


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(sep=" ")


def _as_json(value: object) -> str:
    return json.dumps(value, default=lambda blob: {"blob": bytes(blob).hex()}, ensure_ascii=False)


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = len(text) > 1 and text[0] in "'\"`[" and text[-1] == {"[": "]"}.get(text[0], text[0])
    return text[1:-1].replace(text[0] * 2, text[0]) if quoted else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
