"""The document: a database that can be edited at once, also offline, and that converges with all other clients'.

directory/timeline.db      mutations that are not confirmed (sqlsync.documents.timeline)
directory/replica/         the volume, with the pending mutations applied (sqlsync.documents.view)
directory/document.lock    held while it is open
"""

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

from graft.errors import GraftError
from graft.reading.snapshot import Snapshot
from graft.remote.address import RemoteAddress
from graft.replica.directory import replica_path
from graft.settings import Settings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.documents import sync as rounds
from sqlsync.documents.live_queries import LiveQueries
from sqlsync.documents.rebase import deliver, rebase
from sqlsync.documents.receipts import Receipt
from sqlsync.documents.session import Client, OnRejected
from sqlsync.documents.sync_loop import POLL_S, SyncLoop
from sqlsync.documents.timeline import FILE, Refusal, Timeline, ViewMark, body_of
from sqlsync.documents.view import View
from sqlsync.envelope import Mutation, Named, Opaque
from sqlsync.errors import CoordinatorRefused, MutationRejected, ReducerFailed, SqlSyncError
from sqlsync.failpoints import failpoint
from sqlsync.ids import TimelineId
from sqlsync.links.link import CoordinatorLink
from sqlsync.links.presence import OwnPresence
from sqlsync.queries.row_diff import Change
from sqlsync.queries.subscription import Subscription
from sqlsync.reducers.apply import Rejected
from sqlsync.reducers.reducer import Bindings, Reducer, SQLValue
from sqlsync.volume import DocumentVolume

_log = logging.getLogger(__name__)


