"""Applies mutations to a document: each in its own savepoint, all in the transaction that the caller opened.

    missing migrations --> mutation: savepoint, reducer, release --> ... --> positions and rejections

A mutation that fails is rolled back to its savepoint, and the others stay. Some errors end SQLite's whole transaction
(ON CONFLICT ROLLBACK, RAISE(ROLLBACK), a statement that ran out of time). Then the batch runs again from its start
without the mutation that caused it. Replays are deterministic, so the others have the same effects.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apsw

from sqlsync import tables
from sqlsync.envelope import Mutation
from sqlsync.errors import BadMutation, MutationRejected, ReducerFailed
from sqlsync.identity import Stamp, continued
from sqlsync.ids import TimelineId
from sqlsync.reducers.context import Context, is_of_environment
from sqlsync.reducers.migrate import migrate
from sqlsync.reducers.reducer import Reducer
from sqlsync.reducers.sandbox import SAVEPOINT, Sandbox

REASON_CHARACTERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Applied:
    """The mutation took effect."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The mutation was rejected and had no effect."""

    reason: str
    failed: bool = False
    """Whether the reducer failed, rather than rejected the mutation."""


Outcome = Applied | Rejected


class _TransactionLost(Exception):
    """A mutation ended the transaction, which also undid the mutations before it."""

    def __init__(self, place: int, outcome: Rejected) -> None:
        super().__init__()
        self.place, self.outcome = place, outcome


def apply_batch(
    sandbox: Sandbox,
    reducer: Reducer,
    mutations: Sequence[Mutation],
    *,
    used_us: int | None = None,
    stamps: Sequence[Stamp] = (),
    refused: Mapping[int, Rejected] | None = None,
) -> list[Outcome]:
    """Apply mutations in the open transaction, which must not have written yet, and return their outcomes.

    With ``used_us``, the time at which the timelines are used, their positions and rejections are recorded in the
    volume. With ``stamps``, one for each mutation, their owners and links are recorded too. Mutations whose indexes are
    in ``refused`` are rejected without being run.

    Raises `ReducerTooOld`, `MigrationFailed`, and apsw's errors if the environment failed. Then the caller must roll
    back the transaction, and no mutation has an outcome.
    """
    doomed = dict(refused or {})
    while True:
        try:
            if used_us is not None:
                tables.make_first(sandbox.connection)
            outcomes = _run(sandbox, reducer, mutations, doomed)
        except _TransactionLost as lost:
            doomed[lost.place] = lost.outcome
            sandbox.begin()
            continue
        if used_us is not None:
            _record(sandbox.connection, mutations, outcomes, stamps, used_us)
        return outcomes


def _run(
    sandbox: Sandbox, reducer: Reducer, mutations: Sequence[Mutation], doomed: dict[int, Rejected]
) -> list[Outcome]:
    if mutations:
        migrate(sandbox, reducer, mutations[0])
    return [
        doomed[place] if place in doomed else _one(sandbox, reducer, mutation, place)
        for place, mutation in enumerate(mutations)
    ]


def _one(sandbox: Sandbox, reducer: Reducer, mutation: Mutation, place: int) -> Outcome:
    connection, control = sandbox.connection, sandbox.control
    control.execute(f"SAVEPOINT {SAVEPOINT}")
    with sandbox.running(mutation) as context:
        outcome = _outcome(connection, reducer, context)
    if not connection.in_transaction:
        assert isinstance(outcome, Rejected), "BUG: a mutation that ended the transaction was not rejected"
        raise _TransactionLost(place, outcome)
    if isinstance(outcome, Rejected):
        control.execute(f"ROLLBACK TO {SAVEPOINT}")
    control.execute(f"RELEASE {SAVEPOINT}")
    return outcome


def _outcome(connection: apsw.Connection, reducer: Reducer, context: Context) -> Outcome:
    try:
        reducer.apply(context)
        error = context.broken
    except BaseException as raised:
        if isinstance(raised, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # from the user, not from the reducer
        if context.broken is None:
            return rejected(raised)
        error = context.broken
    if error is None:
        if connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            return Rejected("FOREIGN KEY constraint failed")
        return Applied()
    if is_of_environment(connection, error):
        raise error
    return rejected(error)


def rejected(error: BaseException) -> Rejected:
    """Return the outcome of a mutation whose reducer raised ``error``."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the application's class may raise anything
        text = "its message cannot be read"
    match error:
        case ReducerFailed():
            return Rejected(_clean(text), failed=True)
        case MutationRejected() | BadMutation() | apsw.ConstraintError():
            return Rejected(_clean(text))
        case MemoryError():
            return Rejected(_clean(f"the reducer ran out of memory {text}".rstrip()), failed=True)
    return Rejected(_clean(f"{type(error).__name__}: {text}"), failed=True)


def _record(
    connection: apsw.Connection,
    mutations: Sequence[Mutation],
    outcomes: Sequence[Outcome],
    stamps: Sequence[Stamp],
    used_us: int,
) -> None:
    last: dict[TimelineId, int] = {}
    fresh: dict[TimelineId, list[Stamp]] = {}
    for place, (mutation, outcome) in enumerate(zip(mutations, outcomes, strict=True)):
        last[mutation.timeline] = mutation.lsn
        seal = None
        if stamps:
            fresh.setdefault(mutation.timeline, []).append(stamps[place])
            seal = stamps[place].seal
        if isinstance(outcome, Rejected):
            row = tables.RejectionRow(mutation.lsn, outcome.reason)
            if seal is None:
                tables.reject(connection, mutation.timeline, [row])
            else:
                tables.reject_sealed(connection, mutation.timeline, row, seal)
    for timeline, lsn in last.items():
        advance(connection, timeline, lsn, fresh.get(timeline, ()), used_us)


def advance(connection: apsw.Connection, timeline: TimelineId, lsn: int, stamps: Sequence[Stamp], used_us: int) -> None:
    """Move a timeline's position to ``lsn``; ``stamps`` are those of the applied mutations, if they have any."""
    before = tables.standing(connection, timeline) if stamps else None
    tables.set_applied(connection, timeline, lsn, used_us=used_us)
    if stamps:
        tables.set_standing(connection, timeline, continued(before, lsn, stamps))


def _clean(reason: str) -> str:
    """Return a reason as text that SQLite can store."""
    return reason[:REASON_CHARACTERS_MAX].encode("utf-8", "replace").decode()
