"""Makes replicas: of a new volume (`init`), or of an existing one (`clone`).

If several processes use the same directory at once, the first one to link its state file there makes the replica.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from graft.disk.files import make_unsynced_directory, sync_directory
from graft.errors import BadRequest, NoSuchVolume, ReplicaExists, local_errors, remote_errors
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.near_names import no_such_volume
from graft.remote.remote import Proof, Remote, require_safe
from graft.remote.warm_start import first_frame
from graft.replica.directory import STATE_FILE, is_replica, replica_path
from graft.replica.freshness import confirm, now
from graft.replica.opening import open_replica
from graft.replica.replica import JOURNAL, Replica
from graft.replica.replica_remote import remote_for
from graft.replica.state import Identity, State
from graft.settings import Settings
from graft.sync.history import made_safe, reached
from graft.sync.inline_bodies import keep_inline
from graft.sync.lost_names import require_no_lost_log
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex
from metastore.lineage import Lineage
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.volumes import VolumeRecord, check_name, create_volume, read_volume
from pagestore.objectstore import ObjectStore
from pagestore.ownership import make_directory
from pagestore.pages import PAGE_SIZE_DEFAULT, check_page_size
from pagestore.runtime import SYSTEM, Runtime


def init(
    path: str | os.PathLike[str],
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    page_size: int = PAGE_SIZE_DEFAULT,
    settings: Settings | None = None,
    store: ObjectStore | None = None,
    runtime: Runtime = SYSTEM,
) -> Replica:
    """Make a new, empty volume and a replica of it in a new directory.

    If the remote names no volume, the volume is called like the directory. Raises `VolumeExists`, `ReplicaExists`,
    `BadRequest`, `HistoryLost` if the remote has a log that lost its name, and `RemoteRefused` for an endpoint that
    would lose commits.
    """
    directory, address, name = _target(path, remote)
    try:
        check_page_size(page_size)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    with (
        _new_directory(directory) as sync,
        _opened(directory, address, store=store, settings=settings, runtime=runtime) as opened,
        opened.parallel.beside(sync),
    ):
        require_safe(opened)
        require_no_lost_log(opened, name)
        record = VolumeRecord(
            volume=VolumeId.new(runtime), log=LogId.new(runtime), page_size=page_size,
            created_us=int(runtime.now_s() * 1_000_000),
        )  # fmt: skip
        begun = now(runtime)  # before the volume exists, so nobody can have pushed
        with remote_errors(f"creating volume {name}"):
            create_volume(opened.store, name, record)
        _create(directory, name, address.store_url, record, BEFORE_FIRST, [])
    replica = _open_new(directory, opened, settings=settings, store=store, runtime=runtime)
    confirm(replica, begun)
    replica.remote.proof = Proof(record.log, BEFORE_FIRST, b"", begun.monotonic_us / 1e6)
    made_safe(replica)
    return replica


def clone(
    path: str | os.PathLike[str],
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    settings: Settings | None = None,
    store: ObjectStore | None = None,
    runtime: Runtime = SYSTEM,
    to_read: bool = False,
    suggest: bool = True,
) -> Replica:
    """Make a replica of a volume in a new directory: reads its name, its head and its page lists, but no page.

    With ``to_read``, the frame that every reader needs first is decoded or fetched meanwhile. Raises `NoSuchVolume`,
    `ReplicaExists` and the remote's errors. If there is no such volume, one listing is made to ``suggest`` others.
    """
    directory, address, name = _target(path, remote)
    with (
        _new_directory(directory) as sync,
        _opened(directory, address, store=store, settings=settings, runtime=runtime) as opened,
        opened.parallel.beside(sync),
    ):
        record = _named(opened, name, suggest=suggest)
        begun = now(runtime)
        chain = newest_chain(opened, record.lineage)
        head = chain[0].commit.lsn if chain else BEFORE_FIRST
        if not chain:
            require_no_lost_log(opened, name)
        first = first_frame(chain) if to_read else None
        if first is not None:
            opened.begin(first.key, record.page_size, first.stored)
        _create(directory, name, address.store_url, record, head, chain)
    replica = _open_new(directory, opened, settings=settings, store=store, runtime=runtime)
    confirm(replica, begun)
    if chain:
        reached(replica, chain[0], begun.monotonic_us / 1e6)
    else:
        replica.remote.proof = Proof(record.log, BEFORE_FIRST, b"", begun.monotonic_us / 1e6)
    keep_inline(replica, chain, but=first.key.ref if first else None)
    return replica


def _named(remote: Remote, name: str, *, suggest: bool) -> VolumeRecord:
    try:
        with remote_errors(f"cloning {remote.store.url}#{name}"):
            return read_volume(remote.store, name)
    except NoSuchVolume:
        if not suggest:
            raise
        raise no_such_volume(remote.store, name) from None


def newest_chain(remote: Remote, lineage: Lineage, known: Sequence[CommitIndex] = ()) -> list[CommitIndex]:
    """Return the chain of a volume's head: a listing, then one batch, with what lies above it where that may be old."""
    head = remote.newest(lineage).lsn
    above = None if remote.lists_exactly else remote.parallel.begin(lambda: remote.above(lineage.log, head)[0])
    chain = remote.chain(lineage.log_of(head), head, known)
    newest = head if above is None else above()
    return chain if newest == head else remote.chain(lineage.log, newest, [*known, *chain])


