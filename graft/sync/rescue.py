"""After the remote lost commits that the replica builds on: save the local version, then continue from the remote.

The local version becomes a new volume, as with any fork: an index is copied. Pages whose objects the remote lost are
written again from the cache and the journal, and so are local commits.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from graft.building.commit_builder import Draft, Onto, committed
from graft.building.segment_builder import write_segments
from graft.errors import (
    BaseCollected,
    Diverged,
    GraftError,
    HistoryLost,
    NoSuchVolume,
    RemoteRefused,
    RemoteUnavailable,
    remote_errors,
)
from graft.failpoints import failpoint
from graft.pagemap.locations import JOURNAL_TAG, frames_of, is_in_frame
from graft.pagemap.page_map import PageMap, compose
from graft.remote.landmarks import PARENT
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.sync.fork import ForkResult, name_copy, require_free, write_first
from graft.sync.history import holds, in_doubt, named, reached
from graft.sync.inline_bodies import keep_inline
from metastore.build import Origin, build_fork
from metastore.commit import CommitKind
from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.lsn import BEFORE_FIRST
from metastore.placement import CHUNK_PAGES, InCommit, SegmentRef
from metastore.volumes import VolumeRecord
from pagestore.errors import ObjectNotFound

Pages = npt.NDArray[np.int64]


def save_lost(
    replica: Replica, name: str, lost: HistoryLost | BaseCollected, before_move: Callable[[], None] | None
) -> tuple[int, str]:
    """Make what is here a new volume, and move the replica to what the remote has; the caller holds the sync lock.

    Returns the LSN that the replica is on then, and the fork's name. Raises ``lost`` where the remote has no such
    volume at all, and `HistoryLost` where pages were only in what was lost; nothing is changed then.
    """
    view = replica.view()
    try:
        record = named(replica)
    except NoSuchVolume:
        raise lost from None
    if record.page_size != replica.page_size:
        raise HistoryLost(
            f"{lost} The volume that is there now has pages of {record.page_size} bytes: `graft export` what is here"
        )
    forked = _fork_of_what_is_here(replica, view, name, collected=isinstance(lost, BaseCollected))
    return _go_on(replica, view, record, before_move), forked.name


def _fork_of_what_is_here(replica: Replica, view: View, name: str, *, collected: bool) -> ForkResult:
    require_free(replica, name)
    chain, snapshot = list(view.state.chain), view.snapshot
    log = LogId.new(replica.runtime)
    pages = np.union1d(_gone(replica, view, collected=collected), _in_journal(snapshot.page_map))
    pages = pages[pages <= snapshot.page_count]
    try:
        copied = [_copy_index(replica, log, chain, view.remote_map)] if chain else []
        if len(pages) or view.pending:
            onto = Onto(log, copied, view.remote_map if copied else PageMap.empty(replica.table))
            kept = min([snapshot.page_count, *(commit.min_page_count for commit in view.pending)])
            origin = Origin(attributes={} if copied else {PARENT: str(replica.log).encode()})
            written = write_segments(replica.remote, replica.settings, snapshot, pages)
            outgoing = committed(replica, onto, Draft(written, snapshot, kept, len(pages)), origin)
            copied = [write_first(replica, outgoing.commit), *copied]
    except (RemoteUnavailable, RemoteRefused):
        raise
    except GraftError as error:
        raise HistoryLost(
            f"volume {replica.name}: what is here cannot be saved as {name}: of {len(pages)} pages that the remote "
            f"lost or never had, some are not here either ({error}). The replica is left as it is"
        ) from error
    return name_copy(replica, name, log, chain, copied)


def _copy_index(replica: Replica, log: LogId, chain: Sequence[CommitIndex], page_map: PageMap) -> CommitIndex:
    """Begin a new log with a copy of the index of ``chain``: what it would go on from may be lost."""
    with remote_errors(f"forking volume {replica.name}"):
        first = build_fork(
            log, chain, page_map, commits=replica.remote.commits, parallel=replica.remote.parallel,
            origin=Origin(CommitKind.FORK, {PARENT: str(replica.log).encode()}), runtime=replica.runtime,
        )  # fmt: skip
    return write_first(replica, first)


def _gone(replica: Replica, view: View, *, collected: bool) -> Pages:
    """Return the pages of the remote version whose bodies the remote may have lost.

    If the version was ``collected``, all but those that the newest version has in the same places: the others may be
    deleted at any time.
    """
    places = [(number, chunk.locations()) for number, chunk in enumerate(view.remote_map.chunks)]
    frames = {int(frame) for _, found in places for frame in np.unique(frames_of(found[is_in_frame(found)]))}
    refs = {frame: replica.table.key(frame).ref for frame in frames}
    if collected:
        there = _newest_refs(replica, view)
    else:
        kept = next((index.commit.lsn for index in view.state.chain if holds(replica, index.commit)), BEFORE_FIRST)
        there = _there(replica, set(refs.values()), kept)
    lost = np.array(sorted(frame for frame, ref in refs.items() if ref not in there), np.uint64)
    pages = [
        np.flatnonzero(is_in_frame(found) & np.isin(frames_of(found), lost)) + (number * CHUNK_PAGES + 1)
        for number, found in places
    ]
    return np.concatenate([np.empty(0, np.int64), *pages]).astype(np.int64)


def _newest_refs(replica: Replica, view: View) -> set[SegmentRef]:
    """Return the segments that the newest version in the remote reads."""
    lineage = view.state.identity.lineage
    head = replica.remote.head(lineage)
    chain = replica.remote.chain(lineage.log_of(head), head, view.state.chain)
    if not chain:
        return set()
    newest = compose(replica.table, chain, replica.load_chunks, view.remote_map)
    found = [chunk.locations() for chunk in newest.chunks]
    frames = {int(frame) for locations in found for frame in np.unique(frames_of(locations[is_in_frame(locations)]))}
    return {replica.table.key(frame).ref for frame in frames}


def _there(replica: Replica, refs: Iterable[SegmentRef], kept: int) -> set[SegmentRef]:
    """Return the segments that are in the remote; inline ones of this log only up to the commit ``kept``.

    A later commit in the remote may belong to another history.
    """
    asked = [ref for ref in refs if not (isinstance(ref.home, InCommit) and _is_late(replica, ref.home, kept))]

    def is_there(ref: SegmentRef) -> bool:
        with remote_errors(f"looking for segment {ref.segment}"):
            try:
                return bool(replica.remote.store.get_range(ref.locate(0, 1).key, 0, 1))
            except ObjectNotFound:
                return False

    found = replica.remote.parallel.map(is_there, asked)
    return {ref for ref, there in zip(asked, found, strict=True) if there}


def _is_late(replica: Replica, home: InCommit, kept: int) -> bool:
    return home.log == replica.log and home.lsn > kept


def _in_journal(page_map: PageMap) -> Pages:
    pages = [
        np.flatnonzero(chunk.locations() & np.uint64(JOURNAL_TAG)) + (number * CHUNK_PAGES + 1)
        for number, chunk in enumerate(page_map.chunks)
    ]
    return np.concatenate([np.empty(0, np.int64), *pages]).astype(np.int64)


def _go_on(replica: Replica, view: View, record: VolumeRecord, before_move: Callable[[], None] | None) -> int:
    """Make the replica one of what the name stands for now, at its newest version, whatever it was built on."""
    begun_s = replica.runtime.monotonic_s()
    head = replica.remote.head(record.lineage)
    chain = replica.remote.chain(record.lineage.log_of(head), head)
    remote_map = compose(replica.table, chain, replica.load_chunks, None) if chain else None
    keep_inline(replica, chain)
    failpoint("pull: after fetch")
    if before_move is not None:
        before_move()
    identity = replace(view.state.identity, volume=record.volume, log=record.log, earlier=record.earlier)
    with replica.writer_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        now = replica.view_of_writer()
        if before_move is None and len(now.pending) != len(view.pending):
            raise Diverged(f"volume {replica.name}: a local commit was made during the pull; pull again")
        replica.shared.begin_state()
        # Two local LSNs, not one as in other pulls: this tells all processes that history broke off.
        state = replica.state.advance(head, now.snapshot.local_lsn + 2, chain, anew=identity)
        failpoint("pull: after state")
        replica.state_changed(state, remote_map=remote_map)
        replica.delete_pushed(spare_last=False)
    in_doubt(replica)
    if chain:
        reached(replica, chain[0], begun_s)
    return head
