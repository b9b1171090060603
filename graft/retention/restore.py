"""Restore: a new commit whose content is that of an older version. It lists places and moves no page.

pin the version → compare its page map with the newest one → commit with the places that differ → append → move there

The old version is pinned meanwhile, so that no collector deletes what the new commit names.
"""

import contextlib
from dataclasses import dataclass

import numpy as np

from graft.building.commit_builder import Onto, with_landmarks
from graft.errors import BadRequest, Diverged, NoSuchVersion, remote_errors
from graft.failpoints import failpoint
from graft.pagemap.page_map import PageMap, compose
from graft.remote.landmarks import RESTORED_AT
from graft.replica.freshness import confirm, now
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.retention.pinning import Pin
from graft.sync.history import check_winner, reached, require_parent
from graft.sync.push import MESSAGE, recover
from graft.sync.versions import AnyVersion, chain_to, resolve
from metastore.append import Lost, append
from metastore.build import NewCommit, Origin, build_commit
from metastore.commit import CommitKind
from metastore.index import CommitIndex, load_chunks
from metastore.lsn import BEFORE_FIRST
from metastore.placement import CHUNK_PAGES, ChunkPlacement, SegmentRef
from metastore.rollup import Changes, as_base, roll_up

_PIN_S = 900.0


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did."""

    restored: int
    """The LSN of the version whose content is the newest now."""
    before: int
    """The remote LSN that the replica was on."""
    after: int
    """The one that it is on now; equal to ``before`` where the content was the same."""
    pages: int
    """Pages that are in another place now."""


def restore(replica: Replica, at: AnyVersion, *, message: str | None = None) -> RestoreResult:
    """Make a commit in the remote whose content is that of a version, and move the replica there; no page is moved.

    The version may be of another branch. Raises `NoSuchVersion`, `BadRequest` for local commits, which must be pushed
    or given up before, and `Diverged` when the remote has newer commits than the replica: pull first. Nothing is
    changed then.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        recover(replica)
        view = replica.view()
        _require_no_local_commits(replica, view)
        version = resolve(replica, at)
        if version.lsn == BEFORE_FIRST or not view.state.chain:
            raise NoSuchVersion(f"volume {replica.name}: LSN {version.lsn} has no content to restore")
        require_parent(replica, view.state)
        with contextlib.closing(_Released(Pin(replica, version.log, version.lsn, _PIN_S))):
            chain = chain_to(replica, version)
            old = compose(replica.table, chain, replica.load_chunks, view.remote_map)
            changes = _changes(replica, view, chain, old)
            if changes is None:
                return RestoreResult(version.lsn, view.state.lsn, view.state.lsn, 0)
            commit = _commit(replica, view, changes, old, message or f"restore LSN {version.lsn}")
            after = _land(replica, view, commit, old)
    pages = sum(placement.pages for placement in changes.reused.values())
    return RestoreResult(version.lsn, view.state.lsn, after, pages)


class _Released:
    def __init__(self, pin: Pin) -> None:
        self.close = pin.release


def _require_no_local_commits(replica: Replica, view: View) -> None:
    if view.pending:
        raise BadRequest(
            f"volume {replica.name}: there are local commits ({len(view.pending)}), which a restore would leave out: "
            "push them first, or give them up (graft pull --policy discard)"
        )


