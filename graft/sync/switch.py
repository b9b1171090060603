"""Switching a replica to another branch of its volume.

The replica gets another identity and another sync point. What it has cached stays, since branches share segments.
Connections that are open see the branch from their next transaction on.
"""

from dataclasses import dataclass, replace

from graft.disk.shared_counters import Moment
from graft.errors import BadRequest, Diverged, VolumeExists
from graft.failpoints import failpoint
from graft.pagemap.page_map import compose
from graft.remote.remote import Proof
from graft.replica.freshness import confirm, now
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.sync.branches import require_related
from graft.sync.clone import newest_chain
from graft.sync.fork import check_new_name, start_branch
from graft.sync.history import reached
from graft.sync.inline_bodies import keep_inline
from graft.sync.push import recover
from graft.sync.versions import AnyVersion, Version, chain_to
from metastore.index import CommitIndex
from metastore.lsn import BEFORE_FIRST
from metastore.volumes import VolumeRecord


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """Where a replica went."""

    before: str
    """The branch that it was on."""
    after: str
    lsn: int
    """The remote LSN that it builds on now."""
    created: bool
    discarded_commits: int
    carried_commits: int
    """Local commits that went along, as the branch is at the version that they build on."""


def switch(
    replica: Replica, name: str, *, create: bool = False, at: AnyVersion | None = None, discard: bool = False
) -> SwitchResult:
    """Make a replica one of another branch of its volume, at that branch's newest version.

    With ``create``, the branch is made first, at a version ``at``, by default the one that the replica builds on. Local
    commits go along to a branch that is at the version that they build on, as a new one is; else they must be pushed
    before, or are given up with ``discard``. Raises `NoSuchVolume`, `OtherVolume` for one that is no branch of the same
    volume, `BadRequest` for local commits, `WriterBusy` when a write transaction stays open, and the remote's errors;
    the replica is then as it was.
    """
    check_new_name(name)
    if at is not None and not create:
        raise BadRequest("only a branch that is created can be told where to start")
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        recover(replica)
        view = replica.view()
        if name == replica.name:
            if create:
                raise VolumeExists(f"a volume named {name} exists already: this replica is on it")
            return SwitchResult(name, name, view.state.lsn, created=False, discarded_commits=0, carried_commits=0)
        begun = now(replica.runtime)
        if not create:
            record = require_related(replica, name)
            chain = newest_chain(replica.remote, record.lineage, view.state.chain)
        elif view.pending and at is not None and not discard:
            raise _has_local_commits(replica, view, name)
        else:
            record = start_branch(replica, name, view, at).record
            chain = list(view.state.chain) if at is None else chain_to(replica, _start(record))
        done = _switched(replica, view, name, record, chain, created=create, discard=discard)
        confirm(replica, begun)
        if not create or at is not None:
            _saw(replica, record, chain, begun)
        return done


def _switched(
    replica: Replica,
    view: View,
    name: str,
    record: VolumeRecord,
    chain: list[CommitIndex],
    *,
    created: bool,
    discard: bool,
) -> SwitchResult:
    carries = [index.commit.hash for index in chain[:1]] == [index.commit.hash for index in view.state.chain[:1]]
    if view.pending and not carries and not discard:
        raise _has_local_commits(replica, view, name)
    carries = carries and not discard
    before, local = replica.name, len(view.pending)
    lsn = _move(replica, view, name, record, chain, carries=carries)
    return SwitchResult(
        before, name, lsn, created=created,
        discarded_commits=0 if carries else local, carried_commits=local if carries else 0,
    )  # fmt: skip


def _saw(replica: Replica, record: VolumeRecord, chain: list[CommitIndex], begun: Moment) -> None:
    """Note that the remote was just seen to hold what the replica builds on now."""
    begun_s = begun.monotonic_us / 1e6
    if chain:
        reached(replica, chain[0], begun_s)
    else:
        replica.remote.proof = Proof(record.log, BEFORE_FIRST, b"", begun_s)


def _start(record: VolumeRecord) -> Version:
    return Version(record.lineage, record.lineage.start)


def _has_local_commits(replica: Replica, view: View, name: str) -> BadRequest:
    return BadRequest(
        f"volume {replica.name}: there are local commits ({len(view.pending)}) that build on LSN {view.state.lsn}, and "
        f"{name} is at another version: push them first, take them to a new branch (graft switch -c NAME), or give "
        "them up (graft switch --discard)"
    )


def _move(
    replica: Replica, view: View, name: str, record: VolumeRecord, chain: list[CommitIndex], *, carries: bool
) -> int:
    """Give the replica its new identity and sync point; the local commits stay if the branch ``carries`` them."""
    remote_map = compose(replica.table, chain, replica.load_chunks, view.remote_map) if chain else None
    keep_inline(replica, (index for index in chain if not any(index is mine for mine in view.state.chain)))
    identity = replace(view.state.identity, name=name, volume=record.volume, log=record.log, earlier=record.earlier)
    lsn = chain[0].commit.lsn if chain else BEFORE_FIRST
    failpoint("switch: after fetch")
    with replica.writer_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        current = replica.view_of_writer()
        if not carries and len(current.pending) != len(view.pending):
            raise Diverged(f"volume {replica.name}: a local commit was made meanwhile; switch again")
        # Two local LSNs, not one as in a pull: this tells all processes that history broke off.
        local_lsn = view.state.local_lsn if carries else current.snapshot.local_lsn + 2
        replica.shared.begin_state()
        state = replica.state.advance(lsn, local_lsn, chain, anew=identity)
        failpoint("switch: after state")
        replica.state_changed(state, remote_map=remote_map)
        replica.delete_pushed(spare_last=carries)
    replica.reclaimer.after_pull()
    return lsn
