"""Fork: a new volume that goes on from a version of this one, a branch. No page moves, nothing is hydrated.

A branch is its name alone, made by one conditional put: the name says which version it starts from, and the log stays
empty until the first push to it. Local commits that are to be in it are its first commit, appended before the name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from graft.building.commit_builder import Onto, prepare
from graft.errors import BadRequest, Diverged, HistoryLost, NoSuchVolume, VolumeExists, remote_errors
from graft.pagemap.page_map import PageMap
from graft.remote.landmarks import PARENT
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.sync.collected import require_remaining, withdraw_if_collected
from graft.sync.history import require_own, require_parent, require_safe_endpoint, was_seen_lately
from graft.sync.versions import AnyVersion, Version, resolve
from metastore.append import Lost, append
from metastore.build import NewCommit
from metastore.errors import CommitMissing
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex, read_index
from metastore.lineage import Parent
from metastore.lsn import LSN
from metastore.volumes import VolumeRecord, check_name, create_volume, read_volume


@dataclass(frozen=True, slots=True)
class ForkResult:
    """The volume that was made."""

    name: str
    volume: VolumeId
    log: LogId
    lsn: int
    """Its newest LSN; 0 for the fork of an empty volume."""


def fork(replica: Replica, name: str, *, at: AnyVersion | None = None) -> ForkResult:
    """Make a volume that starts as this one is now, local commits included, or as it was ``at`` a version.

    Two requests, if the replica was in touch with its remote lately and has no local commits. The replica stays where
    it is. Raises `VolumeExists`, `NoSuchVersion` and the remote's errors.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        return fork_locked(replica, name, at=at)


def fork_locked(replica: Replica, name: str, *, at: AnyVersion | None = None) -> ForkResult:
    """See `fork`; the caller holds the sync lock."""
    check_new_name(name)
    view = replica.view()
    if at is None and view.pending:
        return _with_local_commits(replica, name, view)
    return start_branch(replica, name, view, at).result(name)


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that was made and has no commits of its own."""

    record: VolumeRecord
    lsn: LSN

    def result(self, name: str) -> ForkResult:
        """Return what `fork` returns."""
        return ForkResult(name, self.record.volume, self.record.log, self.lsn)


def start_branch(replica: Replica, name: str, view: View, at: AnyVersion | None = None) -> Branch:
    """Make a branch that starts at a version, by default the one that the replica builds on, without local commits.

    The caller holds the sync lock, and has checked the name. Unless this process saw the version lately, the remote is
    asked for it first, and whether it is being collected afterwards, when a collector would see the name
    (`metastore.collected`).
    """
    state = view.state
    version = Version(state.identity.lineage, state.lsn) if at is None else resolve(replica, at)
    if (version.log, version.lsn) in {(state.identity.lineage.log_of(state.lsn), state.lsn), (state.identity.log, 0)}:
        if not was_seen_lately(replica, state):
            require_own(replica, state, to_write=True)
    else:
        _require_there(replica, version)
    require_safe_endpoint(replica)
    record = _record(replica, LogId.new(replica.runtime), version.lineage.up_to(version.lsn))
    _name(replica, name, record)
    if version.lsn:
        withdraw_if_collected(replica.remote, name, version.log, version.lsn)
    return Branch(record, version.lsn)


def _require_there(replica: Replica, version: Version) -> None:
    """Raise `HistoryLost` if the remote has no such commit, `BadRequest` if its pages have another size."""
    where = f"commit {version.lsn} of log {version.log}"
    with remote_errors(f"looking for {where}"):
        try:
            commit = read_index(replica.remote.commits, version.log, version.lsn).commit
        except CommitMissing:
            require_remaining(replica.remote, version.log, version.lsn, replica.name)
            raise HistoryLost(
                f"volume {replica.name}: {where} is not in {replica.remote.store.url}: it was deleted, or this is "
                "another place than the one that the replica knows. Nothing was changed"
            ) from None
    if version.hash not in {None, commit.hash.hex()}:
        raise HistoryLost(
            f"volume {replica.name}: {where} in {replica.remote.store.url} is {commit.hash.hex()}, not "
            f"{version.hash}: the remote lost commits, others took their place. Nothing was changed"
        )
    if commit.page_size != replica.page_size:
        raise BadRequest(
            f"{where} has pages of {commit.page_size} bytes, volume {replica.name} has pages of {replica.page_size}"
        )


def _with_local_commits(replica: Replica, name: str, view: View) -> ForkResult:
    require_free(replica, name)
    require_parent(replica, view.state)
    lineage, chain = view.state.identity.lineage, view.state.chain
    log = LogId.new(replica.runtime)
    attributes = {} if chain else {PARENT: str(replica.log).encode()}
    onto = Onto(log, chain, view.remote_map if chain else PageMap.empty(replica.table))
    outgoing = prepare(replica, view.pending, view.snapshot, onto, attributes=attributes)
    first = write_first(replica, outgoing.commit)
    record = _record(replica, log, lineage.up_to(view.state.lsn))
    _name(replica, name, record)
    if view.state.lsn:
        withdraw_if_collected(replica.remote, name, lineage.log_of(view.state.lsn), view.state.lsn)
    return ForkResult(name, record.volume, log, first.commit.lsn)


def check_new_name(name: str) -> None:
    """Raise `BadRequest` for what cannot be a volume's name."""
    try:
        check_name(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def require_free(replica: Replica, name: str) -> None:
    """Raise `VolumeExists` if a name is taken: only for an early answer, the conditional put at the end decides."""
    check_new_name(name)
    try:
        with remote_errors(f"looking up {name}"):
            read_volume(replica.remote.store, name)
    except NoSuchVolume:
        return
    raise VolumeExists(f"a volume named {name} exists already in {replica.remote.store.url}")


def write_first(replica: Replica, commit: NewCommit) -> CommitIndex:
    """Append a commit to a log that nobody else knows of yet."""
    with remote_errors(f"writing commit {commit.lsn} of the fork"):
        outcome = append(replica.remote.commits, commit.log, commit.lsn, commit.data, commit.nonce)
        if isinstance(outcome, Lost):
            raise Diverged(f"log {commit.log} was written to by somebody else")
        return CommitIndex.decode(commit.data, commit.log, commit.lsn)


def name_copy(
    replica: Replica, name: str, log: LogId, chain: Sequence[CommitIndex], copied: Sequence[CommitIndex]
) -> ForkResult:
    """Give a log that begins with a copy of ``chain`` its name; ``copied`` are its commits, newest first."""
    parent = Parent(volume=replica.volume, log=chain[0].commit.log, lsn=chain[0].commit.lsn) if chain else None
    record = _record(replica, log, ()).model_copy(update={"parent": parent})
    _name(replica, name, record)
    return ForkResult(name, record.volume, log, copied[0].commit.lsn if copied else 0)


def _record(replica: Replica, log: LogId, earlier: tuple[Parent, ...]) -> VolumeRecord:
    return VolumeRecord(
        volume=VolumeId.new(replica.runtime), log=log, page_size=replica.page_size,
        created_us=int(replica.runtime.now_s() * 1_000_000), parent=earlier[0] if earlier else None, earlier=earlier,
    )  # fmt: skip


def _name(replica: Replica, name: str, record: VolumeRecord) -> None:
    with remote_errors(f"naming the fork {name}"):
        create_volume(replica.remote.store, name, record)
