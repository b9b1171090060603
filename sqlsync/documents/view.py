"""The view: the shared volume plus a client's pending mutations, as local commits of its replica.

Invariants: while `stale`, the replica lacks pending mutations, so readers stay at the version that they were
pinned to. One thread at a time changes the view (the document's lock); any thread reads.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import apsw

from graft.reading.snapshot import Snapshot
from pagestore.runtime import SYSTEM, Runtime
from sqlsync import tables
from sqlsync.documents.timeline import Timeline, may_be_forgotten
from sqlsync.envelope import Mutation
from sqlsync.failpoints import failpoint
from sqlsync.identity import Stamp, Standing
from sqlsync.queries.read_set import Reads
from sqlsync.queries.traced_query import Examined, examine
from sqlsync.reducers.apply import Applied, Outcome, Rejected, advance, apply_batch
from sqlsync.reducers.migrate import check_version
from sqlsync.reducers.reducer import Bindings, Reducer, SQLValue
from sqlsync.volume import DocumentVolume, volume_errors


@dataclass(frozen=True, slots=True)
class Settled:
    """The state of a client's timeline in the shared volume."""

    applied: int
    """How far it was applied, -1 for nowhere."""
    standing: Standing | None
    rejected: list[tuple[int, str]]
    """LSNs and reasons."""


class View:
    """A document's view."""

    def __init__(
        self, volume: DocumentVolume, reducer: Reducer, *, record_positions: bool, runtime: Runtime = SYSTEM
    ) -> None:
        """Show ``volume``; with ``record_positions`` the commits carry positions, so that they can be pushed."""
        self.volume = volume
        self._reducer = reducer
        self._record_positions = record_positions
        self._runtime = runtime
        self.stale = False
        """Whether pending mutations have to be replayed first."""
        self._is_dirty = False  # whether local commits may be there that are to be given up before the replay
        self._reading = threading.Lock()  # guards the reader
        self._reader = volume.reader()
        self._reads: Reads | None = None  # what is to hear what the authorizer is asked
        self._reader.authorizer = self._authorize

    def apply(self, mutation: Mutation, stamp: Stamp, store: Callable[[], None]) -> Outcome:
        """Run one more mutation, in a local commit; a rejected one has no effect.

        ``store`` is called for one that took effect, just before the commit: it makes the mutation durable elsewhere.
        """
        with self.volume.transaction() as connection:
            (outcome,) = apply_batch(self.volume.sandbox, self._reducer, [mutation])
            if isinstance(outcome, Applied):
                if self._record_positions:
                    advance(connection, mutation.timeline, mutation.lsn, [stamp], self._now_us())
                store()
        return outcome

    def replay(self, pending: Sequence[Mutation], stamps: Sequence[Stamp]) -> list[Outcome]:
        """Run the pending mutations, in one local commit, and let readers see it; raises `ReducerTooOld` first."""
        with volume_errors():
            check_version(tables.version(self.volume.connection), self._reducer)
        outcomes: list[Outcome] = []
        if pending:
            used_us = self._now_us() if self._record_positions else None
            with self.volume.transaction():
                outcomes = apply_batch(self.volume.sandbox, self._reducer, pending, used_us=used_us, stamps=stamps)
        self.stale = False
        self._unpin()
        return outcomes

    def pull(self, before_move: Callable[[], None]) -> bool:
        """Move to the newest remote version and discard local commits; return whether the view became stale.

        ``before_move`` is called just before the view changes. Raises the errors of `graft.sync.pull.pull`.
        """

        def moving() -> None:
            before_move()
            self.outdate()

        done = self.volume.pull(moving)
        self._is_dirty = False
        failpoint("rebase: after move")
        return done.before != done.after or done.discarded_commits > 0

    def clean(self) -> None:
        """Discard the local commits of a stale view without a request, which leaves the shared volume."""
        if self._is_dirty:
            self.volume.discard()
            self._is_dirty = False

    def outdate(self) -> None:
        """Mark the local commits as outdated; readers stay at their version."""
        self.stale = self._is_dirty = True
        self._pin()

    def settled(self, timeline: Timeline) -> Settled:
        """Return the state of a timeline in the replica."""
        connection = self.volume.connection
        with volume_errors():
            applied = tables.applied(connection, timeline.id)
            standing = tables.standing(connection, timeline.id)
            rejected = [(row.lsn, row.reason) for row in tables.rejections(connection, timeline.id, timeline.secret)]
        return Settled(-1 if applied is None else applied, standing, rejected)

    def may_have_forgotten(self, born_us: int) -> bool:
        """Return whether the volume may have forgotten an unknown timeline, by the time when it began."""
        with volume_errors():
            return may_be_forgotten(born_us, tables.forgotten_us(self.volume.connection))

    def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[SQLValue, ...]]:
        """Return the rows of a query; raises `apsw.Error`, and the errors of graft for the volume's."""
        with self._reading, volume_errors():
            return list(self._reader.execute(sql, bindings))

    def examine(self, sql: str, bindings: Bindings = ()) -> Examined:
        """Run a query and learn what it reads; raises like `query`, and `ValueError` for several statements."""
        with self._reading, volume_errors():
            return examine(self._reader, self._noting, sql, bindings)

    def snapshot(self) -> Snapshot:
        """Return the newest version of the replica."""
        return self.volume.replica.snapshot()

    def close(self) -> None:
        """Close the reader."""
        with self._reading:
            self._reader.close()

    def _now_us(self) -> int:
        return int(self._runtime.now_s() * 1_000_000)

    def _pin(self) -> None:
        with self._reading, volume_errors():
            if not self._reader.in_transaction:
                self._control(lambda reader: reader.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall())

    def _unpin(self) -> None:
        with self._reading:
            if self._reader.in_transaction:
                self._control(lambda reader: reader.execute("COMMIT"))

    def _control(self, do: Callable[[apsw.Connection], object]) -> None:
        self._reader.authorizer = None
        try:
            do(self._reader)
        finally:
            self._reader.authorizer = self._authorize

    def _authorize(self, code: int, first: str | None, second: str | None, *_: str | None) -> int:
        """Stop queries from ending the pinning transaction or attaching databases; the reader is read-only anyway."""
        if self._reads is not None:
            self._reads.note(code, first, second)
        return apsw.SQLITE_DENY if code in _REFUSED else apsw.SQLITE_OK

    @contextmanager
    def _noting(self, reads: Reads) -> Iterator[None]:
        self._reads = reads
        try:
            yield
        finally:
            self._reads = None


_REFUSED = {apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH}


def errors_of(outcomes: Sequence[Outcome]) -> list[str | None]:
    """Return why each mutation failed, None where it did not."""
    return [outcome.reason if isinstance(outcome, Rejected) else None for outcome in outcomes]
