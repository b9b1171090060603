"""The connection on which reducers run: it gives the same answers at every replay, and access only to the document.

Invariants: while a context is current, `sqlsync.reducers.authorizer` decides about every prepared statement, and SQL's
clock and random numbers are the mutation's. Reducers' statements never share an entry of apsw's statement cache with
others (`sqlsync.reducers.context.REDUCERS_FLAG` separates them), since the authorizer is not called again for a cached
statement.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import apsw

from pagestore.runtime import SYSTEM, Runtime
from sqlsync.envelope import Mutation
from sqlsync.reducers import authorizer as authority
from sqlsync.reducers import sql_clock as sqlclock
from sqlsync.reducers.context import Context
from sqlsync.reducers.reducer import SQLValue

SAVEPOINT = "__sqlsync_mutation"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one mutation may use; one that uses more is rejected."""

    seconds: float = 30.0
    """Wall time of its SQL."""
    statements: int = 1_000_000
    value_bytes: int = 128 * 1024 * 1024
    """Size of one text, blob or row."""
    rows_bytes: int = 64 * 1024 * 1024
    """Size of one query's rows, counted while they are fetched."""


DEFAULT_LIMITS = Limits()
_ENVELOPE: dict[str, Callable[[Mutation], SQLValue]] = {
    "sqlsync_actor": lambda mutation: mutation.actor,
    "sqlsync_now_us": lambda mutation: mutation.now_us,
    "sqlsync_timeline": lambda mutation: mutation.timeline.raw,
    "sqlsync_lsn": lambda mutation: mutation.lsn,
}
"""The envelope's values as SQL functions, for reducers that can only run SQL."""
_PROGRESS_STEPS = 100_000
_TRIES = 10


class Sandbox:
    """A connection for reducers; one thread at a time."""

    def __init__(
        self, connection: apsw.Connection, *, limits: Limits = DEFAULT_LIMITS, runtime: Runtime = SYSTEM
    ) -> None:
        """Take over a connection; no other code may run statements on it while a mutation is applied."""
        self.connection = connection
        self.control = connection.cursor()
        """For the savepoints around each mutation; `connection.execute` would create a cursor each time."""
        self.limits = limits
        self._runtime = runtime
        self._context: Context | None = None
        self._migrating = False
        connection.pragma("foreign_keys", 1)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, limits.value_bytes)
        connection.authorizer = self._authorize
        connection.set_progress_handler(self._progress, _PROGRESS_STEPS)
        sqlclock.install(connection, self._now)
        connection.create_scalar_function("random", self._random, 0)
        connection.create_scalar_function("randomblob", self._randomblob, 1)
        connection.create_scalar_function("changes", self._changes, 0)
        connection.create_scalar_function("total_changes", self._total_changes, 0)
        for name, envelope_field in _ENVELOPE.items():
            connection.create_scalar_function(name, partial(self._said, envelope_field), 0)

    def begin(self) -> None:
        """Begin a write transaction."""
        for left in range(_TRIES, -1, -1):
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except apsw.BusyError:
                # After a writer that died, the first snapshot may be stale.
                if not left:
                    raise
            else:
                return

    @contextlib.contextmanager
    def running(self, mutation: Mutation, *, migrating: bool = False) -> Iterator[Context]:
        """Create the context in which a reducer runs one mutation, in the open transaction; it ends with the block."""
        limits = self.limits
        deadline_s = float("inf") if migrating else self._runtime.monotonic_s() + limits.seconds
        self.connection.set_last_insert_rowid(0)
        context = Context(
            self.connection,
            mutation,
            deadline_s=deadline_s,
            statements_max=limits.statements,
            rows_bytes_max=limits.rows_bytes,
        )
        self._context, self._migrating = context, migrating
        try:
            yield context
        finally:
            self._context, self._migrating = None, False
            context.end()

    def _authorize(
        self, code: int, first: str | None, second: str | None, _database: str | None, _inside: str | None
    ) -> int:
        context = self._context
        if context is None:
            return apsw.SQLITE_OK
        refused = authority.refusal(code, first, second, migrating=self._migrating)
        if refused is None:
            return apsw.SQLITE_OK
        context.refused = refused
        return apsw.SQLITE_DENY

    def _progress(self) -> bool:
        context = self._context
        return context is not None and context.is_late(self._runtime.monotonic_s())

    def _said(self, envelope_field: Callable[[Mutation], SQLValue], *_: object) -> SQLValue:
        return envelope_field(self._current().mutation)

    def _current(self) -> Context:
        assert self._context is not None, "BUG: a reducers' SQL function was called outside of a mutation"
        return self._context

    def _now(self) -> dt.datetime:
        return self._current().now

    def _random(self, *_: object) -> int:
        return self._current().sql_random.getrandbits(64) - (1 << 63)

    def _randomblob(self, *given: object) -> bytes:
        wanted = given[0] if isinstance(given[0], int) else 1
        if wanted > self.limits.value_bytes:
            raise apsw.TooBigError("string or blob too big")
        return self._current().sql_random.randbytes(max(1, wanted))

    def _changes(self, *_: object) -> int:
        return self.connection.changes() if self._total_changes() else 0

    def _total_changes(self, *_: object) -> int:
        return self.connection.total_changes() - self._current().changes_before
