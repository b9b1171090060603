"""The coordinator: applies the timelines of many clients to one volume, each mutation once and in order.

    submit --> inbox (fsync) --> acknowledged;   step: inbox --> one local commit --> one conditional append --> dropped

Invariants: an entry leaves the inbox only when the volume has it, or its timeline is gone; the position of a timeline
moves in the same transaction as the effects; `_positions` holds what is in the volume, never what is on its way there.
So several coordinators may serve one document: the loser of an append gives up its commit, reads the winner's
positions and applies what is left. `_applying` is taken before `_lock`, never the other way round.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from graft.errors import Diverged, GraftError
from graft.pull import fetch, pull
from graft.push import push
from graft.remote import RemoteAddress
from graft.settings import Settings
from graft_sqlite_vfs.layout import btree_layout
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync import tables
from sqlsync.apply import apply_batch
from sqlsync.envelope import Mutation
from sqlsync.errors import CoordinatorUnavailable, MutationRejected, TimelineExpired, TimelineGap
from sqlsync.failpoints import failpoint
from sqlsync.ids import TimelineId
from sqlsync.inbox import FILE, Inbox
from sqlsync.link import Acknowledged
from sqlsync.presence import PresenceHub
from sqlsync.reducer import Bindings, Reducer, SQLValue
from sqlsync.timeline import body_of, may_be_forgotten
from sqlsync.volume import DocumentVolume, volume_errors

BATCH_MUTATIONS_MAX = 2000
EXPIRY_S = 90 * 24 * 3600.0
_RETRY_S = 1.0


class Coordinator:
    """The coordinator of one document; threads may share it. Use as a context manager, or `close` it."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        remote: str | os.PathLike[str] | RemoteAddress,
        reducer: Reducer,
        *,
        expiry_s: float = EXPIRY_S,
        batch_mutations_max: int = BATCH_MUTATIONS_MAX,
        settings: Settings | None = None,
        store: ObjectStore | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Open the coordinator's directory; a volume that is not there is made.

        A timeline that nobody wrote to for ``expiry_s`` seconds is forgotten. Raises `DocumentBusy`, `ReducerTooOld`,
        and the errors of graft for the volume.
        """
        path = Path(directory)
        self.reducer = reducer
        self.presence = PresenceHub(runtime)
        self._runtime = runtime
        self._expiry_s = expiry_s
        self._batch_max = batch_mutations_max
        self._applying = threading.Lock()  # guards the volume: who applies, pulls, pushes or queries
        self._lock = threading.Lock()  # guards all that follows
        self._moved = threading.Condition(self._lock)
        self._positions: dict[TimelineId, int] = {}
        self._forgotten_us: int | None = None
        self._volume_lsn = 0
        self._rejections_seen: dict[TimelineId, int] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._open = ExitStack()
        with ExitStack() as opened:
            self._volume = DocumentVolume(path, remote, settings=settings, store=store, runtime=runtime)
            opened.callback(self._volume.close)
            self._inbox = Inbox(path / FILE, runtime)
            opened.callback(self._inbox.close)
            self._volume.discard()  # the inbox has it all
            self._learn()
            self._open = opened.pop_all()

    # What clients ask

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int = -1,
        born_us: int | None = None,
    ) -> Acknowledged:
        """Take mutations of one timeline, durably; see `sqlsync.link.CoordinatorLink`."""
        try:
            return self._submit(timeline, mutations, rejections_seen, born_us)
        except (TimelineGap, TimelineExpired):
            # Another coordinator may have taken what is missing here.
            self.catch_up()
            return self._submit(timeline, mutations, rejections_seen, born_us)

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Return when the volume has a timeline's mutation, or after ``timeout_s`` seconds."""
        with self._moved:
            self._moved.wait_for(lambda: self._stopping or self._positions.get(timeline, -1) >= lsn, timeout_s)
            return self._acknowledged(timeline)

    def mutate(self, name_or_payload: str | bytes, /, **arguments: Any) -> None:
        """Call a mutation here, and return when the volume has it; raises `BadMutation`, `MutationRejected`."""
        own, body = self._inbox.id, body_of(name_or_payload, arguments)
        with self._lock:
            lsn = max(self._positions.get(own, -1), self._inbox.last(own)) + 1
            mutation = Mutation.captured(own, lsn, body, actor="", runtime=self._runtime)
            self.reducer.check(mutation)
            self._inbox.add([mutation])
        while self._positions.get(own, -1) < lsn:
            self.step()
        with self._applying, volume_errors():
            refused = {row.lsn: row.reason for row in tables.rejections(self._volume.connection, own)}
        with self._lock:
            self._rejections_seen[own] = max(lsn, self._rejections_seen.get(own, -1))
        if lsn in refused:
            raise MutationRejected(refused[lsn])

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

        Raises the errors of graft when the volume cannot be reached; nothing is lost, step again later.
        """
        with self._applying:
            self._settle()
            while True:
                entries = self._inbox.first(self._batch_max)
                if not entries:
                    return 0
                self._apply(entries)
                failpoint("coordinator: after apply")
                try:
                    push(self._volume.replica, layout=btree_layout)
                except Diverged:
                    self._pull()
                    continue
                failpoint("coordinator: after push")
                self._landed(entries)
                return len(entries)

    def catch_up(self) -> None:
        """Learn what others pushed."""
        with self._applying:
            self._settle()
            if fetch(self._volume.replica).head > self._volume.lsn:
                self._pull()

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

    def _submit(
        self, timeline: TimelineId, mutations: Sequence[Mutation], rejections_seen: int, born_us: int | None
    ) -> Acknowledged:
        with self._moved:
            if not self._volume.alive:
                raise CoordinatorUnavailable("the coordinator was closed")
            expected = self._expected(timeline)
            if mutations:
                self._check(timeline, mutations, expected, born_us)
            fresh = [mutation for mutation in mutations if mutation.lsn >= expected]
            self._inbox.add(fresh)
            if rejections_seen > self._rejections_seen.get(timeline, -1):
                self._rejections_seen[timeline] = rejections_seen
            if fresh:
                self._moved.notify_all()
        failpoint("coordinator: after inbox")
        with self._lock:
            return self._acknowledged(timeline)

    def _check(self, timeline: TimelineId, mutations: Sequence[Mutation], expected: int, born_us: int | None) -> None:
        first = mutations[0]
        for place, mutation in enumerate(mutations):
            if (mutation.timeline, mutation.lsn) != (timeline, first.lsn + place):
                wanted = first.lsn + place
                raise TimelineGap(f"timeline {timeline}: {wanted} is missing before {mutation.lsn}", expected=wanted)
        if first.lsn > expected:
            raise TimelineGap(f"timeline {timeline}: {expected} is missing before {first.lsn}", expected=expected)
        if expected == 0 and may_be_forgotten(born_us, self._forgotten_us):
            raise TimelineExpired(
                f"timeline {timeline} is not known here, and it is as old as others that were forgotten: what it says "
                "may have been applied before"
            )

    def _expected(self, timeline: TimelineId) -> int:
        return max(self._positions.get(timeline, -1), self._inbox.last(timeline)) + 1

    def _acknowledged(self, timeline: TimelineId) -> Acknowledged:
        return Acknowledged(self._expected(timeline), self._positions.get(timeline), self._volume_lsn)

    def _settle(self) -> None:
        """Bring a push to its end that was cut short."""
        if self._volume.unpushed:
            try:
                push(self._volume.replica, layout=btree_layout)
            except Diverged:
                self._pull()
            else:
                self._learn()
                self._drop()

    def _pull(self) -> None:
        pull(self._volume.replica, policy="discard")
        failpoint("coordinator: after pull")
        self._learn()
        self._drop()

    def _apply(self, entries: Sequence[Mutation]) -> None:
        """Apply those entries that follow what the volume has; the volume itself says what that is."""
        with self._lock:
            seen = dict(self._rejections_seen)
        with self._volume.transaction() as connection:
            batch, reached = [], dict[TimelineId, int]()
            for mutation in entries:
                if mutation.timeline not in reached:
                    applied = tables.applied(connection, mutation.timeline)
                    reached[mutation.timeline] = -1 if applied is None else applied
                if mutation.lsn == reached[mutation.timeline] + 1:
                    batch.append(mutation)
                    reached[mutation.timeline] = mutation.lsn
            if batch:
                apply_batch(self._volume.sandbox, self.reducer, batch, used_us=int(self._runtime.now_s() * 1e6))
                for timeline in tables.rejected_timelines(connection) & seen.keys():
                    tables.forget_rejections(connection, timeline, seen[timeline])

    def _landed(self, entries: Sequence[Mutation]) -> None:
        """Take note of what the volume has by now; entries that do not follow it belong to a forgotten timeline."""
        with volume_errors():
            found = {timeline: tables.applied(self._volume.connection, timeline) for timeline in _timelines(entries)}
        with self._moved:
            self._positions.update({timeline: lsn for timeline, lsn in found.items() if lsn is not None})
            self._volume_lsn = self._volume.lsn
            self._moved.notify_all()
        self._drop(entries)

    def _learn(self) -> None:
        """Read all positions; nothing of the replica is unpushed."""
        with volume_errors():
            found = tables.positions(self._volume.connection)
            forgotten_us = tables.forgotten_us(self._volume.connection)
        with self._moved:
            self._positions, self._forgotten_us = found, forgotten_us
            self._volume_lsn = self._volume.lsn
            self._moved.notify_all()

    def _drop(self, gone: Sequence[Mutation] = ()) -> None:
        with self._lock:
            self._inbox.drop(self._positions, gone=gone)
        failpoint("coordinator: after drop")

    def _run(self) -> None:
        while True:
            with self._moved:
                self._moved.wait_for(lambda: self._stopping or len(self._inbox) > 0)
                if self._stopping:
                    return
            try:
                self.step()
            except GraftError:
                with self._moved:  # the volume is out of reach; all is kept
                    self._moved.wait_for(lambda: self._stopping, _RETRY_S)


def _timelines(mutations: Sequence[Mutation]) -> set[TimelineId]:
    return {mutation.timeline for mutation in mutations}
