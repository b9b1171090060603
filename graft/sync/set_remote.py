"""Gives a replica another address of its volume: the remote was moved, or is reached in another way."""

import os
from dataclasses import dataclass

from graft.disk.locks import FileLock, PresenceLock
from graft.errors import HistoryLost, NoSuchVolume, OtherVolume, WriterBusy, remote_errors
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.remote import Remote, open_remote
from graft.replica.directory import STATE_FILE, is_replica, not_a_replica, replica_path
from graft.replica.state import State, SyncState
from graft.settings import Settings
from metastore.commit import Commit
from metastore.errors import CommitCollected, CommitMissing
from metastore.index import read_index
from metastore.lsn import BEFORE_FIRST
from metastore.volumes import VolumeRecord, create_volume, read_volume
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime


@dataclass(frozen=True, slots=True)
class RemoteSet:
    """Result of a change of address."""

    before: str
    after: str
    named: bool
    """Whether the name object was missing and was written again."""


def set_remote(
    path: str | os.PathLike[str],
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
) -> RemoteSet:
    """Give a replica that no process has open another address, after checking that it holds the same volume.

    The name must stand for the same volume and log, and the log must have the very commit that the replica builds on.
    If the log has that commit but the volume's current name is missing, the name is written again. Raises
    `OtherVolume`, `NoSuchVolume`, `HistoryLost`, `WriterBusy` and the remote's errors; the replica is then unchanged.
    """
    directory, address = replica_path(path).resolve(), parse_remote(remote)
    if not is_replica(directory):
        raise not_a_replica(directory)
    settings = settings or Settings()
    presence = PresenceLock(directory / "open.lock")
    sync_lock = FileLock(directory / "sync.lock", f"a push or pull of {directory}")
    try:
        if not presence.enter():
            raise WriterBusy(f"{directory} is open: close it everywhere before its remote is set")
        with sync_lock.held(settings.lock_timeout_s, runtime):
            return _set(State(directory / STATE_FILE), address, settings, store, runtime)
    finally:
        sync_lock.close()
        presence.close()


def _set(
    found: State, address: RemoteAddress, settings: Settings, store: ObjectStore | None, runtime: Runtime
) -> RemoteSet:
    try:
        state = found.read()
        identity = state.identity
        name = address.volume or identity.name
        remote = open_remote(address.store_url, store=store, settings=settings, runtime=runtime, must_exist=True)
        try:
            named = _require_same(remote, name, state, address)
        finally:
            remote.close()
        found.move_remote(name, address.store_url)
    finally:
        found.close()
    before = RemoteAddress(identity.store_url, identity.name)
    return RemoteSet(str(before), str(RemoteAddress(address.store_url, name)), named)


def _require_same(remote: Remote, name: str, state: SyncState, address: RemoteAddress) -> bool:
    """Refuse another volume; return whether the name object had to be written again."""
    identity, where = state.identity, f"{address.store_url}#{name}"
    mine = state.chain[0].commit if state.chain else None
    try:
        with remote_errors(f"looking up {where}"):
            record = read_volume(remote.store, name)
    except NoSuchVolume:
        if mine is None or name != identity.name or not _holds(remote, mine, where):
            raise
        record = VolumeRecord(
            volume=identity.volume, log=identity.log, page_size=identity.page_size, created_us=mine.timestamp_us,
            parent=identity.earlier[0] if identity.earlier else None, earlier=identity.earlier,
        )  # fmt: skip
        with remote_errors(f"naming {where} again"):
            create_volume(remote.store, name, record)
        return True
    if (record.volume, record.log) != (identity.volume, identity.log):
        raise OtherVolume(
            f"{where} is another volume, {record.volume} with log {record.log}; this replica is of {identity.volume} "
            f"with log {identity.log}. Nothing was changed"
        )
    if mine is not None and not _holds(remote, mine, where):
        raise HistoryLost(
            f"{where} is this volume, but does not hold commit {mine.lsn} ({mine.hash.hex()}), which this replica "
            "builds on: an older copy of it? Nothing was changed. Copy what is missing, or make another replica of it"
        )
    assert state.lsn == (mine.lsn if mine else BEFORE_FIRST), "BUG: the chain does not lead to the sync point"
    return False


def _holds(remote: Remote, mine: Commit, where: str) -> bool:
    with remote_errors(f"looking for commit {mine.lsn} in {where}"):
        try:
            return read_index(remote.commits, mine.log, mine.lsn).commit.hash == mine.hash
        except CommitCollected as collected:
            return collected.hash == mine.hash
        except CommitMissing:
            return mine.lsn not in remote.remaining(mine.log)
