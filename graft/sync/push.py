"""Push: local commits become one remote commit, exactly once, whatever fails.

plan → segment (unless inline) → journal synced → intent → append → settle → cache → sync point → journal files deleted

The journal is synced in the background from the start of the push; the push waits for it before the intent.

The intent holds the very bytes that are appended. A process that finds an intent appends the same bytes again. Their
nonce makes that harmless, and the outcome is final, even if the first request is still in flight.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graft.building.commit_builder import Onto, Outgoing, prepare, put_into_cache
from graft.building.progress import Progress
from graft.building.segment_builder import Layout
from graft.disk.shared_counters import Moment
from graft.errors import (
    BaseCollected,
    Diverged,
    GraftError,
    HistoryLost,
    RemoteUnavailable,
    remote_errors,
)
from graft.failpoints import failpoint
from graft.journal.local_commit import LocalCommit
from graft.pagemap.page_map import PageMap
from graft.reading.snapshot import Snapshot
from graft.replica.freshness import age_of, confirm, now
from graft.replica.replica import Replica
from graft.replica.state import Intent, SyncState
from graft.replica.view import View
from graft.sync.collected import base_collected
from graft.sync.history import check_winner, in_doubt, reached, require_parent
from graft.sync.merges import merge_attributes
from metastore.append import Absent, Landed, Lost, append, settle
from metastore.commit import CommitKind
from metastore.index import CommitIndex
from metastore.placement import InCommit
from pagestore.errors import PageStoreError
from pagestore.objectstore import etag_of
from pagestore.segments.fetch_plan import segment_key

MESSAGE = "message"
PUSH_DEADLINE_S = 24 * 3600.0
"""A commit is appended within this time of its first upload: garbage collection deletes older segments that no commit
names (docs/adr/0027-retention-and-collection.md)."""
_APPEND_S_MAX = 600.0
"""An append that took longer is looked at: its LSN may have been collected meanwhile."""


class _GivenUp(Exception):
    """A push that was left open is forgotten, since it is too old to be sent again."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did."""

    before: int
    """The remote LSN that the replica was on."""
    after: int
    """The remote LSN that it is on now; equal to ``before`` if there was nothing to push."""
    pages: int
    bytes: int
    """Size of the segments that were written."""
    inline: bool
    """Whether the pages were sent inside the commit."""


def push(
    replica: Replica, *, message: str | None = None, layout: Layout | None = None, progress: Progress | None = None
) -> PushResult:
    """Push all local commits as one remote commit; ``layout`` orders the pages of a bulk load for cold reads.

    ``progress`` counts the bytes of the pages that are sent, before compression.

    Raises `Diverged` if another replica pushed first, `RemoteUnavailable` if the outcome is unknown (the next push
    settles it) or nothing was sent, `HistoryLost` if the remote lacks what the local commits build on, `RemoteRefused`,
    and `WriterBusy` if another push or pull takes too long.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        begun_s = replica.runtime.monotonic_s()
        with _syncing(replica, replica.view().pending):
            recover(replica)
            view = replica.view()
            if not view.pending:
                return PushResult(view.state.lsn, view.state.lsn, 0, 0, inline=False)
            require_parent(replica, view.state)
            attributes = {MESSAGE: message.encode()} if message else {}
            outgoing = _prepared(replica, view, view, attributes, layout, progress)
        if progress:
            size = outgoing.pages * replica.page_size
            progress(size, size)  # also if all pages were sent as deltas
        return _landed(replica, view, view, outgoing, begun_s)


def push_unpublished(replica: Replica, commit: LocalCommit) -> PushResult:
    """Push all local commits and one that is not published yet; the caller holds the writer lock.

    If this raises and leaves no intent, nothing was pushed.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        begun_s = replica.runtime.monotonic_s()
        with _syncing(replica, [commit]):
            recover(replica)
            view = replica.view()
            require_parent(replica, view.state)
            pushed = replica.view_with(view, commit)
            outgoing = _prepared(replica, view, pushed, {}, None)
        return _landed(replica, view, pushed, outgoing, begun_s)


