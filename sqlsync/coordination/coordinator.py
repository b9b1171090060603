"""The coordinator: applies the timelines of many clients to one volume, each mutation once and in order.

    submit --> inbox (fsync) --> acknowledged;   step: inbox --> applied, pushed (sqlsync.applier) --> dropped

Invariants: an entry leaves the inbox only when the volume has it, or its timeline is gone; the position of a timeline
moves in the same transaction as the effects. So several coordinators may serve one document: the loser of an append
gives up its commit, reads the winner's positions and applies what is left. `_applying` is taken before `_lock`, never
the other way round.
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
_RETRY_S = 1.0
_log = logging.getLogger(__name__)
_PRESENCE_S = 5.0
"""How late clients that fell silent may be missed."""


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
        """Open the coordinator's directory; a volume that is not there is made.

        ``actor`` says who calls mutations that are called here. A timeline that nobody wrote to for ``expiry_s``
        seconds (two days at least) is forgotten. One commit takes at most ``batch_mutations_max`` mutations.
        ``limits`` bounds what clients may have here at once; without it they are trusted.
        ``on_moved`` is called, by whichever thread it was, when the volume or what is known of it moved; it must be
        quick. Raises `DocumentBusy`, `ReducerTooOld`, and the errors of graft for the volume.
        """
        if expiry_s < EXPIRY_S_MIN:
            raise ValueError(f"timelines cannot expire after {expiry_s:g} s; {EXPIRY_S_MIN:g} s is the least")
        self.directory = path = replica_path(directory)
        self.reducer = reducer
        self.presence = PresenceHub(runtime)
        self.trouble: BaseException | None = None
        """Why the thread that `start` began could not apply anything the last time that it tried."""
        self._actor = actor
        self._runtime = runtime
        self._batch_max = batch_mutations_max
        self._limits = limits
        self._on_moved = on_moved
        self._path = path
        self._isolation = Isolation()
        self._isolated = 0
        self._applying = threading.Lock()  # guards the volume: who applies, pulls, pushes or queries
        self._lock = threading.Lock()  # guards all that follows
        self._moved = threading.Condition(self._lock)
        self._stopping = False
        self._thread: threading.Thread | None = None
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
        """The replica of the document's volume, to be read from; what is written there is lost."""
        return self._volume.replica

    @property
    def is_blank(self) -> bool:
        """Whether nobody ever wrote to the document, as far as is known here."""
        return not self._known.positions and not len(self._inbox)

    def health(self) -> Health:
        """Return how the coordinator is doing, for people and monitors."""
        with self._lock:
            thread, waiting = self._thread, len(self._inbox)
        return Health(
            applying=thread is not None and thread.is_alive(),
            waiting=waiting,
            isolated=self._isolated,
            trouble=None if self.trouble is None else f"{type(self.trouble).__name__}: {self.trouble}",
        )

    # What clients ask

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
        """Take mutations of one timeline, durably; see `sqlsync.links.link.CoordinatorLink`.

        ``principal`` is whose token was shown, and ``captured_here`` says that time and seed were captured on arrival.
        """
        caller = Caller(proof, principal, captured_here)
        try:
            return self.take(timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, caller=caller)
        except (TimelineGap, TimelineExpired):
            # Another coordinator may have taken what is missing here.
            self.catch_up()
            return self.take(timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, caller=caller)

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Return when the volume has a timeline's mutation, or after ``timeout_s`` seconds."""
        with self._moved:
            self._moved.wait_for(lambda: self._stopping or self._position(timeline) >= lsn, timeout_s)
            return self._acknowledged(timeline)

    # What the application asks, beside it

    def mutate(self, name_or_payload: str | bytes, /, **arguments: Any) -> None:
        """Call a mutation here, and return when the volume has it.

        Raises `BadMutation`, `MutationRejected`: nothing was done. Also what `step` raises, with a message that says
        that the mutation is stored: it is applied once that works again, so do not call it once more.
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
                raise TimelineExpired(f"the volume forgot the coordinator's own timeline {own}; call it again")
            try:
                self.step()
            except (GraftError, SqlSyncError, apsw.Error) as error:
                error.args = (f"{error}; the mutation is stored here and is applied later: do not call it again",)
                raise
        with self._applying:
            reason = self._applier.own_rejections.pop(mutation.lsn, None)
        if reason is not None:
            raise MutationRejected(reason)
        standing = self._known.standings.get(own)
        link = None if standing is None else standing.link_at(mutation.lsn)
        if None not in {link, entry.stamp.link} and link != entry.stamp.link:
            raise TimelineForked(
                f"mutation {mutation.lsn} of timeline {own} is another one in the volume: a copy of the directory "
                f"{self._path} is in use; this mutation was not applied, call it again"
            )

    def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[SQLValue, ...]]:
        """Return the rows of a query on what was applied here."""
        with self._applying, volume_errors():
            reader = self._volume.reader()
            try:
                return list(reader.execute(sql, bindings))
            finally:
                reader.close()

    # Applying

    def step(self) -> int:
        """Apply one batch of the inbox and push it; return how many entries the inbox could let go of by that.

        Raises `ReducerTooOld`, `MigrationFailed`, and the errors of graft when the volume cannot be reached; nothing is
        lost, step again later.
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
                self._tell_isolated(self._isolation.passed([entry.mutation for entry in entries]))
                self._learnt(applied=len(entries))
                return len(entries)

    def catch_up(self) -> None:
        """Learn what others pushed."""
        with self._applying, self._learning():
            self._applier.catch_up()

    def start(self) -> None:
        """Apply in a thread of its own from now on, until `stop`."""
        with self._lock:
            assert self._thread is None, "BUG: started twice"
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="sqlsync-coordinator", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; what is in the inbox stays there. May be called again."""
        with self._moved:
            self._stopping = True
            self._moved.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Stop, and let go of everything; may be called again."""
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
        """Take mutations like `submit`, by what is known here alone: the store is not asked."""
        with self._lock:
            if not self._volume.alive:
                raise CoordinatorUnavailable("the coordinator was closed")
            history = self._history(timeline)
            fresh = taken(timeline, mutations, caller, history, self._now_us())
            if history.next_lsn == 0 and may_be_forgotten(born_us, self._known.forgotten_us):
                raise TimelineExpired(
                    f"timeline {timeline} is not known here, and it is as old as others that were forgotten: what it "
                    "says may have been applied before"
                )
            self._require_room(timeline, fresh, rejections_seen)
            self._add(fresh)
            if self._expected(timeline) > 0:  # made-up timelines leave nothing here
                self._applier.readers.note(
                    timeline, rejections_seen, position=self._position(timeline), is_known=caller.is_known
                )
        failpoint("coordinator: after inbox")
        with self._lock:
            return self._acknowledged(timeline)

    def _require_room(self, timeline: TimelineId, fresh: Sequence[Entry], rejections_seen: int | None) -> None:
        """Raise `CoordinatorBusy` unless there is room for mutations."""
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
        """Return what is known of a timeline; the caller holds `_lock`."""
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
        """Show clients what the applier learns, even if it then fails."""
        try:
            yield
        finally:
            if self._applier.known is not self._known:
                self._learnt()

    def _learnt(self, applied: int | None = None) -> None:
        """Show clients what the applier knows by now, and let go of what the volume has: the first entries, or any."""
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

    def _tell_isolated(self, found: Sequence[tuple[Mutation, Rejected]]) -> None:
        self._isolated += len(found)
        for mutation, outcome in found:
            _log.error(
                "coordinator in %s: mutation %d of timeline %s was rejected, and the others go on: %s",
                self._path, mutation.lsn, mutation.timeline, outcome.reason,
            )  # fmt: skip

    def _run(self) -> None:
        """Apply until `stop`, whatever happens: what fails is told, kept, and tried again."""
        while not self._stopping:
            try:
                if self._wait_until_due():
                    self.step()
                self._set_trouble(None)
            except BaseException as error:  # noqa: BLE001 - nothing may end the thread but `stop`
                self._set_trouble(error)
                with self._moved:  # all is kept
                    self._moved.wait_for(lambda: self._stopping, _RETRY_S)

    def _wait_until_due(self) -> bool:
        silent_s = self.presence.expire()
        with self._moved:
            is_due = self._moved.wait_for(
                lambda: self._stopping or len(self._inbox) > 0 or self._applier.is_behind,
                _PRESENCE_S if silent_s is None else min(silent_s, _PRESENCE_S),
            )
            return is_due and not self._stopping

    def _set_trouble(self, error: BaseException | None) -> None:
        before, self.trouble = self.trouble, error
        if error is None:
            if before is not None:
                _log.info("coordinator in %s: applies again", self._path)
        elif before is None or repr(before) != repr(error):
            _log.error("coordinator in %s: nothing is applied: %s", self._path, error, exc_info=error)
