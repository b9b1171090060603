"""The context with which a reducer applies one mutation.

A reducer may handle the error of a failed statement. If a statement failed because of the environment (the disk, the
network), or ended the whole transaction, the context is broken: it raises the same error from then on, even if the
reducer handled it, and `sqlsync.reducers.apply` finds the error in `broken`.
"""

import datetime as dt
from collections.abc import Iterator
from random import Random
from typing import Any, NoReturn

import apsw

from graft.errors import GraftError
from sqlsync.envelope import Mutation
from sqlsync.errors import MutationRejected, ReducerFailed
from sqlsync.reducers.reducer import Bindings, SQLValue

REDUCERS_FLAG = apsw.SQLITE_PREPARE_PERSISTENT
"""Separates reducers' prepared statements from others: apsw caches statements by their text and flags."""
_SQL_STREAM = 0x73716C
_ROW_BYTES, _VALUE_BYTES = 48, 32
"""Approximate memory that Python needs for a row, and for each of its values."""
_ENVIRONMENT = (
    apsw.BusyError, apsw.CantOpenError, apsw.ConnectionClosedError, apsw.InternalError, apsw.IOError,
    apsw.InterruptError, apsw.NoLFSError, apsw.NoMemError, apsw.NotADBError, apsw.PermissionsError, apsw.ProtocolError,
    apsw.ThreadingViolationError,
)  # fmt: skip


