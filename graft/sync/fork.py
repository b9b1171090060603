"""Fork: a new volume that starts as a copy of an index. No page moves, nothing is hydrated."""

from dataclasses import dataclass

from graft.building.commit_builder import Onto, prepare
from graft.errors import BadRequest, Diverged, NoSuchVolume, VolumeExists, remote_errors
from graft.pagemap.page_map import PageMap, compose
from graft.remote.landmarks import PARENT
from graft.replica.replica import Replica
from graft.sync.history import require_parent
from graft.sync.time_travel import At, resolve
from metastore.append import Lost, append
from metastore.build import NewCommit, Origin, build_fork
from metastore.commit import CommitKind
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex
from metastore.lineage import Parent
from metastore.volumes import VolumeRecord, check_name, create_volume, read_volume


@dataclass(frozen=True, slots=True)
class ForkResult:
    """The volume that was made."""

    name: str
    volume: VolumeId
    log: LogId
    lsn: int
    """Its newest LSN; 0 for the fork of an empty volume."""


def fork(replica: Replica, name: str, *, at: At | None = None) -> ForkResult:
    """Make a volume that starts as this one is now, local commits included, or as it was ``at`` an LSN or time.

    The replica stays where it is. Raises `VolumeExists`, `NoSuchVersion` and the remote's errors.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        return fork_locked(replica, name, at=at)


def fork_locked(replica: Replica, name: str, *, at: At | None = None) -> ForkResult:
    """See `fork`; the caller holds the sync lock."""
    require_free(replica, name)
    view = replica.view()
    require_parent(replica, view.state)
    chain, page_map = list(view.state.chain), view.remote_map
    if at is not None:
        chain = replica.remote.chain(replica.log, resolve(replica, at), view.state.chain)
        page_map = compose(replica.table, chain, replica.load_chunks, view.remote_map) if chain else page_map
    log = LogId.new(replica.runtime)
    copied = [copy_index(replica, log, chain, page_map)] if chain else []
    if view.pending and at is None:
        onto = Onto(log, copied, page_map if copied else PageMap.empty(replica.table))
        outgoing = prepare(replica, view.pending, view.snapshot, onto, attributes=first_attributes(replica, copied))
        copied = [write_first(replica, outgoing.commit), *copied]
    return name_fork(replica, name, log, chain, copied)


def require_free(replica: Replica, name: str) -> None:
    """Raise `VolumeExists` if a name is taken: only for an early answer, the conditional put at the end decides."""
    try:
        check_name(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    try:
        with remote_errors(f"looking up {name}"):
            read_volume(replica.remote.store, name)
    except NoSuchVolume:
        return
    raise VolumeExists(f"a volume named {name} exists already in {replica.remote.store.url}")


def copy_index(replica: Replica, log: LogId, chain: list[CommitIndex], page_map: PageMap) -> CommitIndex:
    """Begin a new log with a copy of the index of ``chain``, whose page map is given."""
    with remote_errors(f"forking volume {replica.name}"):
        first = build_fork(
            log, chain, page_map, commits=replica.remote.commits, parallel=replica.remote.parallel,
            origin=Origin(CommitKind.FORK, {PARENT: str(replica.log).encode()}), runtime=replica.runtime,
        )  # fmt: skip
    return write_first(replica, first)


def first_attributes(replica: Replica, copied: list[CommitIndex]) -> dict[str, bytes]:
    """Return what says of a log without a copied index that it is a fork's, until it has its name."""
    return {} if copied else {PARENT: str(replica.log).encode()}


def write_first(replica: Replica, commit: NewCommit) -> CommitIndex:
    """Append a commit to a log that nobody else knows of yet."""
    with remote_errors(f"writing commit {commit.lsn} of the fork"):
        outcome = append(replica.remote.commits, commit.log, commit.lsn, commit.data, commit.nonce)
        if isinstance(outcome, Lost):
            raise Diverged(f"log {commit.log} was written to by somebody else")
        return CommitIndex.decode(commit.data, commit.log, commit.lsn)


def name_fork(
    replica: Replica, name: str, log: LogId, chain: list[CommitIndex], copied: list[CommitIndex]
) -> ForkResult:
    """Give a log that begins with a copy of ``chain`` its name; ``copied`` are its commits, newest first."""
    volume = VolumeId.new(replica.runtime)
    parent = Parent(volume=replica.volume, log=replica.log, lsn=chain[0].commit.lsn) if chain else None
    record = VolumeRecord(
        volume=volume, log=log, page_size=replica.page_size, parent=parent,
        created_us=int(replica.runtime.now_s() * 1_000_000),
    )  # fmt: skip
    with remote_errors(f"naming the fork {name}"):
        create_volume(replica.remote.store, name, record)
    return ForkResult(name, volume, log, copied[0].commit.lsn if copied else 0)