def recover(replica: Replica) -> None:
    """Settle a push whose outcome is not known, if there is one; the caller holds the sync lock.

    Raises `Diverged` if it lost, `RemoteUnavailable` if its outcome stays unknown.
    """
    if replica.shared.state_in_doubt:
        replica.state_changed()
    if replica.state.intent() is None:
        return
    state = replica.state.read()
    intent = state.intent
    assert intent is not None, "BUG: an intent was settled without the sync lock"
    if intent.log != state.identity.log or intent.lsn <= state.lsn:
        replica.state.drop_intent()
        return
    with remote_errors(f"settling the push of LSN {intent.lsn}"):
        index = CommitIndex.decode(intent.data, intent.log, intent.lsn)
    begun_s = replica.runtime.monotonic_s()
    try:
        if _may_append(replica, state, intent, index):
            _append(replica, intent)
    except _GivenUp:
        return
    except Diverged:
        if index.commit.kind is CommitKind.COMPACT:
            return  # it had no local commits
        raise
    index.etag = etag_of(intent.data)
    reached(replica, index, begun_s)
    _move_sync_point(replica, [index, *state.chain], intent.local_lsn, None)


def _prepared(
    replica: Replica,
    view: View,
    pushed: View,
    attributes: dict[str, bytes],
    layout: Layout | None,
    progress: Progress | None = None,
) -> Outgoing:
    """Build the commit that brings the remote from what ``view`` builds on to ``pushed``."""
    onto = Onto(view.state.identity.log, view.state.chain, view.remote_map)
    attributes = {**attributes, **merge_attributes(view)}
    return prepare(
        replica, pushed.pending, pushed.snapshot, onto, attributes=attributes, layout=layout, progress=progress
    )


def _landed(replica: Replica, view: View, pushed: View, outgoing: Outgoing, begun_s: float) -> PushResult:
    land(replica, outgoing, pushed.snapshot, pushed.snapshot.local_lsn, begun_s)
    replica.reclaimer.after_push(outgoing.pages)
    return PushResult(view.state.lsn, outgoing.commit.lsn, outgoing.pages, outgoing.segment_bytes, outgoing.inline)


def _syncing(replica: Replica, commits: Sequence[LocalCommit]) -> contextlib.AbstractContextManager[None]:
    """Sync local commits during a block: they must be on the disk before the intent is."""
    local_lsn = commits[-1].local_lsn if commits else 0
    if replica.journal.is_synced_through(local_lsn):
        return contextlib.nullcontext()
    return replica.remote.parallel.beside(lambda: replica.journal.sync_through(local_lsn))


def land(replica: Replica, outgoing: Outgoing, kept: Snapshot | None, local_lsn: int, begun_s: float) -> None:
    """Append a commit that was built on the sync point, and move the sync point to it; the caller holds the sync lock.

    The commit has the local commits up to ``local_lsn``. Its pages go into the cache as ``kept`` has them, if given.
    Raises `Diverged` if another replica was first, `RemoteUnavailable` if the outcome is unknown.
    """
    commit = outgoing.commit
    hours = (replica.runtime.monotonic_s() - begun_s) / 3600
    if hours * 3600 > PUSH_DEADLINE_S and outgoing.segment_bytes and not outgoing.inline:
        _delete_orphan(replica, outgoing)
        raise RemoteUnavailable(
            f"volume {replica.name}: writing the segments of LSN {commit.lsn} took {hours:.0f} hours, longer than "
            f"garbage collection leaves them alone ({PUSH_DEADLINE_S / 3600:g}): nothing was appended; push again"
        )
    intent = Intent(commit.log, commit.lsn, commit.nonce, local_lsn, commit.data)
    # Without this a power cut could leave an intent that is ahead of the journal. The next local commit would get an
    # LSN that the intent covers already, and be taken for pushed.
    replica.journal.sync_through(local_lsn)
    require_parent(replica, replica.view().state)  # no request, unless writing the segments took long
    replica.state.begin_intent(intent)
    failpoint("push: after intent")
    try:
        with _cached_with(replica, outgoing, kept):
            begun = _append(replica, intent)
            failpoint("push: after append")
    except (Diverged, HistoryLost):
        _delete_orphan(replica, outgoing)
        raise
    failpoint("push: after cache")
    _move_sync_point(replica, [outgoing.index, *replica.view().state.chain], local_lsn, outgoing.remote_map)
    confirm(replica, begun)
    outgoing.index.etag = etag_of(commit.data)
    reached(replica, outgoing.index, begun.monotonic_us / 1e6)