def _changes(replica: Replica, view: View, chain: list[CommitIndex], old: PageMap) -> Changes | None:
    """Return the places of the old version that differ from the newest one's, None if all are the same."""
    newest, head = view.remote_map, view.state.chain[0].commit
    commit = chain[0].commit
    if (old.fingerprint, old.live_pages, commit.byte_size) == (newest.fingerprint, newest.live_pages, head.byte_size):
        return None
    with remote_errors("reading the index"):
        wanted = [(index, entry.number) for index in chain for entry in index.commit.directory]
        load_chunks(replica.remote.commits, replica.remote.parallel, wanted)
    unchanged = Changes((), commit.byte_size, commit.page_count, commit.page_count)
    whole = as_base(roll_up(unchanged, chain))
    kept = min(commit.page_count, newest.page_count, _first_hole(old, newest) - 1)
    reused: dict[int, ChunkPlacement] = {}
    for number, placement in whole.placements.items():
        pages = placement.page_low.astype(np.int64) + (number * CHUNK_PAGES + 1)
        differs = _locations(old, number) != _locations(newest, number)
        found = placement.selected(differs[placement.page_low] | (pages > kept))
        if found.pages:
            reused[number] = found
    segments = tuple(ref for ref in whole.segments if isinstance(ref, SegmentRef))
    assert len(segments) == len(whole.segments), "BUG: an older version names a segment of a commit that is not made"
    return Changes((), commit.byte_size, commit.page_count, kept, reused_segments=segments, reused=reused)


def _locations(page_map: PageMap, number: int) -> np.ndarray:
    """Return where the pages of a chunk are, 0 for those without a body and beyond the end."""
    if number >= len(page_map.chunks):
        return np.zeros(CHUNK_PAGES, np.uint64)
    found = np.zeros(CHUNK_PAGES, np.uint64)
    locations = page_map.chunks[number].locations()
    found[: len(locations)] = locations
    return found


def _first_hole(old: PageMap, newest: PageMap) -> int:
    """Return the first page that has a body now and had none: an index can only cut such pages off."""
    for number in range(min(len(old.chunks), len(newest.chunks))):
        holes = np.flatnonzero((_locations(old, number) == 0) & (_locations(newest, number) != 0))
        if len(holes):
            return int(holes[0]) + number * CHUNK_PAGES + 1
    return old.page_count + 1


def _commit(replica: Replica, view: View, changes: Changes, old: PageMap, message: str) -> NewCommit:
    onto = Onto(replica.log, view.state.chain, view.remote_map)
    origin = with_landmarks(replica.settings, onto, [], Origin(CommitKind.WRITE, {MESSAGE: message.encode()}))
    here = str(view.state.lsn + 1).encode()
    with remote_errors("building the commit"):
        return build_commit(
            replica.log, replica.page_size, changes, sources=view.state.chain, summary=old,
            commits=replica.remote.commits, parallel=replica.remote.parallel,
            origin=Origin(CommitKind.WRITE, {**origin.attributes, RESTORED_AT: here}), runtime=replica.runtime,
        )  # fmt: skip


def _land(replica: Replica, view: View, commit: NewCommit, old: PageMap) -> int:
    """Append the commit and move to it, while nobody can write: nothing is in it that only this replica has."""
    index = CommitIndex.decode(commit.data, commit.log, commit.lsn)
    with replica.writer_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        current = replica.view_of_writer()
        _require_no_local_commits(replica, current)
        begun = now(replica.runtime)
        with remote_errors(f"restoring volume {replica.name}"):
            outcome = append(replica.remote.commits, commit.log, commit.lsn, commit.data, commit.nonce)
        if isinstance(outcome, Lost):
            check_winner(replica, view.state, outcome.winner)
            replica.state.saw_head(commit.lsn)
            raise Diverged(
                f"volume {replica.name}: LSN {commit.lsn} was pushed by somebody else, and nothing was restored: "
                "pull, then restore again"
            )
        failpoint("restore: after append")
        chain = replica.remote.chain(commit.log, commit.lsn, [index, *view.state.chain])
        replica.shared.begin_state()
        # Two local LSNs, not one as in a pull: this tells all processes that history broke off.
        state = replica.state.advance(commit.lsn, current.snapshot.local_lsn + 2, chain)
        replica.state_changed(state, remote_map=old)
        replica.delete_pushed(spare_last=False)
    confirm(replica, begun)
    reached(replica, index, begun.monotonic_us / 1e6)
    return commit.lsn
