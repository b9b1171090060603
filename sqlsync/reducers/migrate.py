"""Migrations: each step of a reducer runs once per document, in order, as part of the first mutation that needs it.

A step gets that mutation's clock, actor and seed, so that every replay produces the same document.
"""

from dataclasses import replace

import apsw

from sqlsync import tables
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import MigrationFailed, ReducerTooOld
from sqlsync.reducers.context import is_of_environment
from sqlsync.reducers.reducer import Reducer
from sqlsync.reducers.sandbox import Sandbox

MIGRATE = "migrate"


def check_version(found: int, reducer: Reducer) -> None:
    """Raise `ReducerTooOld` if a document of version ``found`` is newer than the reducer."""
    if found > reducer.version:
        raise ReducerTooOld(
            f"the document was migrated to version {found}, and this application knows version {reducer.version}: "
            "upgrade it; pending mutations are retained"
        )


def migrate(sandbox: Sandbox, reducer: Reducer, cause: Mutation) -> bool:
    """Run the missing steps in the open transaction; return whether there were any.

    Raises `ReducerTooOld`, `MigrationFailed`, and the errors of the environment; the caller rolls back.
    """
    found = tables.version(sandbox.connection)
    check_version(found, reducer)
    for number in range(found + 1, reducer.version + 1):
        _step(sandbox, reducer, number, cause)
        tables.set_version(sandbox.connection, number)
    return found < reducer.version


def _step(sandbox: Sandbox, reducer: Reducer, number: int, cause: Mutation) -> None:
    mutation = replace(cause, body=Named(MIGRATE, {"version": number}), seed=cause.seed ^ number)
    with sandbox.running(mutation, migrating=True) as context:
        try:
            reducer.migrate(context, number)
            error = context.broken
        except Exception as raised:  # noqa: BLE001 - the application's code may raise anything
            error = context.broken or raised
    if error is None and sandbox.connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
        error = ValueError("foreign keys refer to missing rows")
    sandbox.connection.execute("PRAGMA defer_foreign_keys = 0")
    if error is not None:
        if is_of_environment(sandbox.connection, error):
            raise error
        raise MigrationFailed(f"the migration to version {number} failed: {type(error).__name__}: {error}") from error
