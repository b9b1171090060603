"""Branches: the volumes that have a version in common with one, and the deletion of one of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from graft.errors import BadRequest, OtherVolume, remote_errors
from graft.remote.remote import Remote
from graft.replica.replica import Replica
from graft.sync.fork import check_new_name
from graft.sync.versions import named_volume, volume_record
from metastore.ids import VolumeId
from metastore.lsn import LSN
from metastore.tags import delete_tag, list_tags
from metastore.tombstone import closing, encode_tombstone
from metastore.volumes import VolumeRecord, all_volumes, delete_volume


@dataclass(frozen=True, slots=True)
class Branch:
    """A volume of the family."""

    name: str
    current: bool
    """Whether the replica is on it."""
    lsn: int
    """Its newest version."""
    parent: str | None
    """The branch that it was forked from, by its name now; None for the first one, or where the parent is gone."""
    start: int
    """The LSN of the parent that it was forked at, 0 for the first one."""
    created_us: int
    """Microseconds since the Unix epoch."""


def list_branches(replica: Replica) -> list[Branch]:
    """Return the branches of the replica's volume, by name.

    A listing of all volumes, one request for each of them, and one for each branch, in two parallel batches.
    """
    family = family_of(replica)
    by_id = {record.volume: name for name, record in family.items()}
    remote, items = replica.remote, list(family.items())
    heads = remote.parallel.map(lambda item: _head(remote, item[1]), items)
    return [
        Branch(
            name, record.volume == replica.volume, head, by_id.get(record.parent.volume) if record.parent else None,
            record.parent.lsn if record.parent else 0, record.created_us,
        )
        for (name, record), head in zip(items, heads, strict=True)
    ]  # fmt: skip


def family_of(replica: Replica) -> dict[str, VolumeRecord]:
    """Return the records of all branches of the replica's volume, itself included, by name."""
    with remote_errors(f"listing the branches of volume {replica.name}"):
        volumes = all_volumes(replica.remote.store, replica.remote.parallel)
    known = {replica.volume, *(parent.volume for parent in replica.lineage.earlier)}
    return _related(volumes, known)


def require_related(replica: Replica, name: str) -> VolumeRecord:
    """Look a branch up; raises `NoSuchVolume`, and `OtherVolume` unless it shares an ancestor with the volume."""
    record = volume_record(replica.remote, name)
    if record.page_size != replica.page_size:
        raise OtherVolume(
            f"volume {name} has pages of {record.page_size} bytes, and volume {replica.name} has pages of "
            f"{replica.page_size}: it is no branch of it"
        )
    mine = {replica.volume, *(parent.volume for parent in replica.lineage.earlier)}
    if not mine & _ancestors(record):
        own = named_volume(replica.remote, replica.name)  # a fork of an older release: only its name tells its parent
        if own is None or not _ancestors(own) & _ancestors(record):
            raise OtherVolume(
                f"volume {name} is no branch of volume {replica.name}, they have no version in common: "
                f"graft clone '{replica.store_url}#{name}' makes a replica of it"
            )
    return record


def delete_branch(replica: Replica, name: str, *, force: bool = False) -> Branch:
    """Delete a branch, and return what it was; its log is closed, and garbage from then on.

    Refused, with `BadRequest`, for the branch that the replica is on, for a volume that was forked from none, and for
    one that others begin at; unless ``force`` is set, also for one that has commits of its own, or tags.
    """
    check_new_name(name)
    if name == replica.name:
        raise BadRequest(f"this replica is on the branch {name}: switch to another one first")
    record, remote = require_related(replica, name), replica.remote
    if record.parent is None:
        raise BadRequest(f"volume {name} was forked from no other one: it is no branch that could be deleted")
    children = [other for other, found in family_of(replica).items() if _begins_at(found, record.volume)]
    if children:
        raise BadRequest(f"branch {name} is needed by {', '.join(sorted(children))}: they begin at versions of it")
    head = _head(remote, record)
    with remote_errors(f"listing the tags of {name}"):
        tags = list_tags(remote.store, record.volume)
    own = head - record.lineage.start
    if own and not force:
        raise BadRequest(
            f"branch {name} has commits of its own, up to LSN {head}: merge them first, or delete it with --force"
        )
    if tags and not force:
        raise BadRequest(f"branch {name} has tags ({', '.join(tags)}): delete them first, or delete it with --force")
    with remote_errors(f"deleting the branch {name}"):
        last = LSN(head + 1)
        if not remote.commits.append(record.log, last, encode_tombstone(closing(record.log, last))):
            raise BadRequest(f"somebody pushed LSN {last} to {name} meanwhile: nothing was deleted")
        for tag in tags:
            delete_tag(remote.store, record.volume, tag)
        delete_volume(remote.store, name)
    return Branch(name, current=False, lsn=head, parent=None, start=record.parent.lsn, created_us=record.created_us)


def _head(remote: Remote, record: VolumeRecord) -> LSN:
    return remote.newest(record.lineage).lsn


def _begins_at(record: VolumeRecord, volume: VolumeId) -> bool:
    return record.parent is not None and record.parent.volume == volume


def _related(volumes: Mapping[str, VolumeRecord], known: set[VolumeId]) -> dict[str, VolumeRecord]:
    """Return the volumes that have an ancestor in common with ``known`` ones, or with others that are found so."""
    found: dict[str, VolumeRecord] = {}
    while True:
        new = {name: record for name, record in volumes.items() if name not in found and _ancestors(record) & known}
        if not new:
            return dict(sorted(found.items()))
        found |= new
        known = known.union(*map(_ancestors, new.values()))


def _ancestors(record: VolumeRecord) -> set[VolumeId]:
    return {record.volume, *(parent.volume for parent in (record.parent, *record.earlier) if parent)}
