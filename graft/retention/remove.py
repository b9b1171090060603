"""Removing a volume, and giving it another name.

closed log → looked again for branches → name and tags deleted → commits buried, segments deleted

A closed log ends in a tombstone, so that no append lands behind it. A removal that dies is continued by the next one,
or by a collection.
"""

import os
from dataclasses import dataclass

from graft.errors import BadRequest, NoSuchVolume, remote_errors
from graft.failpoints import failpoint
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.near_names import no_such_volume
from graft.remote.remote import Remote, opened_remote
from graft.retention.collect import CollectResult, Progress, collect_in, retention
from graft.retention.reach import mark
from graft.retention.store_clock import store_now_s
from graft.retention.survey import Survey, forget, survey
from graft.settings import Settings
from metastore.collected import CollectionRecord, Remaining, record_key, write_record
from metastore.errors import MetaStoreError
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.placement import commit_key
from metastore.tombstone import closing, encode_tombstone
from metastore.volumes import VolumeRecord, check_name, create_volume, delete_volume, read_volume
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What a removal did."""

    name: str
    versions: int
    """The volume's newest LSN."""
    commits: int
    segments: int
    freed_bytes: int
    only_name: bool
    """Whether the volume has another name, under which it goes on."""


def remove_volume(
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
    progress: Progress | None = None,
) -> RemoveResult:
    """Remove a volume with all its versions and tags; the address names it.

    Refuses with `BadRequest` while forks or branches need it, and says which. Raises `NoSuchVolume` and the remote's
    errors; what was begun is finished by the next removal or collection.
    """
    address = parse_remote(remote)
    name = _named(address)
    settings = settings or Settings()
    with opened_remote(address.store_url, store=store, settings=settings, runtime=runtime) as opened:
        with remote_errors(f"removing volume {name}"):
            record = _record(opened, name)
            found = _look(opened)
            aliases = [other for other, theirs in found.volumes.items() if theirs.log == record.log and other != name]
            if aliases:
                delete_volume(opened.store, name)
                return RemoveResult(name, 0, 0, 0, 0, only_name=True)
            _refuse_while_needed(opened, name, record, found)
            head = _close(opened, record)
            failpoint("rm: after closing")
            try:
                _refuse_while_needed(opened, name, record, _look(opened))
            except BadRequest:
                _reopen(opened, record, head)
                raise
            forget(opened.store, name, record)
            failpoint("rm: after name")
        done = collect_in(opened, retention(settings, None, None, None), only=frozenset(), progress=progress)
        return _result(name, head, done)


def rename_volume(
    remote: str | os.PathLike[str] | RemoteAddress,
    new_name: str,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
) -> RemoteAddress:
    """Give a volume another name in the same remote, and return its new address.

    The new name is created first, and then the old one is deleted. If that was cut short, the volume has both names;
    the same call finishes it. Raises `VolumeExists`, `NoSuchVolume`, `BadRequest`.
    """
    address = parse_remote(remote)
    name = _named(address)
    try:
        check_name(new_name)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if new_name == name:
        raise BadRequest(f"volume {name} has this name already")
    with (
        opened_remote(address.store_url, store=store, settings=settings, runtime=runtime) as opened,
        remote_errors(f"renaming volume {name}"),
    ):
        record = _record(opened, name)
        create_volume(opened.store, new_name, record)
        failpoint("mv: after new name")
        delete_volume(opened.store, name)
    return RemoteAddress(address.store_url, new_name)


def _named(address: RemoteAddress) -> str:
    if address.volume is None:
        raise BadRequest(f"{address} names no volume; expected something like {address.store_url}#name")
    return address.volume


def _record(remote: Remote, name: str) -> VolumeRecord:
    try:
        with remote_errors(f"looking up {name}"):
            return read_volume(remote.store, name)
    except NoSuchVolume:
        raise no_such_volume(remote.store, name) from None


def _look(remote: Remote) -> Survey:
    policy = retention(remote.settings, None, None, None)
    return survey(remote, policy, store_now_s(remote.store, remote.runtime), only=frozenset())


def _refuse_while_needed(remote: Remote, name: str, record: VolumeRecord, found: Survey) -> None:
    """Raise `BadRequest` if other volumes read commits of this one's log."""
    needed_by: list[str] = []
    for other, theirs in found.volumes.items():
        if theirs.log == record.log or theirs.parent is None:
            continue
        if any(parent.log == record.log for parent in theirs.earlier):
            needed_by.append(other)
        elif theirs.log in found.retained:
            try:
                marks = mark(remote.commits, remote.parallel, {theirs.log: found.retained[theirs.log]}, found.names)
            except MetaStoreError as error:
                raise BadRequest(
                    f"volume {name} cannot be removed: what its fork {other} needs of it is not known ({error})"
                ) from error
            if any(log == record.log for log, _ in marks.objects):
                needed_by.append(other)
    if needed_by:
        raise BadRequest(
            f"volume {name} cannot be removed: its forks {', '.join(needed_by)} read pages of it. Remove them first, "
            "or make them volumes of their own with graft cp"
        )


def _close(remote: Remote, record: VolumeRecord) -> LSN:
    """End the log, say that nothing remains of it, and return its newest LSN."""
    store, log = remote.store, record.log
    while True:
        newest = remote.commits.newest(log)
        lsn = LSN((newest.lsn if newest else record.lineage.start) + 1)
        if newest is not None and _is_closed(remote, record, newest.lsn):
            lsn = newest.lsn
            break
        if store.put_if_absent(commit_key(log, lsn), encode_tombstone(closing(log, lsn))):
            break
    write_record(store, log, Remaining(lsn))
    return LSN(lsn - 1)


def _is_closed(remote: Remote, record: VolumeRecord, lsn: LSN) -> bool:
    return remote.commits.read(record.log, lsn) == encode_tombstone(closing(record.log, lsn))


def _reopen(remote: Remote, record: VolumeRecord, head: LSN) -> None:
    """Take a closing back; whoever made the fork may go on."""
    lsn = LSN(head + 1)
    own = record_key(record.log, CollectionRecord(log=str(record.log), floor=lsn))
    remote.store.delete_many([own, commit_key(record.log, lsn)])


def _result(name: str, head: LSN, done: CollectResult) -> RemoveResult:
    assert head >= BEFORE_FIRST, "BUG: a log that ends before it begins"
    return RemoveResult(name, head, done.commits, done.segments, done.freed_bytes, only_name=False)