def _target(
    path: str | os.PathLike[str], remote: str | os.PathLike[str] | RemoteAddress
) -> tuple[Path, RemoteAddress, str]:
    directory = replica_path(path).absolute()
    address = parse_remote(remote)
    try:
        name = check_name(address.volume or directory.stem)
    except ValueError as error:
        raise BadRequest(f"{error}; name the volume in the remote, as in {address.store_url}#name") from None
    return directory, address, name


@contextmanager
def _new_directory(path: Path) -> Iterator[Callable[[], None]]:
    """Create a directory, or take an empty one; remove it if the block fails and it is still empty.

    Yields a function that syncs the directory's name to the disk.
    """
    if is_replica(path):
        raise ReplicaExists(f"{path} is a replica already")
    with local_errors(f"creating {path}"):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ReplicaExists(f"{path} exists and is not an empty directory")
        created = not path.exists()
        to_sync = make_unsynced_directory(path)

    def sync() -> None:
        with local_errors(f"creating {path}"):
            for above in to_sync:
                sync_directory(above)

    try:
        yield sync
    except BaseException:
        if created:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def _opened(
    directory: Path,
    address: RemoteAddress,
    *,
    store: ObjectStore | None,
    settings: Settings | None,
    runtime: Runtime,
) -> Iterator[Remote]:
    """Open the remote of the new replica; it is closed here only if the block fails."""
    remote = remote_for(directory, address.store_url, store=store, settings=settings, runtime=runtime)
    try:
        yield remote
    except BaseException:
        remote.close()
        raise


def _create(
    directory: Path, name: str, store_url: str, record: VolumeRecord, lsn: LSN, chain: Sequence[CommitIndex]
) -> None:
    identity = Identity(name, store_url, record.volume, record.log, record.page_size, record.earlier)
    State.create(directory / STATE_FILE, identity, lsn, chain)
    with local_errors(f"creating {directory}"):
        make_directory(directory / JOURNAL)


def _open_new(
    directory: Path, remote: Remote, *, settings: Settings | None, store: ObjectStore | None, runtime: Runtime
) -> Replica:
    """Open a new replica; on return it is on the disk."""

    def sync() -> None:
        with local_errors(f"creating {directory}"):
            sync_directory(directory)

    with ExitStack() as failed:
        with remote.parallel.beside(sync):
            replica = open_replica(directory, settings=settings, store=store, runtime=runtime, remote=remote)
            failed.callback(replica.close)
        failed.pop_all()
        return replica