@contextlib.contextmanager
def _cached_with(replica: Replica, outgoing: Outgoing, kept: Snapshot | None) -> Iterator[None]:
    """Put what a block pushes into the cache: in parallel with the block if it is small, to bound memory.

    If the block fails, no commit names the cached frames.
    """
    if kept is None:
        yield
    elif outgoing.inline:
        with replica.remote.parallel.beside(lambda: put_into_cache(replica, outgoing, kept)):
            yield
    else:
        yield
        put_into_cache(replica, outgoing, kept)


def _append(replica: Replica, intent: Intent) -> Moment:
    """Append; return a moment at which no other commit had the LSN."""
    begun = now(replica.runtime)
    with _checked_again_on_failure(replica), remote_errors(f"pushing LSN {intent.lsn} of volume {replica.name}"):
        outcome = append(replica.remote.commits, intent.log, intent.lsn, intent.data, intent.nonce)
    if isinstance(outcome, Lost):
        replica.state.drop_intent()
        check_winner(replica, replica.view().state, outcome.winner)
        replica.state.saw_head(intent.lsn)
        raise Diverged(
            f"volume {replica.name}: LSN {intent.lsn} was pushed by somebody else; the local commits are kept. "
            "Pull with the policy 'discard' or 'fork'"
        )
    took_s = age_of(begun, now(replica.runtime))
    if took_s is None or took_s > _APPEND_S_MAX:
        _require_not_collected(replica, intent)
    return begun


def _require_not_collected(replica: Replica, intent: Intent) -> None:
    """Raise `BaseCollected` if a commit landed where garbage collection had removed another one."""
    remote = replica.remote
    if remote.newest(replica.lineage).lsn > intent.lsn and intent.lsn not in remote.remaining(intent.log):
        replica.state.drop_intent()
        raise base_collected(remote, intent.log, intent.lsn - 1, replica.name)


def _may_append(replica: Replica, state: SyncState, intent: Intent, index: CommitIndex) -> bool:
    """Whether a push that was left open is to be sent again; False if it landed.

    Not after so long that its segments may have been deleted, or its parent: it is then given up, unless it landed. If
    its parent was collected, raises `BaseCollected`; if it is only too old, the local commits are pushed anew.
    """
    remote = replica.remote
    try:
        require_parent(replica, state)
    except BaseCollected:
        with remote_errors(f"settling the push of LSN {intent.lsn}"):
            outcome = settle(remote.commits, intent.log, intent.lsn, intent.nonce)
        if isinstance(outcome, Landed) and intent.lsn in remote.remaining(intent.log):
            return False
        replica.state.drop_intent()
        raise
    age_s = abs(replica.runtime.now_s() - index.commit.timestamp_us / 1e6)
    if age_s < PUSH_DEADLINE_S or all(isinstance(ref.home, InCommit) for ref in index.commit.segments):
        return True
    with remote_errors(f"settling the push of LSN {intent.lsn}"):
        outcome = settle(remote.commits, intent.log, intent.lsn, intent.nonce)
    if isinstance(outcome, Absent):
        replica.state.drop_intent()
        raise _GivenUp
    return isinstance(outcome, Lost)  # which the append says once more


@contextlib.contextmanager
def _checked_again_on_failure(replica: Replica) -> Iterator[None]:
    """Drop the proof of the remote if a block fails, so that the next push checks the remote again."""
    try:
        yield
    except BaseException:
        in_doubt(replica)
        raise


def _move_sync_point(
    replica: Replica, known: Sequence[CommitIndex], local_lsn: int, remote_map: PageMap | None
) -> None:
    """Move the sync point to the first of ``known`` commits; the others are its chain so far."""
    pushed = known[0].commit
    chain = replica.remote.chain(pushed.log, pushed.lsn, known)
    replica.shared.begin_state()
    # Not durable: after a power cut, the intent is settled again.
    state = replica.state.advance(pushed.lsn, local_lsn, chain, durable=False)
    failpoint("push: after state")
    replica.state_changed(state, remote_map=remote_map)
    replica.delete_pushed(spare_last=True)
    failpoint("push: after journal deletion")


def _delete_orphan(replica: Replica, outgoing: Outgoing) -> None:
    # No commit names the segment, and none ever will. If deleting it fails, garbage collection deletes it later.
    for segment in outgoing.written:
        if not segment.inline:
            with contextlib.suppress(PageStoreError, GraftError):
                replica.remote.store.delete(segment_key(segment.segment))