class Context:
    """A `sqlsync.reducers.reducer.ReducerContext`, for one thread at a time, until its mutation ends."""

    def __init__(
        self,
        connection: apsw.Connection,
        mutation: Mutation,
        *,
        deadline_s: float,
        statements_max: int,
        rows_bytes_max: int,
    ) -> None:
        """Start a mutation; see `sqlsync.reducers.sandbox.Sandbox.running`."""
        self.broken: Exception | None = None
        """The error that ended the context: of the environment, one that ended the transaction, or a limit."""
        self.refused: str | None = None
        """Why the authorizer refused the statement that is being prepared."""
        self.changes_before = connection.total_changes()
        self._connection = connection
        self._mutation = mutation
        self._deadline_s = deadline_s
        self._is_late = False
        self._statements_left = statements_max
        self._rows_bytes_max = rows_bytes_max
        self._random: Random | None = None
        self._sql_random: Random | None = None
        self._ended = False
        self._cursor = self._new_cursor()
        self._columns: list[tuple[str, ...]] = []
        self._changes = 0
        self._counted = 0

    @property
    def mutation(self) -> Mutation:
        """The mutation that is being applied."""
        return self._mutation

    @property
    def actor(self) -> str:
        """The actor who called the mutation; empty if not given."""
        return self._mutation.actor

    @property
    def now(self) -> dt.datetime:
        """The time of the mutation's call, in UTC."""
        return self._mutation.now

    @property
    def random(self) -> Random:
        """Random numbers from the mutation's seed."""
        if self._random is None:
            self._random = Random(self._mutation.seed)  # noqa: S311 - must be reproducible
        return self._random

    @property
    def sql_random(self) -> Random:
        """SQL's random numbers: a separate stream, since the query planner decides how many SQL draws."""
        if self._sql_random is None:
            self._sql_random = Random(self._mutation.seed ^ _SQL_STREAM)  # noqa: S311 - must be reproducible
        return self._sql_random

    def query(self, sql: str, bindings: Bindings = ()) -> Iterator[tuple[SQLValue, ...]]:
        """Run SQL and return its rows."""
        return iter(self._run(sql, bindings))

    def query_columns(
        self, sql: str, bindings: Bindings = (), *, bytes_max: int | None = None
    ) -> tuple[tuple[str, ...], list[tuple[SQLValue, ...]]]:
        """Run SQL in which at most one statement has rows; return its column names and rows."""
        rows = self._run(sql, bindings, bytes_max)
        if len(self._columns) > 1:
            raise ReducerFailed(f"{len(self._columns)} statements of one query have rows, not one: {_short(sql)}")
        return (self._columns[0] if self._columns else ()), rows

    def execute(self, sql: str, bindings: Bindings = ()) -> int:
        """Run SQL and return how many rows it changed."""
        self._run(sql, bindings)
        return self._changes

    def reject(self, reason: str) -> NoReturn:
        """Reject the mutation."""
        raise MutationRejected(reason)

    def is_late(self, now_s: float) -> bool:
        """Return whether the mutation has exceeded its time; SQLite then interrupts the statement."""
        self._is_late = now_s > self._deadline_s
        return self._is_late

    def end(self) -> None:
        """Make the context unusable."""
        self._ended = True
        self._cursor.close(force=True)

    def _new_cursor(self) -> apsw.Cursor:
        cursor = self._connection.cursor()
        cursor.exec_trace = self._traced
        return cursor

    def _run(self, sql: str, bindings: Bindings, bytes_max: int | None = None) -> list[tuple[SQLValue, ...]]:
        if self._ended:
            raise ReducerFailed("the context was used after its mutation had ended")
        if self.broken is not None:
            raise self.broken
        self.refused = None
        self._columns.clear()
        self._changes, self._counted = 0, self._connection.total_changes()
        try:
            found = self._cursor.execute(sql, bindings, prepare_flags=REDUCERS_FLAG)
            rows = self._fetched(found, sql, self._rows_bytes_max if bytes_max is None else bytes_max)
        except Exception as error:  # noqa: BLE001 - SQL functions may raise anything
            raise self._judged(error, sql) from error.__cause__
        self._count_changes()
        return rows

    def _fetched(self, found: apsw.Cursor, sql: str, bytes_max: int) -> list[tuple[SQLValue, ...]]:
        """Return all rows, at most ``bytes_max`` bytes, so that one mutation cannot use all memory."""
        rows, left = list[tuple[SQLValue, ...]](), bytes_max
        for row in found:
            left -= _bytes_of(row)
            if left < 0:
                self.broken = ReducerFailed(f"the rows of a query exceed the limit of {bytes_max} bytes: {_short(sql)}")
                self._cursor.close(force=True)
                self._cursor = self._new_cursor()
                raise self.broken
            rows.append(row)
        return rows

    def _traced(self, cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:  # noqa: ARG002 - apsw's signature
        """Count a statement that is about to run, and the changes of the one before it."""
        self._statements_left -= 1
        if self._statements_left < 0:
            raise ReducerFailed("a mutation ran too many statements")
        self._count_changes()
        if description := cursor.get_description():
            self._columns.append(tuple(column[0] for column in description))
        return True

    def _count_changes(self) -> None:
        total = self._connection.total_changes()
        if total != self._counted:
            self._changes += self._connection.changes()
            self._counted = total

    def _judged(self, error: Exception, sql: str) -> Exception:
        """Return the exception to raise for a statement's error."""
        raised = error
        if isinstance(error, apsw.InterruptError) and self._is_late:
            raised = ReducerFailed(f"a mutation took too long in {_short(sql)}")
        elif isinstance(error, apsw.Error) and self.refused is not None:
            raised = ReducerFailed(f"{self.refused}; {_short(sql)}")
        elif is_of_environment(self._connection, error):
            self.broken = error
        if not self._connection.in_transaction:
            self.broken = raised
        return raised


def _bytes_of(row: tuple[SQLValue, ...]) -> int:
    """Return about how much memory a row takes; the same number on every machine."""
    return _ROW_BYTES + sum(
        _VALUE_BYTES + len(value) if isinstance(value, str | bytes) else _VALUE_BYTES for value in row
    )


def is_of_environment(connection: apsw.Connection, error: Exception) -> bool:
    """Return whether an error comes from disk or network, so that the same mutation may succeed later."""
    if isinstance(error, GraftError | MemoryError) or isinstance(error.__cause__, GraftError):
        return True
    match error:
        case apsw.CorruptError():  # a virtual table's content belongs to the application
            return bool(error.extendedresult != apsw.SQLITE_CORRUPT_VTAB)  # type: ignore[attr-defined]
        case apsw.ReadOnlyError():  # a virtual table may refuse writes
            return bool(connection.readonly("main"))
        case apsw.FullError():
            return not _has_used_up_rowids(connection)
    return isinstance(error, _ENVIRONMENT)


def _has_used_up_rowids(connection: apsw.Connection) -> bool:
    """Return whether a table with AUTOINCREMENT has used the last number, which SQLite reports as "full" too."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchone():
        return False
    row = connection.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
    return row is not None and row[0] == 2**63 - 1


def _short(sql: str) -> str:
    text = " ".join(sql.split())
    return text if len(text) <= 120 else text[:117] + "..."
