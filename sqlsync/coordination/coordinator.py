"""The coordinator: applies the timelines of many clients to one volume, each mutation once and in order.

    submit --> inbox (fsync) --> acknowledged
    step:      inbox --> apply, push (sqlsync.coordination.applier) --> drop

Invariants: an entry leaves the inbox only when the volume has it, or its timeline was forgotten. A timeline's position
moves in the same transaction as the effects. So several coordinators may serve one document: the loser of an append
discards its commit, reads the winner's positions and applies the rest. `_applying` is always acquired before `_lock`.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import apsw

from graft.errors import Diverged, GraftError
from graft.remote.address import RemoteAddress
from graft.replica.directory import replica_path
from graft.replica.replica import Replica
from graft.settings import Settings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.coordination.admission import History
from sqlsync.coordination.applier import Applier
from sqlsync.coordination.apply_thread import ApplyThread
from sqlsync.coordination.health import Health
from sqlsync.coordination.inbox import FILE, Entry, Inbox
from sqlsync.coordination.intake import ANYBODY, Caller, taken
from sqlsync.coordination.isolation import Isolation
from sqlsync.coordination.limits import Limits, require_room
from sqlsync.documents.timeline import CLOCKS_APART_US, body_of, may_be_forgotten
from sqlsync.envelope import Mutation, encode
from sqlsync.errors import (
    CoordinatorUnavailable,
    MutationRejected,
    SqlSyncError,
    TimelineExpired,
    TimelineForked,
    TimelineGap,
)
from sqlsync.failpoints import failpoint
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged
from sqlsync.links.presence import PresenceHub
from sqlsync.reducers.apply import Rejected
from sqlsync.reducers.reducer import Bindings, Reducer, SQLValue
from sqlsync.volume import DocumentVolume, volume_errors

BATCH_MUTATIONS_MAX = 2000
EXPIRY_S = 90 * 24 * 3600.0
EXPIRY_S_MIN = 2 * CLOCKS_APART_US / 1e6
_log = logging.getLogger(__name__)


class Coordinator:
    """The coordinator of one document; threads may share it. Use as a context manager, or `close` it."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        remote: str | os.PathLike[str] | RemoteAddress,
        reducer: Reducer,
        *,
        actor: str = "",
        expiry_s: float = EXPIRY_S,
        batch_mutations_max: int = BATCH_MUTATIONS_MAX,
        limits: Limits | None = None,
        on_moved: Callable[[], None] | None = None,
        settings: Settings | None = None,
        store: ObjectStore | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Open the coordinator's directory, and create the volume if it does not exist.

        ``actor`` is the actor of mutations called on this object. A timeline that was not written to for ``expiry_s``
        seconds (at least two days) is forgotten. One commit applies at most ``batch_mutations_max`` mutations.
        ``limits`` bounds the mutations and rejections of clients; without it they are unbounded. ``on_moved`` is
        called, in any thread, when the volume's version or the known positions changed; it must be quick. Raises
        `DocumentBusy`, `ReducerTooOld`, and the errors of graft for the volume.
        """
        if expiry_s < EXPIRY_S_MIN:
            raise ValueError(f"timelines cannot expire after {expiry_s:g} s; the minimum is {EXPIRY_S_MIN:g} s")
        self.directory = path = replica_path(directory)
        self.reducer = reducer
        self.presence = PresenceHub(runtime)
        self._actor = actor
        self._runtime = runtime
        self._batch_max = batch_mutations_max
        self._limits = limits
        self._on_moved = on_moved
        self._path = path
        self._isolation = Isolation()
        self._isolated = 0
        self._applying = threading.Lock()  # guards the volume while it applies, pulls, pushes or queries
        self._lock = threading.Lock()  # guards all that follows
        self._moved = threading.Condition(self._lock)
        self._thread = ApplyThread(
            path,
            self._moved,
            is_due=self._is_due,
            step=lambda: self.step(),  # noqa: PLW0108 - looks `step` up at each call, so that it can be replaced
            expire_presence=self.presence.expire,
        )
        self._open = ExitStack()
        with ExitStack() as opened:
            self._volume = DocumentVolume(path, remote, settings=settings, store=store, runtime=runtime)
            opened.callback(self._volume.close)
            self._inbox = Inbox(path / FILE, runtime)
            opened.callback(self._inbox.close)
            self._applier = Applier(
                self._volume,
                reducer,
                self._inbox.id,
                self._inbox.secret,
                expiry_s=expiry_s,
                limits=limits,
                runtime=runtime,
            )
            self._known = self._applier.known
            self._inbox.drop_known(self._known.positions, self._known.forgotten_us)
            self._open = opened.pop_all()

    @property
    def replica(self) -> Replica:
        """The replica of the document's volume, for reading; local writes to it are lost."""
        return self._volume.replica

    @property
    def is_blank(self) -> bool:
        """Whether the document has no mutations, neither in the known version nor in the inbox."""
        return not self._known.positions and not len(self._inbox)

    @property
    def trouble(self) -> BaseException | None:
        """Why the thread that `start` created failed to apply mutations the last time it tried."""
        return self._thread.trouble

    def health(self) -> Health:
        """Return the coordinator's state, for users and monitoring."""
        with self._lock:
            applying, waiting = self._thread.is_alive, len(self._inbox)
        return Health(
            applying=applying,
            waiting=waiting,
            isolated=self._isolated,
            trouble=None if self.trouble is None else f"{type(self.trouble).__name__}: {self.trouble}",
        )

    # Requests of clients

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int | None = None,
        born_us: int | None = None,
        proof: Proof | None = None,
        principal: str = "",
        captured_here: bool = False,
    ) -> Acknowledged:
        """Accept mutations of one timeline, durably; see `sqlsync.links.link.CoordinatorLink`.

        ``principal`` is the one whose token was presented. With ``captured_here`` time and seed were captured on
        arrival.
        """
        caller = Caller(proof, principal, captured_here)
        try:
            return self.take(timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, caller=caller)
        except (TimelineGap, TimelineExpired):
            # Another coordinator may have accepted the missing mutations.
            self.catch_up()
            return self.take(timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, caller=caller)

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Return when the volume has a timeline's mutation, or after ``timeout_s`` seconds."""
        with self._moved:
            self._moved.wait_for(lambda: self._thread.is_stopping or self._position(timeline) >= lsn, timeout_s)
            return self._acknowledged(timeline)

    # Calls of the application in this process

    def mutate(self, name_or_payload: str | bytes, /, **arguments: Any) -> None:
        """Call a mutation here, and return when the volume has it.

        Raises `BadMutation` or `MutationRejected` if it had no effect. Also raises what `step` raises; the message then
        says that the mutation is stored. It is applied once `step` succeeds again, so do not call it again.
        """
        own, body = self._inbox.id, body_of(name_or_payload, arguments)
        with self._lock:
            history = self._history(own)
            lsn = history.next_lsn
            mutation = Mutation.captured(own, lsn, body, actor=self._actor, runtime=self._runtime)
            self.reducer.check(mutation)
            caller = Caller(Proof(self._inbox.secret, lsn, history.link(lsn - 1)))
            (entry,) = taken(own, [mutation], caller, history, self._now_us())
            self._add([entry])
        while self._position(own) < mutation.lsn:
            if self._inbox.last(own) < mutation.lsn:
                raise TimelineExpired(
                    f"the volume forgot the coordinator's own timeline {own}; call the mutation again"
                )
            try:
                self.step()
            except (GraftError, SqlSyncError, apsw.Error) as error:
                error.args = (f"{error}; the mutation is stored and will be applied later: do not call it again",)
                raise
        with self._applying:
            reason = self._applier.own_rejections.pop(mutation.lsn, None)
        if reason is not None:
            raise MutationRejected(reason)
        standing = self._known.standings.get(own)
        link = None if standing is None else standing.link_at(mutation.lsn)
        if None not in {link, entry.stamp.link} and link != entry.stamp.link:
            raise TimelineForked(
                f"the volume has another mutation {mutation.lsn} of timeline {own}: a copy of the directory "
                f"{self._path} is in use; this mutation was not applied, call it again"
            )

    def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[SQLValue, ...]]:
        """Return the rows of a query on the version that this coordinator has applied."""
        with self._applying, volume_errors():
            reader = self._volume.reader()
            try:
                return list(reader.execute(sql, bindings))
            finally:
                reader.close()

    # Applying

    def step(self) -> int:
        """Apply one batch of the inbox and push it; return how many entries left the inbox.

        Raises `ReducerTooOld`, `MigrationFailed`, and the errors of graft if the volume cannot be reached. Nothing is
        lost then: call it again later.
        """
        with self._applying:
            with self._learning():
                self._applier.settle()
            while True:
                limit = self._isolation.limit(self._batch_max)
                with self._lock:
                    entries, seen = self._inbox.first(limit), dict(self._applier.readers.seen)
                    waiting = self._inbox.timelines()
                if not entries and not self._applier.is_behind:
                    return 0
                try:
                    self._applier.apply(entries, seen, waiting, self._isolation.refused)
                except BaseException as error:
                    if self._isolation.failed([entry.mutation for entry in entries], error):
                        continue
                    raise
                failpoint("coordinator: after apply")
                try:
                    self._applier.push(entries)
                except Diverged:
                    with self._learning():
                        self._applier.pull()
                    continue
                self._log_isolated(self._isolation.passed([entry.mutation for entry in entries]))
                self._learnt(applied=len(entries))
                return len(entries)

    def catch_up(self) -> None:
        """Read what other processes pushed."""
        with self._applying, self._learning():
            self._applier.catch_up()

    def start(self) -> None:
        """Apply mutations in a thread until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; the inbox retains its entries. May be called again."""
        self._thread.stop()

    def close(self) -> None:
        """Stop, and close all files; may be called again."""
        self.stop()
        with self._applying:
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int | None = None,
        born_us: int | None = None,
        caller: Caller = ANYBODY,
    ) -> Acknowledged:
        """Accept mutations like `submit`, but decide by local knowledge alone, without a request to the store."""
        with self._lock:
            if not self._volume.alive:
                raise CoordinatorUnavailable("the coordinator is closed")
            history = self._history(timeline)
            fresh = taken(timeline, mutations, caller, history, self._now_us())
            if history.next_lsn == 0 and may_be_forgotten(born_us, self._known.forgotten_us):
                raise TimelineExpired(
                    f"timeline {timeline} is unknown, and old enough to have been forgotten: its mutations "
                    "may have been applied before"
                )
            self._require_room(timeline, fresh, rejections_seen)
            self._add(fresh)
            if self._expected(timeline) > 0:  # nothing is stored for an invented timeline
                self._applier.readers.note(
                    timeline, rejections_seen, position=self._position(timeline), is_known=caller.is_known
                )
        failpoint("coordinator: after inbox")
        with self._lock:
            return self._acknowledged(timeline)

    def _require_room(self, timeline: TimelineId, fresh: Sequence[Entry], rejections_seen: int | None) -> None:
        """Raise `CoordinatorBusy` if these entries would exceed the limits."""
        if self._limits is not None:
            known, rejected = self._known.positions, self._applier.rejected.get(timeline, ())
            require_room(
                self._limits,
                self._inbox.tally,
                timeline,
                [len(encode(entry.mutation)) for entry in fresh],
                unread=self._applier.readers.unread(timeline, rejections_seen, rejected),
                timelines=None if timeline in known else len(known),
            )

    def _add(self, fresh: list[Entry]) -> None:
        self._inbox.add(fresh, taken_us=self._now_us())
        if fresh:
            self._moved.notify_all()

    def _now_us(self) -> int:
        return int(self._runtime.now_s() * 1_000_000)

    def _history(self, timeline: TimelineId) -> History:
        """Return the known history of a timeline; the caller holds `_lock`."""
        standing, stamps = self._known.standings.get(timeline), self._inbox.stamps(timeline)
        return History.of(self._expected(timeline), standing, stamps)

    def _position(self, timeline: TimelineId) -> int:
        return self._known.positions.get(timeline, -1)

    def _expected(self, timeline: TimelineId) -> int:
        return max(self._position(timeline), self._inbox.last(timeline)) + 1

    def _acknowledged(self, timeline: TimelineId) -> Acknowledged:
        return Acknowledged(self._expected(timeline), self._known.positions.get(timeline), self._known.lsn)

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Publish what the applier learns to clients, even if it fails afterwards."""
        try:
            yield
        finally:
            if self._applier.known is not self._known:
                self._learnt()

    def _learnt(self, applied: int | None = None) -> None:
        """Publish what the applier knows to clients, and drop the first ``applied`` entries, or all known ones."""
        with self._moved:
            self._known = self._applier.known
            self._moved.notify_all()
            if applied is None:
                self._inbox.drop_known(self._known.positions, self._known.forgotten_us)
            else:
                self._inbox.drop_first(applied)
        if self._on_moved is not None:
            self._on_moved()
        failpoint("coordinator: after drop")

    def _log_isolated(self, found: Sequence[tuple[Mutation, Rejected]]) -> None:
        self._isolated += len(found)
        for mutation, outcome in found:
            _log.error(
                "coordinator in %s: rejected mutation %d of timeline %s, so that the others can be applied: %s",
                self._path, mutation.lsn, mutation.timeline, outcome.reason,
            )  # fmt: skip

    def _is_due(self) -> bool:
        return len(self._inbox) > 0 or self._applier.is_behind