class Document:
    """An open document; threads may share it. Use as a context manager, or `close` it."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        remote: str | os.PathLike[str] | RemoteAddress,
        reducer: Reducer,
        *,
        link: CoordinatorLink | None = None,
        actor: str = "",
        on_rejected: OnRejected = "drop",
        settings: Settings | None = None,
        store: ObjectStore | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Open the document in ``directory``; the first time, create or clone the volume ``remote``.

        ``link`` connects to its coordinator; without one this client applies and pushes by itself. ``actor`` is the
        actor of its mutations. Only the first opening needs the remote. Raises `DocumentBusy`, `CorruptTimeline`,
        `ReducerTooOld` and the errors of graft.
        """
        path, self._actor = replica_path(directory), actor
        self._loop: SyncLoop | None = None
        self._open = ExitStack()
        with ExitStack() as opened:
            if link is not None:
                opened.callback(link.close)
            volume = DocumentVolume(path, remote, settings=settings, store=store, runtime=runtime)
            opened.callback(volume.close)
            timeline = Timeline(path / FILE, runtime)
            opened.callback(timeline.close)
            timeline.adopt_secret()
            view = View(volume, reducer, record_positions=link is None, runtime=runtime)
            opened.callback(view.close)
            self._client = Client(timeline, view, reducer, link, on_rejected, runtime, acknowledged=timeline.start)
            presence = getattr(link, "presence", None)
            if presence is not None:
                self._client.presence = OwnPresence(presence, str(timeline.id), runtime)
            self._take_up()
            self._live = LiveQueries(view, self._current)
            self._client.view_changed = self._live.note
            self._open = opened.pop_all()
        self._client.tell()

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike[str],
        remote: str | os.PathLike[str] | RemoteAddress,
        reducer: Reducer,
        **options: Any,
    ) -> Self:
        """Open a document; see `Document` for the options."""
        return cls(directory, remote, reducer, **options)

    @property
    def timeline(self) -> TimelineId:
        """The id of this client's timeline."""
        return self._client.timeline.id

    @property
    def presence(self) -> OwnPresence:
        """The presence of this client and of others; raises `CoordinatorRefused` without a link."""
        if self._client.presence is None:
            raise CoordinatorRefused("presence passes through a coordinator, and this document has no link to one")
        return self._client.presence

    def mutate(self, name_or_payload: str | bytes, /, **arguments: Any) -> Receipt:
        """Call a mutation: when this returns it is durable here, and queries show its effects.

        A name takes arguments; bytes are for reducers with an encoding of their own. Raises `BadMutation`,
        `MutationRejected` if the reducer rejects it now, and the errors of graft. If it raises, the mutation has no
        effect and is not sent. If it returns, the mutation is stored, even if the view cannot show it because the disk
        is full; then `Receipt.provisional_error` says so.
        """
        return self._mutate(body_of(name_or_payload, arguments))

    def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[SQLValue, ...]]:
        """Return the rows of a query on the view: the shared volume and all pending mutations of this client."""
        return self._client.view.query(sql, bindings)

    def subscribe(
        self,
        sql: str,
        bindings: Bindings = (),
        *,
        key: Sequence[str] | None = None,
        callback: Callable[[Change], object] | None = None,
    ) -> Subscription:
        """Run a query now, and again whenever data that it reads changed, by a local mutation or a pull.

        The subscription yields the first result, and then one `Change` each time that the result is another one, with
        the rows that were added, removed or changed. ``key`` names the columns that tell rows apart; by default the
        primary keys of the tables, where the result has them. ``callback`` is called with each change, in a thread
        of the subscription's own; without one, iterate over it. Raises `ValueError` and the errors of `query`.
        """
        return self._live.subscribe(sql, bindings, key=key, callback=callback)

    def pending(self) -> Sequence[Mutation]:
        """Return this client's mutations that are not confirmed, oldest first."""
        with self._client.lock:
            return self._client.timeline.pending()

    def receipt(self, mutation: Mutation) -> Receipt:
        """Return the receipt of a pending mutation, also of one that was called before the document was opened."""
        with self._client.lock:
            return self._client.receipts.issue(mutation)

    def sync(self, *, wait_s: float = 0.0) -> None:
        """Do one round: submit pending mutations, fetch new versions, rebase.

        With ``wait_s``, wait that long for the coordinator to apply pending mutations, so that one round confirms them.
        Raises `CoordinatorUnavailable`, `CoordinatorRefused`, `TimelineExpired`, `ReducerTooOld` and the errors of
        graft; pending mutations are retained in all cases.
        """
        rounds.sync(self._client, wait_s=wait_s)

    def start(self, *, poll_s: float = POLL_S, on_error: Callable[[Exception], None] | None = None) -> None:
        """Synchronize in a thread from now on: after each mutation, and every ``poll_s`` seconds."""
        assert self._loop is None, "BUG: started twice"
        self._loop = SyncLoop(self._client, poll_s, on_error)

    def stop(self) -> None:
        """Stop the thread of `start`; may be called again."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()

    def refusals(self) -> list[Refusal]:
        """Return the rejected mutations that the policy ``keep`` stored, oldest first."""
        return self._client.timeline.refusals()

    def retry(self, refusal: Refusal) -> Receipt:
        """Call a rejected mutation again, as a new one; raises `MutationRejected` if it is rejected again."""
        return self._mutate(refusal.mutation.body, instead_of=refusal)

    def forget(self, refusal: Refusal) -> None:
        """Delete a stored rejected mutation."""
        self._client.timeline.forget(refusal.mutation)

    def renew_timeline(self) -> TimelineId:
        """Continue as a new timeline after `TimelineExpired`: all pending mutations are submitted again.

        Mutations that were applied under the old id, unknown to this client, are applied a second time.
        """
        client = self._client
        with client.syncing, client.lock:
            start = client.timeline.start
            fresh = client.timeline.renew()
            client.receipts.renumbered(start)
            client.acknowledged, client.is_forked = 0, False
            with contextlib.suppress(GraftError, SqlSyncError):  # the timeline is a new one; the view can wait
                client.view.outdate()
                rebase(client)
            return fresh

    def close(self) -> None:
        """Stop, and close all files; pending mutations stay stored. May be called again."""
        self.stop()
        self._live.close()
        client = self._client
        if client.presence is not None:
            with contextlib.suppress(SqlSyncError):
                client.presence.leave()
        with client.syncing, client.lock, self._open, contextlib.suppress(GraftError):
            # Without a mark the next opening compares the timeline with the volume again.
            if not client.view.stale and not client.is_forked and client.view.volume.alive:
                snapshot = client.view.snapshot()
                client.timeline.mark_view(ViewMark(client.timeline.next_lsn, snapshot.local_lsn, snapshot.lsn))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_up(self) -> None:
        """Make the view match the timeline, without requests unless pages are missing."""
        client = self._client
        client.to_tell += [partial(deliver, client, refusal) for refusal in client.timeline.refusals()]
        mark, snapshot = client.timeline.take_view_mark(), client.view.snapshot()
        if mark != ViewMark(client.timeline.next_lsn, snapshot.local_lsn, snapshot.lsn):
            client.view.outdate()
            rebase(client)

    def _mutate(self, body: Named | Opaque, *, instead_of: Refusal | None = None) -> Receipt:
        client = self._client
        try:
            with client.lock:
                rebase(client)
                mutation = Mutation.captured(
                    client.timeline.id, client.timeline.next_lsn, body, actor=self._actor, runtime=client.runtime
                )
                client.reducer.check(mutation)
                view_error = self._run(mutation, instead_of)
                receipt = client.receipts.issue(mutation)
                receipt.replayed(view_error)
        finally:
            self._tell_aside()
        if self._loop is not None:
            self._loop.wake()
        return receipt

    def _run(self, mutation: Mutation, instead_of: Refusal | None) -> str | None:
        """Run a mutation on the view, and store it before its effects are committed.

        Raises if it is not stored in the end. Returns why the view does not show it although it is stored.
        """
        client, is_stored = self._client, False

        def store() -> None:
            nonlocal is_stored
            client.timeline.append(mutation, instead_of=instead_of)
            is_stored = True
            failpoint("mutate: after append")

        try:
            outcome = client.view.apply(mutation, client.timeline.next_stamp(mutation), store)
        except (Exception, KeyboardInterrupt) as error:
            with contextlib.suppress(GraftError):
                client.view.outdate()  # whether it is in the replica is open
            if is_stored and (why := self._taken_back(mutation, instead_of, error)) is not None:
                return why
            raise
        with contextlib.suppress(GraftError):
            client.note_change()  # a rejected one may have brought a migration
        if isinstance(outcome, Rejected):
            failpoint("mutate: after take back")
            raise (ReducerFailed if outcome.failed else MutationRejected)(outcome.reason)
        failpoint("mutate: after run")
        return None

    def _taken_back(self, mutation: Mutation, instead_of: Refusal | None, error: BaseException) -> str | None:
        """Remove a mutation from the timeline; where that fails, too, return why the view does not show it."""
        try:
            self._client.timeline.take_back(mutation, instead_of=instead_of)
        except GraftError:
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt("the mutation is stored and will be handed over") from error
            return str(error)
        return None

    def _tell_aside(self) -> None:
        """Run the waiting callbacks; their errors do not concern the mutation that was called."""
        try:
            self._client.tell()
        except Exception:  # noqa: BLE001 - whatever the application raises
            _log.exception("a call-back of a document failed")

    def _current(self) -> Snapshot | None:
        """Return the version that readers see, None while the view is stale and they stay at an older one."""
        with self._client.lock:
            return None if self._client.view.stale else self._client.view.snapshot()
